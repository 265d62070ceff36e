from typing import Any

import numpy as np
import pytest

from bitface.report.analysis import render
from bitface.report.drawings import angles
from bitface.results.analysis import AnalysisRecord, AngleDistribution
from support.analysis_example import analysis, distribution

from .test_page import HOSTILE, Page


def record() -> AnalysisRecord:
    return AnalysisRecord.from_json(analysis())


def groups(**shown: dict[str, Any]) -> dict[str, AngleDistribution]:
    return {name: AngleDistribution.model_validate(one) for name, one in shown.items()}


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(record()))


def test_everything_is_on_the_page(page: Page) -> None:
    text = page.text()
    for word in (
        "model.bitface beside net.onnx",
        "6 faces, 2 classes of two faces or more",
        "made from another network",
        "45 faces are few",
        "The damage starts at stem_a8.",
        "bitface quantize net.onnx",
        "31.4°",
        "20.0° without the rotation of all faces together",
        "75.0 %",
        "decisions lost at FAR 1e-4",
        "of 120,900 pairs; 5 gained",
        "individual vector",
        "Angles between class centres",
        "90 % from 3.00° to 31.00°",
        "The classes that lost most",
        "15.00% clipped, 3 of 256 levels unused",
        "the damage starts here",
        "the student's is the one stored in the artifact",
        "Ada/1.png",
        "sharpness",
        "0.0021",
        "f00d",
    ):
        assert word in text, word
    assert "None" not in text
    titles = [element["text"] for element in page.all("title")[1:]]
    assert titles.count("Ada") == 4
    assert titles.count("Bob") == 2
    assert any(title.startswith("stem_a8 (quantizer, 8 bits): 3.2 dB") for title in titles)


def test_drawings_stay_in_their_boxes(page: Page) -> None:
    for element in page.all("polyline"):
        numbers = [float(one) for point in element["attrs"]["points"].split() for one in point.split(",")]
        assert 0 <= min(numbers) <= max(numbers) <= 100
    for element in page.all("circle"):
        assert all(0 <= float(element["attrs"][key].rstrip("%")) <= 100 for key in ("cx", "cy"))
    colours = [element["attrs"]["fill"] for element in page.all("circle")]
    assert colours[:3] == colours[3:]
    assert colours[0] == colours[1] != colours[2]


def test_pseudo_classes_are_named_everywhere() -> None:
    result = analysis()
    result["class_word"] = "pseudo-class"
    for means in result["errors"].values():
        means["pseudo-class"] = means.pop("class")
    for shown in (result["angles"][key] for key in ("errors", "errors without rotation")):
        shown |= {"pseudo-class": shown.pop("class", distribution(1))}
    result["angles"] = {key.replace("-class", "-pseudo-class"): value for key, value in result["angles"].items()}
    text = Page(render(AnalysisRecord.from_json(result))).text()
    assert "Angles between pseudo-class centres" in text
    assert "its figures flatter the teacher" in text
    assert "class" not in text.replace("pseudo-class", "").replace("Pseudo-class", "")


def test_parts_that_are_missing_leave_nothing_behind() -> None:
    result = analysis()
    result |= {"layers": None, "flips": None, "neighbourhoods": None, "conditions": [], "classes": []}
    result["map"] = {"rows": 0, "teacher": [], "student": [], "group": [], "title": []}
    result["errors"] = {"as embedded": {"face": 3.0}, "rotation taken out": None}
    result["angles"] = {"errors": {"face": distribution(3)}, "errors without rotation": {}, "inter-class": {}}
    page = Page(render(AnalysisRecord.from_json(result)))
    assert "None" not in page.text()
    anchors = {element["attrs"]["href"] for element in page.all("a")}
    assert anchors == {"#angles", "#next", "#provenance"}
    assert anchors <= {f"#{element['attrs'].get('id')}" for element in page.all("section")}


def test_text_from_outside_stays_text() -> None:
    result = analysis()
    result["title"] = result["classes"][0]["name"] = result["flips"]["worst"][0]["left"] = HOSTILE
    result["map"]["title"] = [HOSTILE] * 3
    result["layers"]["points"][1]["name"] = result["layers"]["start"]["name"] = HOSTILE
    result["layers"]["ranges"][0]["tensor"] = result["diagnosis"]["command"] = HOSTILE
    result["conditions"][0]["name"] = result["teacher"]["path"] = HOSTILE
    page = Page(render(AnalysisRecord.from_json(result)))
    assert not page.all("script", "img")
    assert page.text().count("<script>alert(1)</script>") >= 6


def test_faces_are_shown_only_where_they_are_given(page: Page) -> None:
    assert not page.all("img")
    crops = {f"Ada/{shot}.png": np.full((112, 112, 3), 90, np.uint8) for shot in (1, 2)}
    shown = Page(render(record(), crops)).all("img")
    assert len(shown) == 2
    assert all(element["attrs"]["src"].startswith("data:image/jpeg;base64,") for element in shown)


def test_outlines_are_shares_over_one_axis() -> None:
    drawing = angles.outlines(groups(a=distribution(1, 3), b=distribution(10, 10)))
    assert drawing is not None
    first, second = (one.points.split() for one in drawing.outlines)
    assert first[1:5] == ["0.00,66.67", "50.00,66.67", "50.00,0.00", "100.00,0.00"]
    assert second[1] == "0.00,33.33"
    assert drawing.ticks[0] == (0, "0")
    assert drawing.ticks[-1][0] == 100
    assert angles.outlines({}) is None


def test_the_layer_chart_marks_the_start() -> None:
    layers = record().layers
    assert layers is not None
    chart = angles.layer_chart(layers.points, layers.start)
    assert chart is not None
    assert [one.start for one in chart.steps] == [False, True, False]
    assert [one.y for one in chart.steps] == [0, pytest.approx(94.67), pytest.approx(95.83)]
    assert [one.x for one in chart.steps] == pytest.approx([16.667, 50, 83.333])
    assert "starts at stem_a8" in chart.summary
    assert angles.layer_chart([], None) is None


def test_a_range_plot_holds_range_and_values() -> None:
    layers = record().layers
    assert layers is not None
    one = layers.ranges[0]
    plot = angles.range_plot(one)
    assert len(plot.columns) == 6
    assert max(column.height for column in plot.columns) == 100
    # From the lowest value, -9, to the end of the range, 1.
    assert (plot.low, plot.high) == (80, 100)
    assert plot.columns[0].left == 0
    assert plot.width == 10
    wide = angles.range_plot(one.but(low=-29.0, high=31.0))
    assert (wide.low, wide.high) == (0, 100)
    assert wide.columns[0].left == pytest.approx(100 * 20 / 60, abs=1e-3)

from typing import Any

import pytest

from bitface.report import page
from bitface.report.drawings.plots import plot


def data(points: list[Any], log: bool = False, **series: object) -> dict[str, Any]:
    one = {"name": "costs", "points": points, **series}
    return {"title": "T", "x": {"label": "layers"}, "y": {"label": "cost", "log": log}, "series": [one]}


def test_places_keep_the_order_and_the_distances() -> None:
    drawn = plot(data([(1, 0.0, "a"), (2, 5.0, "b"), (3, 10.0, "c")], joined=True))
    assert drawn is not None
    marks = drawn.series[0].marks
    assert 0 < marks[0].x < marks[1].x < marks[2].x < 100
    assert 100 > marks[0].y > marks[1].y > marks[2].y > 0, "up is more"
    assert marks[1].y == pytest.approx((marks[0].y + marks[2].y) / 2, abs=0.01)
    assert drawn.series[0].line == " ".join(f"{mark.x},{mark.y}" for mark in marks)


def test_a_logarithmic_axis_ticks_at_powers_of_ten() -> None:
    drawn = plot(data([(1, 1e-5, ""), (2, 1e-3, ""), (3, 1e-1, "")], log=True))
    assert drawn is not None
    first, middle, last = (mark.y for mark in drawn.series[0].marks)
    assert middle == pytest.approx((first + last) / 2, abs=0.01)
    assert [text for _, text in drawn.y_ticks] == ["1e-5", "1e-4", "0.001", "0.01", "0.1"]
    ticks = {text: 100 - place for place, text in drawn.y_ticks}
    assert ticks["0.001"] == pytest.approx(middle, abs=0.01)


def test_what_has_no_place_is_left_out() -> None:
    drawn = plot(data([(1, 0.0, ""), (2, float("nan"), ""), (3, None, ""), (4, 0.1, "")], log=True))
    assert drawn is not None
    assert len(drawn.series[0].marks) == 1
    assert plot(data([(1, None, "")])) is None
    assert plot(data([])) is None


def test_one_point_and_equal_points() -> None:
    for log in (False, True):
        drawn = plot(data([(5, 0.25, ""), (5, 0.25, "")], log=log))
        assert drawn is not None
        assert all(mark.x == mark.y == 50 for mark in drawn.series[0].marks)


def test_a_page_draws_plots_and_tables_and_escapes_them() -> None:
    tables = [{"title": "Costs", "columns": ["<layer>", "cost"], "rows": [["<b>", "0.1"]]}]
    text = page.render({"title": "x", "plots": [data([(1, 2, "<script>")], joined=True)], "tables": tables})
    assert text.count('<use href="#mark-1"') == 2  # the mark and its key
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "&lt;layer&gt;" in text
    assert "<td>0.1</td>" in text


def test_a_line_without_marks_and_intervals_of_points() -> None:
    one = {"name": "a", "points": [(1e-2, 0.5, "here", (0.25, 0.75))], "line": [(0, 0.1), (1e-4, 0.25), (1, 1.0)]}
    drawn = plot({"title": "T", "x": {"label": "FAR", "log": True}, "y": {"label": "TAR"}, "series": [one]})
    assert drawn is not None
    series = drawn.series[0]
    assert len(series.marks) == 1
    corners = [tuple(map(float, corner.split(","))) for corner in series.line.split()]
    assert len(corners) == 2, "a FAR of 0 has no place"
    assert series.marks[0].x == pytest.approx(sum(x for x, _ in corners) / 2, abs=0.01)
    top, bottom = series.marks[0].ends or (0, 0)
    assert top < series.marks[0].y < bottom
    assert (top + bottom) / 2 == pytest.approx(series.marks[0].y, abs=0.01)
    assert [text for _, text in drawn.x_ticks] == ["1e-4", "0.001", "0.01", "0.1", "1"]


def test_more_series_than_looks_begin_again() -> None:
    series = [{"name": str(number), "points": [(number, number, "")]} for number in range(9)]
    drawn = plot({"title": "T", "x": {"label": ""}, "y": {"label": ""}, "series": series})
    assert drawn is not None
    assert [one.look for one in drawn.series] == [1, 2, 3, 4, 5, 6, 7, 8, 1]


def test_an_axis_ends_at_the_most_there_can_be() -> None:
    one = {"name": "a", "points": [], "line": [(1e-3, 0.5), (1.0, 1.0)]}
    axes = {"x": {"label": "FAR", "log": True, "most": 1.0}, "y": {"label": "TAR", "most": 1.0}}
    drawn = plot({"title": "T", **axes, "series": [one]})
    assert drawn is not None
    assert drawn.series[0].line.split()[-1] == "100.0,0.0"
    assert drawn.x_ticks[-1] == (100, "1")
    assert drawn.y_ticks[-1] == (100, "1.0")


def test_a_limit_is_a_line_that_is_always_inside() -> None:
    drawn = plot({**data([(1, 0.5, ""), (2, 0.6, "")]), "limits": [(4, "budget 4kB"), (float("nan"), "none")]})
    assert drawn is not None
    ((place, words),) = drawn.limits
    assert words == "budget 4kB"
    assert drawn.series[0].marks[1].x < place < 100
    assert "budget 4kB" in drawn.summary


def test_layers_have_their_names_in_the_place_of_numbers() -> None:
    names = [f"block{number}.a_long_convolution" for number in range(30)]
    report = data([(place, 0.1, "") for place in range(1, 31)])
    report["x"]["names"] = names
    drawn = plot(report)
    assert drawn is not None
    assert not drawn.x_ticks
    assert [one.whole for one in drawn.names] == names[::3]
    assert drawn.names[1].place == drawn.series[0].marks[3].x
    assert all(len(one.short) == 16 and one.whole.endswith(one.short[1:]) for one in drawn.names)
    text = page.render({"title": "x", "plots": [report]})
    assert "<title>block3.a_long_convolution</title>" in text

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitface.errors import BitfaceError
from bitface.evaluation import PairList, verify
from bitface.report import render, write
from support.report_example import full, sheet, verification

VOID = {"meta", "link", "img", "br", "hr", "input", "rect", "line", "polyline"}
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}\u202e\x00\ud800&amp;"


class Page(HTMLParser):
    """The elements of a page as (tag, attributes, ancestors, text); fails where tags aren't balanced."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[dict[str, Any]] = []
        self.elements: list[dict[str, Any]] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        element = {"tag": tag, "attrs": dict(attrs), "above": [up["tag"] for up in self.open], "text": ""}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open.pop()["tag"] == tag
        if tag in ("th", "td", "li", "dt", "dd", "p", "caption"):
            self.handle_data(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def all(self, *tags: str) -> list[dict[str, Any]]:
        return [element for element in self.elements if element["tag"] in tags]

    def text(self) -> str:
        words = self.all("body")[0]["text"].split()
        return " ".join(words).replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(full()))


def test_everything_is_on_the_page(page: Page) -> None:
    text = page.text()
    for word in (
        "sface at 8 and 4 bits",
        "2026-03-14 09:26 UTC",
        "5.0 times smaller",
        "whether the benchmark shares some",
        "they run as int8",
        "float32 weights, for comparison",
        "model.onnxruntime.onnx",
        "99.35 ± 0.31 %",
        "99.14–99.54 %",
        "TAR at FAR 1e-6",
        "not supported",
        "needs at least 10000000 impostor pairs, has 3000",
        "block24.pw",
        "first layer",
        "one scale for each output channel",
        "Left in floating point: 1",
        "added to the result",
        "Every tensor of the network is quantized",
        "symmetric: yes, per channel: yes",
        "Time: 1 min 50 s",
        "Xeon",
        "2.31× as fast as float bf16",
        "spread too large for a ratio",
        "120 of the 5,000 synthetic faces",
        "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    ):
        assert word in text


def test_a_title_is_enough() -> None:
    page = Page(render({"title": "Nothing yet"}))
    assert page.all("title")[0]["text"] == "Nothing yet"
    assert not page.all("section", "table", "img", "nav", "h2", "svg", "dl")
    with pytest.raises(ValueError, match="title"):
        render({})


@pytest.mark.parametrize("section", [key for key in full() if key != "title"])
def test_each_section_stands_alone_and_can_be_absent(section: str) -> None:
    report = full()
    alone = {"title": "alone", section: report.pop(section)}
    for page in (Page(render(alone)), Page(render(report))):
        assert "None" not in page.text()
    assert not Page(render({"title": "empty", section: None})).all("section", "table")


@pytest.mark.parametrize("section", [key for key in full()["models"][0] if key != "name"])
def test_each_part_of_a_model_stands_alone_and_can_be_absent(section: str) -> None:
    model = full()["models"][0]
    alone = {"name": "m", section: model.pop(section)}
    for part in (alone, model):
        assert "None" not in Page(render({"title": "t", "models": [part]})).text()
    Page(render({"title": "t", "models": [{"name": "m", section: None}]}))


def test_missing_figures_are_dashes() -> None:
    layer = {"name": "conv", "weight_bits": None, "parameters": None}
    model = {
        "name": "m",
        "agreement": {"openvino": {"count": 3, "mean": float("nan"), "p01": None, "minimum": None}},
        "files": [{"name": "model.bitface", "bytes": None}],
        "layers": [layer],
        "seconds": {"export": None, "calibration": 2.0},
        "evaluation": [{"label": "a", "result": {}}, {"label": "b", "result": verification()}],
    }
    text = Page(render({"title": "t", "models": [model], "latency": {"rows": [{"model": "m"}]}})).text()
    assert "nan" not in text
    assert "None" not in text
    assert "openvino 3 – – –" in text


def test_tensors_left_in_floating_point_are_counted_or_said_to_be_none() -> None:
    def heading(tensors: list[dict[str, str]]) -> str:
        page = Page(render({"title": "t", "models": [{"name": "m", "unquantized": tensors}]}))
        return page.all("h3")[0]["text"]

    tensor = {"name": "bias", "role": "bias", "reason": "small"}
    assert heading([tensor] * 3) == "Left in floating point: 3"
    assert heading([]) == "Left in floating point: none"


def test_the_results_of_the_evaluation_are_understood() -> None:
    rng = np.random.default_rng(0)
    people = rng.normal(size=(120, 16))
    embeddings = np.concatenate((people, people + 0.1 * rng.normal(size=people.shape)))
    others = np.arange(120, 240)
    pairs = PairList(
        paths=tuple(f"{index}.png" for index in range(240)),
        left=np.tile(np.arange(120, dtype=np.int32), 2),
        right=np.concatenate((others, np.roll(others, 1))).astype(np.int32),
        same=np.repeat([True, False], 120),
        fold=np.tile(np.arange(10), 24),
    )
    result = verify(embeddings, pairs, fars=(1e-1, 1e-3)).to_json()
    model = {"name": "m", "evaluation": [{"label": "float32", "result": result}]}
    text = Page(render({"title": "t", "models": [model]})).text()
    assert re.search(r"Accuracy \d+\.\d+ ± \d\.\d\d % \d+\.\d+–100\.00 % AUC [01]\.\d{4} EER", text)
    assert re.search(r"TAR at FAR 1e-1 \d+\.\d+ % \d+\.\d+–100\.00 % TAR at FAR 1e-3 not supported1", text)
    assert "needs at least 10000 impostor pairs, has 120" in text
    assert "(Wilson)" in text


# Mappings whose keys a user or a file chooses.
FREE = ("agreement", "data", "plan", "layers", "weights", "seconds", "provenance")


def hostile(value: Any, name: str = "") -> Any:
    """The same data with hostile text in place of every text, and behind every key that isn't ours."""
    if isinstance(value, dict):
        return {f"{key}{HOSTILE}" if name in FREE else key: hostile(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def test_hostile_text_stays_text(page: Page) -> None:
    source = render(hostile(full()))
    source.encode()
    attacked = Page(source)
    kinds = [{element["tag"] for element in one.elements} for one in (page, attacked)]
    assert kinds[0] == kinds[1]
    assert len(attacked.all("img")) == 1
    for element in attacked.elements:
        attributes = element["attrs"]
        assert not [name for name in attributes if name.startswith("on")]
        assert "alert" not in str([attributes.get(key) for key in ("class", "id", "href", "src", "style")])
    assert attacked.text().count("<script>alert(1)</script>") > 500
    assert "{{ 7 * 7 }}" in attacked.text()
    assert not set("\x00\u202e\ud800") & set(source)


def test_nothing_comes_from_the_network(page: Page) -> None:
    source = render(full())
    assert "http://" not in source
    assert "https://" not in source
    assert "url(" not in source
    assert "@import" not in source
    assert not page.all("script", "iframe", "object", "embed", "form")
    for element in page.elements:
        for name in ("src", "href"):
            address = element["attrs"].get(name)
            assert address is None or address.startswith(("#", "data:"))
    policy = next(element for element in page.all("meta") if "http-equiv" in element["attrs"])
    assert policy["attrs"]["content"].startswith("default-src 'none'")


def test_links_lead_somewhere_and_ids_are_unique(page: Page) -> None:
    ids = [element["attrs"]["id"] for element in page.elements if "id" in element["attrs"]]
    assert len(set(ids)) == len(ids)
    for element in page.elements:
        if element["attrs"].get("href", "").startswith("#"):
            assert element["attrs"]["href"][1:] in ids
        if "aria-labelledby" in element["attrs"]:
            assert element["attrs"]["aria-labelledby"] in ids


def test_tables_have_captions_and_scopes(page: Page) -> None:
    tables = page.all("table")
    assert len(page.all("caption")) == len(tables) == 11
    assert all(element["text"].strip() for element in page.all("caption"))
    assert all(element["attrs"].get("scope") in ("row", "col") for element in page.all("th"))
    regions = [element for element in page.all("div") if element["attrs"].get("role") == "group"]
    assert len(regions) == len(tables)
    assert all(element["attrs"]["tabindex"] == "0" and element["attrs"]["aria-label"] for element in regions)


def test_every_drawing_has_words(page: Page) -> None:
    drawings = [element for element in page.all("svg") if "svg" not in element["above"]]
    assert len(drawings) == 2 * 4 + 2 * 2 + 12
    for element in drawings:
        if element["attrs"].get("role") == "img":
            assert "Cosines of 800 images from" in element["attrs"]["aria-label"]
        else:
            assert element["attrs"]["aria-hidden"] == "true"
            assert element["above"][-1] == "li"
    strips = [element for element in page.all("div") if element["attrs"].get("class") == "strip"]
    assert [element["attrs"]["aria-label"].split(": ")[1] for element in strips] == [
        "51 w8a8",
        "2 w8a8, 49 w4a8",
    ]
    assert all(element["text"].strip() for element in page.all("li"))
    assert page.all("img")[0]["attrs"]["alt"].strip()


def test_no_face_unless_given() -> None:
    report = full()
    del report["faces"]
    assert "data:image" not in render(report)


@pytest.mark.parametrize(
    "image",
    [b"GIF89a", "https://example.org/a.png", "data:text/html;base64,AAAA", "data:image/svg+xml;base64,AAAA"],
)
def test_only_an_image_in_the_page_is_accepted(image: str | bytes) -> None:
    with pytest.raises(ValueError, match="data URI"):
        render({"title": "t", "faces": {"caption": "c", "png": image}})


def test_faces_may_come_as_a_data_uri() -> None:
    assert "data:image/webp;base64,AAAA" in render({"title": "t", "faces": {"png": "data:image/webp;base64,AAAA"}})
    assert sheet()[:4] == b"\x89PNG"


def test_the_same_data_gives_the_same_page() -> None:
    assert render(full()) == render(full())


def test_write_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "out" / "report.html"
    write(path, {"title": "first"})
    write(path, full())
    assert path.read_text(encoding="utf-8") == render(full())
    assert [child.name for child in path.parent.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(BitfaceError):
        write(tmp_path / "file" / "report.html", {"title": "t"})

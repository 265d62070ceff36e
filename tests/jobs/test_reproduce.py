"""A paper's table on what is at hand: every row a model of its own, beside the paper's figures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from bitface import backbones
from bitface.errors import BitfaceError, UsageError
from bitface.graph import from_module, to_onnx
from bitface.inputs import papers
from bitface.inputs.papers import Row, Selection, selected
from bitface.jobs import reproduce as reproducing
from bitface.jobs.reproduce import foretold, reproduce
from bitface.jobs.runs.reproduction import ReproduceRequest, prepared
from bitface.results.documents import read_result
from bitface.results.reproduction import ReproducedRow, ReproductionRecord


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network, and twelve people in three pictures each."""
    folder = tmp_path_factory.mktemp("hand")
    torch.manual_seed(0)
    module = backbones.create("mobilefacenet:0.25", 16, input_size=32).eval()
    onnx.save(to_onnx(from_module(module, size=(32, 32)).graph), folder / "net.onnx")
    faces = np.random.default_rng(1).integers(0, 256, (36, 32, 32, 3), dtype=np.uint8)
    for number, face in enumerate(faces):
        person = folder / "people" / f"p{number % 12}"
        person.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(person / f"{number}.png")
    return folder


def test_every_recipe_of_every_table_is_there() -> None:
    for name in papers.names():
        for table in papers.read_paper(name).tables:
            selection = selected(name, table)
            for network in selection.table.networks:
                papers.scratch_of(selection, network)
            for row in selection.table.rows:
                assert row.network in selection.table.networks
                assert row.figures
                assert all(0 < value <= 100 for value in row.figures.values())
                if row.recipe:
                    papers.recipe_of(row, selection.table.training)


@pytest.mark.parametrize(
    ("paper", "table", "message"),
    [("rmc", None, "did you mean 'rcm'"), ("rcm", "9", "rcm has no table '9'")],
)
def test_unknown_names(paper: str, table: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        selected(paper, table)


def test_what_is_missing_is_said_before_anything_starts(hand: Path, tmp_path: Path) -> None:
    request = ReproduceRequest(selected("quantface", None), tmp_path, preprocess="rgb-127.5-128")
    with pytest.raises(UsageError, match="model='ResNet100=FILE'"):
        prepared(request)
    named = replace(request, models={"ResNet18": hand / "net.onnx"})
    with pytest.raises(UsageError, match=r"MS1MV2, 5\.8 million images: name its folder by data="):
        prepared(named)
    with pytest.raises(BitfaceError, match="nowhere: is no folder"):
        prepared(replace(named, data=tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="the table has no network 'ResNet19'; did you mean 'ResNet18'"):
        prepared(replace(request, models={"ResNet19": hand / "net.onnx"}))
    ready = prepared(replace(named, data=hand / "people"))
    assert ready.runs[0].row.title == "ResNet18 w8a8 synthetic"
    assert any("ResNet100 is left out" in note for note in ready.notes)
    assert "LFW isn't measured: no such test" in ready.notes


def few(selection: Selection, rows: tuple[Row, ...]) -> Selection:
    """The table with these rows alone."""
    table = selection.table.model_copy(update={"rows": rows})
    return replace(selection, file=selection.file.model_copy(update={"tables": {selection.name: table}}))


def test_people_are_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut off as it makes them leaves none, where the next run would learn from some."""
    faces = tmp_path / "faces"
    faces.mkdir()
    for number in range(3):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(faces / f"{number}.png")
    monkeypatch.setattr(reproducing, "cached", lambda _: faces)
    save, saved = Image.Image.save, list[Path]()

    def cut_off(image: Image.Image, path: Path) -> None:
        saved.append(path)
        if len(saved) == 4:
            raise KeyboardInterrupt
        save(image, path)

    monkeypatch.setattr(Image.Image, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        reproducing._make_people(tmp_path / "people")
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]
    reproducing._make_people(tmp_path / "people")
    assert len(list((tmp_path / "people").glob("*/*.png"))) == 6


@pytest.mark.slow
def test_rows_are_made_once(hand: Path, tmp_path: Path) -> None:
    table = selected("rcm", "4")
    request = ReproduceRequest(
        few(table, table.table.rows[-1:]), tmp_path / "out", images=(hand / "people",), models={"": hand / "net.onnx"},
        preprocess="rgb-127.5-128", small=True,
    )  # fmt: skip
    assert "20 steps, about" in foretold(prepared(request))[0]
    content = reproduce(prepared(request))
    (row,) = content["rows"]
    assert (row["name"], row["paper"], row["ours"]) == ("DSQ RCM", {"MegaFace / rank-1": 89.46}, {})
    assert -1 <= row["agreement"] <= 1
    made = json.loads((request.out / "ResNet18-DSQ-RCM-0" / "result.json").read_text())["created"]
    assert read_result(request.out / "result.json").kind == "reproduction"
    assert foretold(prepared(request)) == ["ResNet18 DSQ RCM: is there"]
    assert [one["agreement"] for one in reproduce(prepared(request))["rows"]] == [row["agreement"]]
    assert json.loads((request.out / "ResNet18-DSQ-RCM-0" / "result.json").read_text())["created"] == made
    with pytest.raises(BitfaceError, match="holds rows of another reproduction"):
        reproduce(prepared(replace(request, selection=selected("rcm", "3"))))


@pytest.mark.slow
def test_figures_stand_beside_the_papers(hand: Path, tmp_path: Path) -> None:
    people = [sorted(folder.iterdir()) for folder in sorted((hand / "people").iterdir())]
    lines = ["a,b,same,fold"]
    for fold in range(10):
        (one, two, _), (other, *_) = people[fold], people[fold + 1]
        first, second, third = (path.relative_to(hand / "people") for path in (one, two, other))
        lines += [f"{first},{second},1,{fold}", f"{first},{third},0,{fold}"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    tests = tmp_path / "tests.yaml"
    tests.write_text(f"protocols: {{LFW: {{pairs: pairs.csv, root: {hand / 'people'}}}}}")
    table = selected("qmobilefacenet", None)
    request = ReproduceRequest(
        few(table, table.table.rows[:2]), tmp_path / "out", data=hand / "people",
        models={"MobileFaceNet": hand / "net.onnx"}, protocols=tests, preprocess="rgb-127.5-128",
    )  # fmt: skip
    content = reproduce(prepared(request))
    assert content["notes"] == ["AgeDB-30 isn't measured: no such test"]
    rows = {row["name"]: row for row in content["rows"]}
    assert set(rows) == {"float32", "8-bit PTQ"}
    assert all(0 <= row["ours"]["LFW"] <= 100 and "AgeDB-30" not in row["ours"] for row in rows.values())
    text = (request.out / "table.md").read_text()
    change = rows["8-bit PTQ"]["ours"]["LFW"] - rows["float32"]["ours"]["LFW"]
    assert any(
        line.split()[:2] == ["MobileFaceNet", "8-bit"] and line.endswith(f"{change:+.2f}") for line in text.splitlines()
    )
    assert "SMALL" not in text


def test_the_table_fits_a_terminal() -> None:
    rows = [
        ReproducedRow(network="ResNet18", name="float32", recipe=None, paper={"LFW": 99.67}, ours={"LFW": 99.5}),
        ReproducedRow(
            network="ResNet18", name="w6a6 synthetic", recipe="quantface-w6a6-real", paper={"LFW": 99.55},
            ours={"LFW": 99.4}, spread={"LFW": 0.1}, agreement=0.98,
        ),
    ]  # fmt: skip
    record = ReproductionRecord.of(
        {
            "bitface": "0", "created": "now", "paper": "quantface", "table": "main", "title": "words " * 30,
            "small": True, "rows": [row.to_json() for row in rows], "departures": ["many " * 40], "machine": {},
        }
    )  # fmt: skip
    lines = record.text().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(
        line.split() == ["ResNet18", "w6a6", "synthetic", "99.55", "-0.12", "99.40±0.10", "-0.10"] for line in lines
    )

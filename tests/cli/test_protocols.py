"""Any protocol in the place of a list of pairs, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from support.protocol_sets import PEOPLE, SPECS, write_sets

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = write_sets(tmp_path_factory.mktemp("sets"))
    (base / "suite.yaml").write_text(yaml.safe_dump({"protocols": SPECS}))
    people = [f"p{number:02},{'lr'[number % 2]}" for number in range(20)]
    (base / "groups.csv").write_text("\n".join(["person,side", *people]))
    return base / "suite.yaml"


@pytest.mark.slow
def test_everything_is_asked_of_searches(
    bitface: Run, net: Path, quantized: Path, suite: Path, crops: Path, tmp_path: Path
) -> None:
    model, out = tmp_path / "model.bitface", tmp_path / "a.json"
    code, _, err = bitface(
        "calibrate", quantized / "model.bitface", "--protocol", f"{suite}:galleries", "--far", "0.5", "--out", model
    )
    assert code == 0, err
    assert "the thresholds are of searches" in err
    code, shown, err = bitface(
        "evaluate", model, "--protocol", f"{suite}:people", "--against", net, "--preprocess", "rgb-127.5-128",
        "--groups", suite.with_name("groups.csv"), "--used", crops, "--far", "0.5", "--json", out,
    )  # fmt: skip
    assert code == 0, err
    content = json.loads(out.read_text())
    assert content["test"] == "people"
    assert [figure["name"] for figure in content["figures"]] == ["rank-1", "rank-5", "rank-10"]
    assert [row["target"] for row in content["stored_thresholds"]] == [0.5]
    assert [row["name"] for row in content["baseline"]["comparison"]["changes"]] == ["rank-1", "rank-5", "rank-10"]
    assert [row["target"] for row in content["baseline"]["comparison"]["reused"]] == [0.5]
    assert len(content["baseline"]["mixed"]) == 4
    assert [row["group"] for row in content["groups"]["changes"]] == ["l", "r"]
    assert content["overlap"]["images"] == 80
    assert "rank-1" in shown
    assert "the artifact's threshold for FAR 0.5" in shown


def test_what_a_protocol_has_no_notion_of(
    bitface: Run, net: Path, quantized: Path, suite: Path, tmp_path: Path
) -> None:
    model = quantized / "model.bitface"
    code, out, err = bitface("calibrate", model, "--protocol", f"{suite}:distractors", "--out", tmp_path / "b.bitface")
    assert (code, out) == (1, "")
    assert "distractors: no single threshold decides in this protocol" in err
    code, _, err = bitface(
        "evaluate", model, "--protocol", f"{suite}:distractors", "--groups", suite.with_name("groups.csv"),
        "--far", "0.5",
    )  # fmt: skip
    assert code == 0, err
    assert "distractors: this kind of protocol has no figures of groups" in err
    code, out, err = bitface(
        "sensitivity", net, "--images", suite.with_name("images"), "--preprocess", "rgb-127.5-128", "--out", tmp_path,
        "--max-images", 20, "--held-out", 16, "--protocol", f"{suite}:videos",
    )  # fmt: skip
    assert (code, out) == (1, "")
    assert "videos: this protocol lists no pairs of images" in err


@pytest.mark.slow
def test_an_analysis_of_templates(bitface: Run, net: Path, quantized: Path, suite: Path, tmp_path: Path) -> None:
    base = suite.parent
    matches = [f"{2 * a} {2 * b + 1} {int(a == b)}" for a in range(20) for b in range(20)]
    (base / "many.txt").write_text("\n".join(matches) + "\n")
    (base / "templates.yaml").write_text(yaml.safe_dump({**SPECS["templates"], "matches": "many.txt"}))
    code, _, err = bitface(
        "analyse", net, quantized / "model.bitface", "--protocol", base / "templates.yaml", "--preprocess",
        "rgb-127.5-128", "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, err
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert found["flips"]["pairs"] == "list"
    assert (found["flips"]["points"][0]["genuine"], found["flips"]["points"][0]["impostor"]) == (20, 380)
    assert all(row["left"].startswith("template ") for row in found["flips"]["worst"])


def test_requests_that_say_two_things(bitface: Run, quantized: Path, suite: Path) -> None:
    model = quantized / "model.bitface"
    for options, message in (
        (["evaluate", model, "--protocol", suite], "name one"),
        (["evaluate", model, "--protocol", f"{suite}:peple"], "did you mean 'people'?"),
        (["evaluate", model, "--protocol", f"{suite}:people", "--all-pairs"], "leave out --pairs"),
        (["calibrate", model, "--protocol", f"{suite}:people", "--images", suite.parent], "give either"),
        (["analyse", model, model, "--out", suite.parent / "x"], "name the faces: --images, or --protocol"),
    ):
        code, out, err = bitface(*options)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["people", "galleries", "distractors"])
def test_an_analysis_where_no_comparisons_are_listed(
    bitface: Run, net: Path, quantized: Path, suite: Path, tmp_path: Path, name: str
) -> None:
    """People are the classes, or faces that look alike where strangers are among them, and all pairs are decided on."""
    code, _, err = bitface(
        "analyse", net, quantized / "model.bitface", "--protocol", f"{suite}:{name}", "--preprocess", "rgb-127.5-128",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, err
    result = json.loads((tmp_path / "out" / "analysis.json").read_text())
    strangers = name == "distractors"
    assert result["class_word"] == ("pseudo-class" if strangers else "class")
    assert strangers or result["faces"]["classes"] == PEOPLE
    assert strangers or result["flips"]["pairs"] == "all pairs"
    assert f"{name}: this protocol lists no comparisons" in err
    assert (tmp_path / "out" / "analysis.html").is_file()

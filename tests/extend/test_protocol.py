"""The protocol of docs/extend/protocol.md, from a package that isn't ours."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.support.protocol_sets import write_sets
from tests.test_registry import installed

from bitface import backbones
from bitface.cli import main
from bitface.evaluation.protocols.registry import PROTOCOLS
from bitface.graph import from_module, to_onnx

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "protocol.md"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's code, installed beside its entry point."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (point,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert "my_package.triplets:TripletFiles" in point
    place = tmp_path / "site"
    place.mkdir()
    installed(place, code, "[bitface.protocols]\ntriplets = others_of_bitface:TripletFiles\n")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(PROTOCOLS, "_others", None)  # as a program that starts now
    yield
    sys.modules.pop("others_of_bitface", None)
    PROTOCOLS._things.pop("triplets", None)
    PROTOCOLS._others = None


@pytest.mark.usefixtures("package")
def test_the_example_runs_through_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    base = write_sets(tmp_path)
    torch.manual_seed(0)
    module = backbones.create("mobilefacenet:0.25", embedding_size=32).train()
    with torch.no_grad():
        module(torch.randn(8, 3, 112, 112))
    onnx.save(to_onnx(from_module(module).graph), base / "net.onnx")
    rows = [f"p{n:02}/0.png,p{n:02}/1.png,p{(n + 1) % 20:02}/2.png" for n in range(20)]
    (base / "triplets.csv").write_text("\n".join(rows) + "\n")
    (base / "suite.yaml").write_text(
        "models:\n  net: {path: net.onnx, preprocess: rgb-127.5-128}\n"
        "protocols:\n  my triplets: {triplets: triplets.csv, root: images}\n"
    )

    def run(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["bitface", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code

    suite = base / "suite.yaml"
    run("evaluate", "--suite", suite, "--out", base / "results")
    (cell,) = json.loads((base / "results" / "results.json").read_text())["cells"]
    assert cell["protocol"] == "my triplets"
    assert cell["figures"][0]["name"] == "nearer"
    run(
        "evaluate", base / "net.onnx", "--protocol", suite, "--against", base / "net.onnx",
        "--preprocess", "rgb-127.5-128", "--json", base / "a.json",
    )  # fmt: skip
    content = json.loads((base / "a.json").read_text())
    assert content["figures"] == cell["figures"]
    assert content["figures"][0]["value"] == content["nearer"] / content["triplets"] == content["nearer"] / 20
    (change,) = content["baseline"]["comparison"]["changes"]
    assert (change["name"], change["change"], change["mcnemar"]["flipped"]) == ("nearer", 0, 0)

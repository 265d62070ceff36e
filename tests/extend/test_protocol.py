"""The protocol of docs/extend/protocol.md, from a package that isn't ours."""

import json
from pathlib import Path

import onnx
import pytest
import torch

from bitface import backbones
from bitface.graph import from_module, to_onnx
from support.extension import bitface, blocks, install
from support.protocol_sets import write_sets


@pytest.mark.slow
def test_the_example_runs_through_the_commands(tmp_path: Path) -> None:
    (code,), (project,) = blocks("protocol.md", "python"), blocks("protocol.md", "toml")
    site = install(tmp_path / "site", code, project)
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

    suite = base / "suite.yaml"
    bitface("evaluate", "--suite", suite, "--out", base / "results", site=site)
    (cell,) = json.loads((base / "results" / "results.json").read_text())["cells"]
    assert cell["protocol"] == "my triplets"
    assert cell["figures"][0]["name"] == "nearer"
    bitface(
        "evaluate", base / "net.onnx", "--protocol", suite, "--against", base / "net.onnx",
        "--preprocess", "rgb-127.5-128", "--json", base / "a.json", site=site,
    )  # fmt: skip
    content = json.loads((base / "a.json").read_text())
    assert content["figures"] == cell["figures"]
    assert content["figures"][0]["value"] == content["nearer"] / content["triplets"] == content["nearer"] / 20
    (change,) = content["baseline"]["comparison"]["changes"]
    assert (change["name"], change["change"], change["mcnemar"]["flipped"]) == ("nearer", 0, 0)

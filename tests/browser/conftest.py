"""Every page that the program writes, of a small network, and a browser to look at them."""

import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from bitface import artifact
from bitface.cli import main
from bitface.jobs.people.try_ import TryRequest, serve_trial
from bitface.tryout import TryoutServer
from cli.conftest import crops, pairs  # noqa: F401
from support.quantized import Small, onnx_file

CHROMIUM = Path("/usr/bin/chromium")
# What a browser does on its own would otherwise be taken for something that a page asked for.
OPTIONS = [
    "--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = "<script>alert(1)<∕script>"
PREPROCESS = ("--preprocess", "rgb-127.5-128")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} isn't there (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        # Scrollbars are part of what is looked at.
        found = driver.chromium.launch(
            executable_path=str(CHROMIUM), args=OPTIONS, ignore_default_args=["--hide-scrollbars"]
        )
        yield found
        found.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The program that finds what people with some disability can't read or reach."""
    package = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    return (resources.files(package) / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def pages(browser: Any, crops: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: F811
    """Pages by the command that writes them; one person has a hostile name."""
    folder = tmp_path_factory.mktemp("pages")
    net, listed, faces, compared = folder / "net.onnx", folder / "pairs.csv", folder / "faces", folder / "compare.yaml"
    onnx_file(Small(), 112, net)
    shutil.copytree(crops, faces)
    (faces / "p0").rename(faces / HOSTILE)
    listed.write_text(pairs.read_text().replace("p0/", f"{HOSTILE}/"))
    compared.write_text(
        f"""
model: {net}
preprocess: rgb-127.5-128
images: {faces}
max_images: 16
protocol: {{pairs: {listed}, root: {faces}}}
fars: [0.05]
candidates:
  <b>w8a8</b>: {{quantize: {{bits: w8a8}}}}
  w4a8: {{quantize: {{bits: w4a8}}}}
  impossible: {{prune: {{ratio: 0.999}}}}
"""
    )
    run, few = folder / "w4", ("--max-images", 12, "--held-out", 16)
    model, fars = run / "model.bitface", ("--far", "0.1,0.05,0.001")
    evaluated = ("--pairs", listed, "--root", faces, "--all-pairs", "--against", net, *PREPROCESS, *fars)
    _run("quantize", net, "--images", faces, "--bits", "w4a4", "--out", run, *PREPROCESS)
    _run("evaluate", model, *evaluated, "--json", run / "evaluation.json")
    _run("bench", net, model, *PREPROCESS, "--json", run / "bench.json")
    _run("analyse", net, model, "--images", faces, "--labels", "folder", "--out", folder / "analyse", "--faces")
    _run("sensitivity", net, "--images", faces, "--out", folder / "sensitivity", *few, *PREPROCESS)
    _run("search", net, "--images", faces, "--budget", "4bits", "--out", folder / "search", "--points", 3, "--tries", 2,
         *few, *PREPROCESS)  # fmt: skip
    _run("quantize", net, "--images", faces, "--bits", "w8a8", "--out", folder / "w8 before", *PREPROCESS)
    _run(
        "evaluate",
        folder / "w8 before" / "model.bitface",
        *evaluated,
        "--json",
        folder / "w8 before" / "evaluation.json",
    )
    _run(
        "bench", net, folder / "w8 before" / "model.bitface", *PREPROCESS, "--json", folder / "w8 before" / "bench.json"
    )
    _run("compare", compared, "--out", folder / "compare", code=1)  # one of the candidates is meant to fail
    parts = [run, folder / "analyse", folder / "sensitivity", folder / "search"]
    _run("report", *parts, "--out", folder / "report.html", "--faces", "--title", HOSTILE)
    _run("report", run, "--out", folder / "one.html")
    _run("report", folder / "w8 before", run, "--diff", "--out", folder / "diff.html")
    _run("report", *_smaller(folder, net, faces, listed), folder / "compare", "--out", folder / "many.html")
    return {
        "quantize": run / "report.html",
        "analyse": folder / "analyse" / "analysis.html",
        "sensitivity": folder / "sensitivity" / "sensitivity.html",
        "search": folder / "search" / "report.html",
        "compare": folder / "compare" / "comparison.html",
        "report": folder / "report.html",
        "report of one": folder / "one.html",
        "report of many": folder / "many.html",
        "report of changes": folder / "diff.html",
    }


@pytest.fixture(scope="session")
def tried(pages: dict[str, Path]) -> Iterator[TryoutServer]:
    """The page of `bitface try`, of the float network and its integers; the artifact decides from a cosine of 0.5."""
    folder = pages["report"].parent
    path = folder / "tried.bitface"
    details = artifact.read(folder / "w8" / "model.bitface")
    artifact.write(path, replace(details, thresholds=[{"far": 1e-3, "threshold": 0.5}]))
    with serve_trial(TryRequest(path, folder / "pruned" / "model.onnx")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _smaller(folder: Path, net: Path, faces: Path, listed: Path) -> list[Path]:
    """What was pruned, distilled and quantized one out of the other, and a suite; the folders of their results."""
    pruned, distilled, quantized = (folder / name for name in ("pruned", "distilled", "w8"))
    short = ("--images", faces, "--epochs", 1, "--batch", 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITFACE_CACHE", str(folder / "cache"))
        _run("prune", net, "--ratio", 0.3, *short, "--out", pruned, *PREPROCESS)
        _run("distill", pruned / "model.onnx", "--student", "mobilefacenet:0.125", *short, "--out", distilled)
    _run("quantize", pruned / "model.onnx", "--images", faces, "--out", quantized)
    (folder / "suite.yaml").write_text(
        f"""
models: {{"{HOSTILE}": {pruned / "model.onnx"}, w8a8: {quantized / "model.bitface"}}}
protocols:
  all pairs: {{pairs: {listed}, root: {faces}, all_pairs: true}}
  people: {{people: {faces}}}
fars: [0.1, 1.0e-6]
mixed: true
"""
    )
    _run("evaluate", "--suite", folder / "suite.yaml", "--out", folder / "suite")
    return [quantized, pruned, distilled, folder / "suite"]


def _run(*arguments: object, code: int = 0) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bitface", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            main()
        assert (ending.value.code or 0) == code, arguments

"""How large is a report, how long does it take to make, and how long to open? Three models, 30 M pairs of scores each.

    python benchmarks/report.py [--out out/report] [--rounds 5]

`bitface report` gets made-up evaluations with curves and histograms of as many pairs as 7,750 images form, and made-up
results of 60 layers. Opening is from the request to the page's `load` event in headless Chromium, the median of
`--rounds` new pages; needs what `make browser` installs, and is left out without it.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from bitface.evaluation import all_pairs
from bitface.files import write_json
from bitface.jobs.report import ReportRequest, make_report

_PEOPLE, _EACH, _PAIRS = 400, 4, 30_000_000
_CHROMIUM = "/usr/bin/chromium"


def evaluation(number: int, rng: np.random.Generator) -> dict[str, Any]:
    """As `evaluate` writes it. The curve of fewer images has as many corners, whose counts are scaled."""
    people = np.repeat(np.arange(_PEOPLE), _EACH)
    rows = rng.normal(size=(_PEOPLE, 64))[people] + (0.8 + 0.2 * number) * rng.normal(size=(len(people), 64))
    found = all_pairs(rows, people, resamples=0).to_json(curve=True)
    scale = _PAIRS / sum(found["bins"]["impostor"])
    found["bins"]["impostor"] = [round(count * scale) for count in found["bins"]["impostor"]]
    accuracy = {"mean": 0.99, "std": 0.003, "interval": {"low": 0.985, "high": 0.993, "method": "Wilson"}}
    return {
        "bitface": "0", "model": "model.bitface", "kind": "artifact", "fingerprint": str(number), "engine": "openvino",
        "precision": "integer", "pairs": "pairs.csv", "accuracy": accuracy, **found,
    }  # fmt: skip


def quantization(number: int) -> dict[str, Any]:
    """As `quantize` writes it."""
    names = [f"block{layer}.conv" for layer in range(60)]
    layers = [
        {"name": name, "kind": "Conv", "weight_bits": 4, "activation_bits": 8, "reason": "plan", "parameters": 20_000,
         "bytes": 10_000}
        for name in names
    ]  # fmt: skip
    tensors = [
        {"name": f"{name}.{n}", "role": "weight", "bits": 4, "detail": "symmetric"} for name in names for n in "ab"
    ]
    summary = {"count": 500, "mean": 0.98, "p01": 0.95, "minimum": 0.9}
    return {
        "bitface": "0", "model": {"name": f"net{number}", "fingerprint": "0"}, "bits": "w4a8", "plan": {"bits": "w4a8"},
        "layers": layers, "tensors": tensors, "unquantized": [], "bytes": {"model.bitface": 700_000},
        "float_bytes": 4_800_000, "agreement": {"openvino": summary}, "faces": {}, "seconds": {"quantize": 60.0},
    }  # fmt: skip


def opened(path: Path, rounds: int) -> float | None:
    """Milliseconds until the page is loaded; None without a browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if not Path(_CHROMIUM).exists():
        return None
    times = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--headless", "--disable-gpu"]
        )
        for _ in range(rounds):
            page = browser.new_page()
            page.goto(path.resolve().as_uri())
            times.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
            page.close()
        browser.close()
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/report"))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    runs = [arguments.out / f"model-{number}" for number in range(3)]
    for number, run in enumerate(runs):
        write_json(run / "result.json", quantization(number))
        write_json(run / "evaluation.json", evaluation(number, rng))
    page = arguments.out / "report.html"
    started = time.perf_counter()
    make_report(ReportRequest(runs, page))
    print(f"made in {time.perf_counter() - started:.2f} s")
    for kind in (".html", ".md", ".json"):
        print(f"{page.with_suffix(kind)}: {page.with_suffix(kind).stat().st_size / 1e6:.3f} MB")
    milliseconds = opened(page, arguments.rounds)
    print("not opened: no browser" if milliseconds is None else f"opened in {milliseconds:.0f} ms")


if __name__ == "__main__":
    main()

"""What must never be silently wrong: the suite several times over under load, and the tests of each promise in it.

    python benchmarks/reliability.py [--runs 3]

Each run has two busy loops beside it. Where OpenVINO is exact, the second one makes it do without VNNI
(ONEDNN_MAX_CPU_ISA=AVX2), as on an older CPU. `threads.py` and `saturation.py` measure what tests can't: a hundred
thousand embeddings in each of eight threads, and real networks.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from lib.common import HERE, save

from bitface.targets.exact import exact

# Promise → where its tests are.
PROMISES: dict[str, list[str]] = {
    "Threads, forked and spawned processes get the embeddings of their own images": ["tests/runtime/test_threads.py"],
    "The default engine is exact on this CPU; others are named, measured and warned about": [
        "tests/targets/test_exact.py",
        "tests/cli/test_other_engine.py",
        "tests/graph/test_onnx_writer.py::test_openvino_rounds_what_additions_read",
    ],
    "Limits are integers only between Quantize and Dequantize": ["tests/graph/test_onnx_quantized.py"],
    "Networks in training mode are refused": ["tests/graph/test_onnx_training.py"],
    "A free image size is asked for, learned or said": ["tests/graph/test_image_size.py", "tests/cli/test_size.py"],
    "One command at a time in a folder, one result in it, after kill -9 too": [
        "tests/results/test_locks.py",
        "tests/results/test_folder.py",
    ],
    "Outputs replace files and nothing else": ["tests/test_files.py", "tests/cli/test_outputs.py"],
    "An integer network isn't quantized again without a word": ["tests/cli/test_quantized_before.py"],
    "The support of a FAR counts distinct comparisons": ["tests/evaluation/figures/test_distinct_comparisons.py"],
    "verify and identify say which face they took and which threshold applied": [
        "tests/cli/test_galleries.py",
        "tests/cli/test_thresholds.py",
    ],
    "Archives, weights, YAML and artifacts can't grow beyond their files": [
        "tests/test_limits.py",
        "tests/data/datasets/test_shards.py",
        "tests/backbones/test_state_dicts.py",
        "tests/artifact/test_hostile_files.py",
        "tests/graph/test_onnx_folding.py",
    ],
    "No pickle runs anything": ["tests/backbones/test_inert_pickle.py", "tests/data/test_packs.py"],
    "What ends a command from outside ends it with one line and nothing half-written": ["tests/test_signals.py"],
    "What a killed process began goes with the next one, and nothing of others": ["tests/test_scratch.py"],
    "A lack of memory, files or disk is called that; other libraries are silent": ["tests/cli/test_low_memory.py"],
    "Names can't steer a terminal": ["tests/test_terminal.py"],
    "Files of settings are checked, key by key, before anything runs": [
        "tests/inputs/test_suites.py",
        "tests/inputs/test_recipes.py",
        "tests/inputs/test_protocols.py",
    ],
    "Damaged images are skipped and listed": ["tests/data/test_images.py", "tests/data/test_faces.py"],
    "Galleries are whole, or refused": ["tests/evaluation/test_gallery.py"],
    "Every asset has its hash, and the bill of materials names all": [
        "tests/release/test_wheel.py",
        "tests/data/test_assets.py",
    ],
    "A training that goes on is the one that wasn't stopped": ["tests/training/test_loop.py"],
    "A training without compiled kernels says so": ["tests/quant/test_kernels.py", "tests/cli/test_training.py"],
}


WHOLE = "The whole suite, with two busy loops beside it on two cores"


def run(busy: int, environment: dict[str, str]) -> list[tuple[str, str]]:
    """One run of the suite beside so many busy loops: (test, `passed`, `failed` or `skipped`) of each."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-m", "not slow", f"--junitxml={report}"]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
            subprocess.run(command, cwd=HERE.parent, env=environment, stdout=subprocess.DEVNULL, check=False)
            cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    finally:
        for loop in loops:
            loop.kill()
    return [(f"{case.get('classname')}::{case.get('name')}", _outcome(case)) for case in cases]


def _outcome(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case}
    return "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"


def counted(cases: list[tuple[str, str]], places: list[str]) -> dict[str, int]:
    """Attempts, failures and skipped tests among those that stand in these places; all where none is named."""
    words = [place.removesuffix(".py").replace("/", ".").replace(".py::", "::") for place in places]
    found = [how for test, how in cases if not words or any(test.startswith(word) for word in words)]
    return {
        "attempts": sum(how != "skipped" for how in found),
        "failures": found.count("failed"),
        "skipped": found.count("skipped"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    cases: list[tuple[str, str]] = []
    for number in range(1, options.runs + 1):
        without = number == 2 and exact("openvino", 8)
        cases += run(2, {"ONEDNN_MAX_CPU_ISA": "AVX2"} if without else {})
        print([test for test, how in cases if how == "failed"], flush=True)
        rows: list[dict[str, Any]] = [
            {"promise": promise, "tests": places, **counted(cases, places)}
            for promise, places in {**PROMISES, WHOLE: []}.items()
        ]
        # After each run, so that an interrupted one keeps what it has.
        save("reliability", rows, runs=number, command=f"python benchmarks/reliability.py --runs {number}")


if __name__ == "__main__":
    main()

"""What must never be silently wrong: the tests of each promise, run several times over.

    python benchmarks/reliability.py [--runs 3]

Counts the tests that `docs/reliability.md` names and how many of them fail, over all runs. `threads.py` and
`saturation.py` measure what tests can't: a hundred thousand embeddings in each of eight threads, and real networks.
"""

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from common import HERE, save

# Promise → where its tests are.
PROMISES: dict[str, list[str]] = {
    "Threads, forked and spawned processes get the embeddings of their own images": ["tests/runtime/test_threads.py"],
    "The default engine is exact on this CPU; others are named, measured and warned about": [
        "tests/runtime/test_engines.py",
        "tests/cli/test_other_engine.py",
        "tests/graph/test_onnx_writer.py::test_openvino_rounds_what_additions_read",
    ],
    "Limits are integers only between Quantize and Dequantize": ["tests/graph/test_onnx_quantized.py"],
    "Networks in training mode are refused": ["tests/graph/test_onnx_training.py"],
    "A free image size is asked for, learned or said": ["tests/graph/test_image_size.py", "tests/cli/test_size.py"],
    "One command at a time in a folder, one result in it, after kill -9 too": [
        "tests/jobs/test_locks.py",
        "tests/jobs/test_staging.py",
    ],
    "Outputs replace files and nothing else": ["tests/test_files.py", "tests/cli/test_outputs.py"],
    "An integer network isn't quantized again without a word": ["tests/cli/test_quantized_before.py"],
    "The support of a FAR counts distinct comparisons": ["tests/evaluation/test_distinct.py"],
    "verify and identify say which face they took and which threshold applied": [
        "tests/cli/test_galleries.py",
        "tests/cli/test_thresholds.py",
    ],
    "A training without compiled kernels says so": ["tests/quant/test_kernels.py", "tests/cli/test_training.py"],
}


def run(places: list[str]) -> tuple[int, int, int]:
    """Tests that ran, failed, and were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *places]
        subprocess.run(command, cwd=HERE.parent, stdout=subprocess.DEVNULL, check=False)
        counts = ElementTree.parse(report).getroot().iter("testsuite")
        found = [{key: int(one.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")} for one in counts]
    total = {key: sum(one[key] for one in found) for key in ("tests", "failures", "errors", "skipped")}
    return total["tests"] - total["skipped"], total["failures"] + total["errors"], total["skipped"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for promise, places in PROMISES.items():
        counts = [run(places) for _ in range(options.runs)]
        attempts, failures, skipped = (sum(one[index] for one in counts) for index in range(3))
        rows.append(
            {"promise": promise, "tests": places, "attempts": attempts, "failures": failures, "skipped": skipped}
        )
        print(rows[-1], flush=True)
    save("reliability", rows, runs=options.runs, command=f"python benchmarks/reliability.py --runs {options.runs}")


if __name__ == "__main__":
    main()

"""What must never be silently wrong: the suite several times over under load, and the tests of each promise in it.

    python benchmarks/reliability.py [--runs 3]
    python benchmarks/reliability.py --named

The promises, the tests that the field asks for and those of the standards, and where each is tested, stand in
`lib/promises.py`. `--named` runs their tests alone, once and beside nothing, and leaves the row of the suite as it is.
Each run of the suite has two busy loops beside it. Where OpenVINO is exact, the second one makes it do without VNNI
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

from lib.common import HERE, known, save
from lib.promises import GROUPS, places

from bitface.targets.exact import exact

WHOLE = "The whole suite, with two busy loops beside it on two cores"


def run(busy: int, environment: dict[str, str], *places: str, processes: int = 2) -> list[tuple[str, str]]:
    """One run of the suite, or of some tests, beside so many busy loops: (test, `passed`, `failed` or `skipped`)."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", "-n", str(processes), "-m", "not slow"]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
            subprocess.run(
                [*command, f"--junitxml={report}", *places], cwd=HERE.parent, env=environment,
                stdout=subprocess.DEVNULL, check=False,
            )  # fmt: skip
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
    words = {place.replace(".py", "").replace("/", ".") for place in places}
    found = [how for test, how in cases if not words or words & {test.partition("::")[0], test.partition("[")[0]}]
    return {
        "attempts": sum(how != "skipped" for how in found),
        "failures": found.count("failed"),
        "skipped": found.count("skipped"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--named", action="store_true", help="only the tests of what is promised, once")
    parser.add_argument("--only", default="", help="with --named: promises in which this file or test is named")
    options = parser.parse_args()
    if options.named:
        others = [row for row in known("reliability") if not any(options.only in place for place in row["tests"])]
        cases = run(0, {}, *places(options.only), processes=1)
        print([test for test, how in cases if how == "failed"], flush=True)
        measured = {row["promise"]: row for row in [*others, *rows(cases, options.only)]}
        order = [*(promise for promises in GROUPS.values() for promise in promises), WHOLE]
        table = [measured[promise] for promise in order if promise in measured]
        save("reliability", table, command="python benchmarks/reliability.py --named")
        return
    cases = []
    for number in range(1, options.runs + 1):
        without = number == 2 and exact("openvino", 8)
        cases += run(2, {"ONEDNN_MAX_CPU_ISA": "AVX2"} if without else {})
        print([test for test, how in cases if how == "failed"], flush=True)
        # After each run, so that an interrupted one keeps what it has.
        whole = [{"group": "promise", "promise": WHOLE, "tests": [], "runs": number, **counted(cases, [])}]
        save("reliability", rows(cases) + whole, command=f"python benchmarks/reliability.py --runs {number}")


def rows(cases: list[tuple[str, str]], only: str = "") -> list[dict[str, Any]]:
    """A line of the result for each promise, or for those in which a file or test is named."""
    return [
        {"group": group, "promise": promise, "tests": own, **counted(cases, own)}
        for group, promises in GROUPS.items()
        for promise, own in promises.items()
        if any(only in place for place in own)
    ]


if __name__ == "__main__":
    main()

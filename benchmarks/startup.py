"""How long `bitface --help` and `import bitface` take, beside another checkout, alternating in one run.

    python benchmarks/startup.py --before ../bitface-0.1.0

Prints medians and the ratio; writes `benchmarks/results/startup.json`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lib.common import save

HERE = Path(__file__).parents[1]
COMMANDS = {"bitface --help": ["-m", "bitface", "--help"], "import bitface": ["-c", "import bitface"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="another checkout")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    rows = []
    for name, command in COMMANDS.items():
        seconds: dict[str, list[float]] = {"before": [], "now": []}
        for _ in range(options.rounds):
            for side, checkout in (("before", options.before), ("now", HERE)):
                environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
                began = time.perf_counter()
                subprocess.run([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL, check=True)
                seconds[side].append(time.perf_counter() - began)
        before, now = (statistics.median(times) for times in seconds.values())
        rows.append({"command": name, "before s": round(before, 3), "now s": round(now, 3), "ratio": before / now})
        print(rows[-1], flush=True)
    save("startup", rows, rounds=options.rounds)


if __name__ == "__main__":
    main()

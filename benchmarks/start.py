"""How long it takes from `import bitface` to the first embedding of an artifact, and in how much memory.

    python benchmarks/start.py [--rounds 15] [out/model.bitface]

A fresh process for each engine, in turns: with what an earlier start kept ("warm"), and, in fewer rounds, with nothing
kept ("cold"). Also `bitface --help`, and Python with numpy alone. Beside the seconds that pass are those of the CPU,
which other programs on the machine stretch less. Memory is what is resident after the embedding.
Writes `benchmarks/results/start.json`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from lib.common import ARTIFACTS, artifact, save

from bitface.targets import DEFAULTS

Start = tuple[float, float, int]
ENGINES = ("c", *DEFAULTS)
_EMBED = """
import numpy, bitface
bitface.load({path!r}, {engine!r}).embed(numpy.zeros(({height}, {width}, 3), numpy.uint8))
"""
_MEMORY = "print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"
_HELP = "import sys; sys.argv = ['bitface', '--help']; import bitface.cli, contextlib, io\n" + (
    "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): bitface.cli.main()"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    path = options.model or artifact("MobileFaceNet PReLU", "w8a8", ARTIFACTS)
    embed = {name: _EMBED.format(path=str(path.resolve()), engine=name, height=112, width=112) for name in ENGINES}
    programs = {"Python with numpy": "import numpy", "bitface --help": _HELP, **embed}
    with tempfile.TemporaryDirectory() as cache:
        for program in programs.values():  # what is kept, and the interpreter's own bytecode
            run(program, Path(cache))
        warm: dict[str, list[Start]] = {name: [] for name in programs}
        for _ in range(options.rounds):
            for name, program in programs.items():
                warm[name].append(run(program, Path(cache)))
    cold: dict[str, list[Start]] = {name: [] for name in embed}
    for _ in range(max(1, options.rounds // 5)):
        for name, program in embed.items():
            with tempfile.TemporaryDirectory() as cache:
                cold[name].append(run(program, Path(cache)))
    rows = [row(name, warm[name], cold.get(name)) for name in programs]
    save("start", rows, artifact="/".join(path.parts[-3:-1]), rounds=options.rounds)


def run(program: str, cache: Path) -> Start:
    """The seconds of a process, those of the CPU, and the KB that are resident at its end."""
    environment = {**os.environ, "BITFACE_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began, before = time.perf_counter(), _cpu_seconds()
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{_MEMORY}"], env=environment, check=True, capture_output=True, text=True
    )
    return time.perf_counter() - began, _cpu_seconds() - before, int(done.stdout.split()[-1])


def _cpu_seconds() -> float:
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(name: str, warm: list[Start], cold: list[Start] | None) -> dict[str, Any]:
    seconds, cpu, memory = zip(*warm, strict=True)
    result = {
        "name": name, "seconds": median(seconds), "least": min(seconds), "cpu seconds": median(cpu),
        "MB": median(memory) / 1e3,
    }  # fmt: skip
    if cold:
        result["first time, cpu seconds"] = median(one for _, one, _ in cold)
    print(json.dumps(result), flush=True)
    return result


if __name__ == "__main__":
    main()

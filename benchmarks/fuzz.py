"""What do damaged files of every kind do to their readers?

    python benchmarks/fuzz.py [--minutes 30 | --files 10000] [--kinds artifact,YAML] [--seed 0]        (make fuzz)

Small whole files are damaged: bytes, or what they say (a description is changed and signed again, a pickle in its
archive, a value of a YAML file). They are read in a process of their own, a hundred at most in one: each has to be read
or refused in one line, within 20 seconds and 1 GB. Others are kept in --keep. `mutations.py` does the same to ONNX
files of all exporters.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.common import HERE, known, save
from lib.fuzz_kinds import Kind, kinds
from lib.mutating import Reader
from mutations import WRONG

from bitface.errors import BitfaceError


def attacked(
    name: str, kind: Kind, files: int, seconds: float, seed: int, keep: Path
) -> tuple[dict[str, Any], list[str]]:
    """One line of the result, and what was wrong."""
    counts: Counter[str] = Counter()
    longest, most, wrong, begin = 0.0, 0, [], time.monotonic()
    names = list(kind.files)
    with tempfile.TemporaryDirectory() as folder, Reader(kind.read) as read:
        os.environ["BITFACE_CACHE"] = f"{folder}/cache"
        number = 0
        while number < files and time.monotonic() - begin < seconds:
            own = names[number % len(names)]
            path = Path(folder) / f"file{Path(own).suffix if not own.endswith('.tar.gz') else '.tar.gz'}"
            path.write_bytes(kind.damage(kind.files[own], np.random.default_rng((seed, number))))
            outcome = read(path)
            counts[outcome.kind] += 1
            longest, most = max(longest, outcome.seconds), max(most, outcome.bytes)
            if outcome.kind in WRONG:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}-{number}-{own}").write_bytes(path.read_bytes())
                wrong.append(f"{name} {number} {own}: {outcome.kind} {outcome.text.strip()[-300:]}")
                print(wrong[-1], flush=True)
            number += 1
    row = {
        "kind": name, "files": number, **{word: counts[word] for word in ("read", "refused", *WRONG)},
        "longest seconds": round(longest, 2), "most MB": round(most / 1e6),
        "files/s": round(number / (time.monotonic() - begin), 1),
    }  # fmt: skip
    return row, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="in all; without it, --files of each kind")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=HERE.parent / "out" / "fuzz")
    parser.add_argument("--dry", action="store_true", help="keep no result")
    options = parser.parse_args()
    torch.set_num_threads(1)  # threads aren't copied with a process
    with tempfile.TemporaryDirectory() as folder:
        every = kinds(Path(folder))
        chosen = options.kinds.split(",") if options.kinds else list(every)
        for name in chosen:
            kind = every[name]
            for own, content in kind.files.items():  # what is imported once is so before processes are copied
                path = Path(folder) / f"whole-{own}"
                path.write_bytes(content)
                os.environ["BITFACE_CACHE"] = f"{folder}/cache"
                try:
                    kind.read(path)
                except BitfaceError as error:
                    print(f"{own}, undamaged: {error}")
            seconds = options.minutes * 60 / len(chosen) if options.minutes else float("inf")
            files = 10**9 if options.minutes else options.files
            row, failures = attacked(name, kind, files, seconds, options.seed, options.keep)
            print(row, *failures, sep="\n", flush=True)
            if not options.dry:  # after each, beside what others have
                rows = {one["kind"]: one for one in known("fuzz")} | {name: row | {"failures": failures}}
                save("fuzz", [rows[one] for one in every if one in rows], seed=options.seed)


if __name__ == "__main__":
    main()

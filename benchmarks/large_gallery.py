"""How long, and in how much memory, two million embeddings are enrolled and searched.

    python benchmarks/large_gallery.py [--vectors 2000000] [--out out/large] [out/model.bitface]

Random vectors of the model's size in a .npy file, in the place of somebody's own, and a million people's names;
`bitface enroll --vectors` and `bitface identify` with one probe and with eight, each in a process of its own. Memory is
the most that was resident; "times the vectors" is that less what the command takes with a thousand of them, divided by
the bytes of the vectors.
Writes `benchmarks/results/large_gallery.json`.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import ARTIFACTS, artifact, save
from PIL import Image

import bitface
from bitface.evaluation.scores.nearest import chosen_engine

FEW = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--vectors", type=int, default=2_000_000)
    parser.add_argument("--out", type=Path, default=Path("out/large"))
    options = parser.parse_args()
    model = options.model or artifact("MobileFaceNet PReLU", "w8a8", ARTIFACTS)
    options.out.mkdir(parents=True, exist_ok=True)
    probe, size = options.out / "probe.png", bitface.load(model).embedding_size
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(probe)
    rows = []
    for count in (FEW, options.vectors):
        vectors, ids, gallery = written(options.out, count, size)
        commands = {
            "enroll": ("enroll", "--vectors", vectors, "--ids", ids, "--fingerprint-of", model, "--out", gallery),
            "identify, 1 probe": ("identify", probe, "--gallery", gallery, "--model", model),
            "identify, 8 probes": ("identify", *[probe] * 8, "--gallery", gallery, "--model", model),
        }
        for name, command in commands.items():
            seconds, megabytes = run(*command)
            rows.append({"command": name, "vectors": count, "seconds": seconds, "MB": megabytes})
        vectors.unlink()
        gallery.unlink()
    of_vectors = options.vectors * size * 4 / 1e6
    for row in rows[3:]:
        base = next(one["MB"] for one in rows if one["command"] == row["command"])
        row |= {"MB of vectors": of_vectors, "times the vectors": (row["MB"] - base) / of_vectors}
    save("large_gallery", rows, size=size, engine=chosen_engine(options.vectors))


def written(folder: Path, count: int, size: int) -> tuple[Path, Path, Path]:
    """Vectors and names, two of each person, and where their gallery goes."""
    vectors, ids = folder / "vectors.npy", folder / "ids.csv"
    values = np.lib.format.open_memmap(vectors, "w+", np.float32, (count, size))
    generator = np.random.default_rng(1)
    for first in range(0, count, 1 << 16):
        part = values[first : first + (1 << 16)]
        part[:] = generator.standard_normal(part.shape, dtype=np.float32)
    values.flush()
    ids.write_text("id\n" + "".join(f"person {row // 2}\n" for row in range(count)))
    return vectors, ids, folder / "gallery.safetensors"


def run(*arguments: Any) -> tuple[float, float]:
    """The seconds of a command, and the most MB that were resident."""
    program = (
        "import resource, sys; from bitface.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        "    assert not end.code, end\nfinally:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - began, int(done.stderr.split()[-1]) / 1e3


if __name__ == "__main__":
    main()

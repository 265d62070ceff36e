"""How long it takes to make faces: from the default generator, and from each network alone.

    python benchmarks/making_faces.py [--threads 2] [--only TEXT]

Everything from reading the generator or the network to aligned, filtered, written PNG files; nothing is taken from a
cache but the downloaded assets. A row that `results/making_faces.json` holds already isn't repeated.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import torch
from lib.common import known, networks, save

from bitface.data.assets import ASSETS, fetch
from bitface.data.sources import Source, cached
from bitface.files import cache_folder
from bitface.graph import load_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in ("dcgan", "yunet"):
        fetch(name)
    rows = known("making_faces")
    wanted = [("synthetic:2000", "", None), *(("none:512", name, where) for name, where in networks().items())]
    for word, name, where in wanted:
        key = f"{word} {name}".strip()
        if options.only not in key or any(row["key"] == key for row in rows):
            continue
        began = time.perf_counter()
        network = load_network(*where) if where else None
        folder = cached(Source.parse(word), 0, network)
        seconds = time.perf_counter() - began
        rows.append({"key": key, "source": word, "network": name, "seconds": round(seconds, 1)})
        rows[-1] |= {"images": len(list(folder.glob("*.png"))), "threads": options.threads}
        print(rows[-1], flush=True)
        save("making_faces", rows)


def from_nothing() -> None:
    """Runs with a cache that holds the assets alone, and keeps what was made for other benchmarks."""
    kept = cache_folder()
    with tempfile.TemporaryDirectory() as fresh:
        (Path(fresh) / "assets").mkdir()
        for name in ASSETS:
            shutil.copy(fetch(name), Path(fresh) / "assets")
        os.environ["BITFACE_CACHE"] = fresh
        try:
            main()
        finally:
            (kept / "faces").mkdir(parents=True, exist_ok=True)
            for folder in (Path(fresh) / "faces").glob("*"):
                if not (kept / "faces" / folder.name).exists():
                    shutil.move(folder, kept / "faces" / folder.name)


if __name__ == "__main__":
    from_nothing()

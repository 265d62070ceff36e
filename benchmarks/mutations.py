"""What do damaged ONNX files do to the reader: 10,000 of them, read in processes of their own?

    python benchmarks/mutations.py [--files 10000] [--processes 2] [--seed 0] [--keep out/mutations]

Networks of all kinds that people bring ($BITFACE_CASES, else ../shared/cases) and small ones made here are damaged:
bytes, operators, wires, order, attributes, tensors, shapes, types, names, versions. A file must be read or refused in
one line, within 20 seconds and 1 GB (the process itself with torch in it takes a third of that). Others are kept.
A number of a file is its seed: `--only NUMBER` makes one again and says what it does.
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.common import HERE, cores, save
from lib.mutating import Outcome, Reader, mutated

from bitface import backbones
from bitface.errors import BitfaceError
from bitface.files import write_json
from bitface.graph import from_module, load_network, to_onnx
from bitface.quant import BitPlan, quantize

CASES = Path(os.environ.get("BITFACE_CASES", HERE.parent.parent / "shared" / "cases"))
SMALL = ("mobilefacenet:0.125", "iresnet18:0.125", "resnet18:0.125", "mobilenetv2:0.125")
WRONG = ("crash", "hang", "memory")


def networks(folder: Path | None) -> dict[str, bytes]:
    """The files that are damaged, by name: those of a folder, or of all kinds."""
    if folder:
        return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.onnx"))}
    files = {path.parent.name: path.read_bytes() for path in sorted(CASES.glob("*/model.onnx"))}
    torch.manual_seed(0)
    for name in SMALL:
        network = from_module(
            backbones.create(name, embedding_size=16, input_size=32), "rgb-127.5-127.5", size=(32, 32)
        )
        files[name] = to_onnx(network.graph).SerializeToString()
    faces = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    files["w8a8"] = to_onnx(quantize(network, faces, BitPlan.parse("w8a8"))[0].graph).SerializeToString()
    return files


def one(number: int, files: dict[str, bytes], seed: int, folder: Path, read: Reader) -> tuple[str, Path, Outcome]:
    """The network that file `number` is made of, where it lies, and what reading it did."""
    name = list(files)[number % len(files)]
    path = folder / f"{number}.onnx"
    path.write_bytes(mutated(files[name], np.random.default_rng((seed, number))))
    return name, path, read(path)


def worker(numbers: range, files: dict[str, bytes], seed: int, keep: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, open(out, "w", encoding="utf-8") as lines, Reader() as read:
        for number in numbers:
            name, path, outcome = one(number, files, seed, Path(folder), read)
            if outcome.kind in WRONG:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / path.name).write_bytes(path.read_bytes())
                print(f"{number} {name}: {outcome.kind} {outcome.text.strip()[-300:]}", flush=True)
            path.unlink()
            row = {"number": number, "name": name, **vars(outcome), "text": outcome.text.strip()[-400:]}
            lines.write(json.dumps(row) + "\n")
            lines.flush()


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line for each network, and one for all."""
    result = []
    for name in [*dict.fromkeys(sorted(row["name"] for row in rows)), "all"]:
        own = [row for row in rows if name in (row["name"], "all")]
        kinds = Counter(row["kind"] for row in own)
        result.append(
            {
                "network": name,
                "files": len(own),
                **{kind: kinds[kind] for kind in ("read", "refused", *WRONG)},
                "longest seconds": round(max(row["seconds"] for row in own), 2),
                "most MB": round(max(row["bytes"] for row in own) / 1e6),
            }
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=HERE.parent / "out" / "mutations")
    parser.add_argument("--networks", type=Path, help="a folder of NAME.onnx in the place of all others")
    parser.add_argument("--out", type=Path, help="where the result goes in the place of results/mutations.json")
    parser.add_argument("--only", type=int, help="the number of one file")
    options = parser.parse_args()
    torch.set_num_threads(1)  # threads aren't copied with a process
    files = networks(options.networks)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, content in files.items():  # what is imported and computed once is so before processes are copied
            (folder / "a.onnx").write_bytes(content)
            try:
                load_network(folder / "a.onnx")
            except BitfaceError as error:
                print(f"{name}, undamaged: {error}")
        if options.only is not None:
            with Reader() as read:
                name, path, outcome = one(options.only, files, options.seed, folder, read)
            print(name, outcome)
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / path.name).write_bytes(path.read_bytes())
            return
        start = time.monotonic()
        children = []
        for index in range(options.processes):
            child = os.fork()
            if not child:
                numbers = range(index, options.files, options.processes)
                worker(numbers, files, options.seed, options.keep, folder / f"{index}.jsonl")
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        lines = [
            line for index in range(options.processes) for line in (folder / f"{index}.jsonl").open(encoding="utf-8")
        ]
    rows = [json.loads(line) for line in lines]
    wrong = [row for row in rows if row["kind"] in WRONG]
    if options.out:
        write_json(options.out, {"rows": summary(rows), "wrong": wrong})
        return
    save("mutations", summary(rows), seed=options.seed, minutes=round((time.monotonic() - start) / 60, 1), wrong=wrong)


if __name__ == "__main__":
    main()

"""How fast is a network as C beside OpenVINO on this CPU, and how large?

    python benchmarks/native.py [--faces 200] [--rounds 200] [out/model.bitface ...]

Of each artifact (by default the networks of the other benchmarks at w8a8, w6a6, w4a8 and w4a4, and IResNets that nobody
has trained at w8a8, on a tenth of the faces): whether embeddings of faces are equal bit for bit between the kernels of
this CPU (plain C, AVX2, AVX-VNNI, AVX-512 VNNI), compilers and the simulation; of other machines `machines.py` says it.
Then milliseconds for a face on one thread, alternating with OpenVINO's in one run, and bytes.

Goes on where it was stopped: each row is written as soon as it is there, and rows of the same C aren't measured again.
Writes `benchmarks/results/native.json`.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import ARTIFACTS, LFW, artifact, known, networks, save
from lib.native_times import KERNELS, Times, beside, compiled, floats, in_turns, with_avx2_alone

from bitface.data.faces import choose, find_images, load_faces
from bitface.graph import Network
from bitface.runtime import open_model
from bitface.store import written_by
from bitface.targets import Run, Settings
from bitface.targets.c.emit import c_source
from bitface.targets.c.engine import FLAGS, NUMBERS
from bitface.targets.start import start

PLANS = ("w8a8", "w6a6", "w4a8", "w4a4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="*", type=Path)
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=200, help="of times")
    options = parser.parse_args()
    paths = options.artifacts or [artifact(name, bits, ARTIFACTS) for name in networks() for bits in PLANS]
    if not options.artifacts:
        paths += [artifact(f"IResNet-{depth}", "w8a8", ARTIFACTS) for depth in (18, 50)]
    source = written_by("targets/c")[:12]
    rows = [one for one in known("native") if one.get("source") == source]
    for path in paths:
        if not any(one["artifact"] == title(path) for one in rows):
            rows.append({**row(path, options), "source": source})
            save("native", rows, faces=options.faces, rounds=options.rounds)


def title(path: Path) -> str:
    return "/".join(path.parts[-3:-1])


def row(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    network = open_model(path).network
    assert network.preprocess is not None
    faces = options.faces // (10 if path.parent.parent.name.startswith("iresnet") else 1)
    files = choose(find_images([LFW / "images"], LFW / "not_in_pairs.txt"), faces, 0)
    images = network.preprocess(load_faces(files, network.size).images)
    runs = {name: compiled(network, name) for name in KERNELS}
    embeddings = runs["C"](images)
    equal = {name: same_bits(run(images), embeddings) for name, run in runs.items()}
    if shutil.which("clang"):
        equal["clang"] = same_bits(compiled(network, compiler="clang")(images), embeddings)
    simulated = start("torch", network)(images)
    equal["simulation"] = same_bits(simulated, embeddings)
    cosines = (embeddings * simulated).sum(1) / np.linalg.norm(embeddings, axis=1) / np.linalg.norm(simulated, axis=1)
    result = {
        "artifact": title(path), "faces": faces, "same bits": equal,
        "cosine to the simulation": {"mean": float(cosines.mean()), "lowest": float(cosines.min())},
        "ms": speeds(path, network, runs, images[:1], options.rounds),
        "ms with AVX2 alone": with_avx2_alone(path, options.rounds), **sizes(path, network),
    }  # fmt: skip
    print(result, flush=True)
    return result


def same_bits(rows: np.ndarray, others: np.ndarray) -> bool:
    return rows.tobytes() == others.tobytes()


def speeds(path: Path, network: Network, runs: Mapping[str, Run], image: np.ndarray, rounds: int) -> Times:
    """Milliseconds of one face on one thread, in turns; and how many times as fast as OpenVINO in integers."""
    engines = {"OpenVINO int8": start("openvino", network, Settings(threads=1))}
    for word in ("f32", "bf16"):
        if run := floats(path, word):
            engines[f"OpenVINO {word}"] = run
    times = in_turns(engines | {name: run for name, run in runs.items() if name != "C"}, image, rounds)
    times |= in_turns({"C": runs["C"]}, image, 1)
    return beside(times["OpenVINO int8"], times)


def sizes(path: Path, network: Network) -> dict[str, float]:
    """Bytes of the artifact; of code and constants of a written file, with the flags of the engine; of the scratch."""
    numbers = bytearray()
    text = c_source(network, packed=True, numbers=numbers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in (("face_net.h", text.header), ("face_net.c", text.code)):
            (folder / file).write_text(content)
        (folder / NUMBERS).write_bytes(numbers)
        level = next(flag for flag in FLAGS if flag.startswith("-O"))
        sections = sections_of(folder, level)
        least = sections_of(folder, "-Os", "-DFACE_NET_KERNELS=0")["text"]
    return {"artifact bytes": path.stat().st_size, "constants": sections["rodata"], "code": sections["text"],
            "code of plain C, -Os": least, "constants of the artifact": sections["rodata"] / path.stat().st_size,
            "scratch": text.scratch}  # fmt: skip


def sections_of(folder: Path, *flags: str) -> dict[str, int]:
    command = ["cc", "-std=c99", "-fno-pie", *flags, "-c", "face_net.c"]
    subprocess.run(command, cwd=folder, check=True)
    output = subprocess.run(["size", "-A", "face_net.o"], cwd=folder, check=True, capture_output=True, text=True)
    sizes = re.findall(r"^\.(rodata|text)\S*\s+(\d+)", output.stdout, re.MULTILINE)
    return {one: sum(int(size) for name, size in sizes if name == one) for one in ("rodata", "text")}


if __name__ == "__main__":
    main()

"""What is left of a network on each target: of its embeddings, of its accuracy, and how fast and how large it is there.

    python benchmarks/targets.py [--networks NAMES] [--targets NAMES] [--faces 200] [--out out/targets]

The networks in 8 bits, quantized for each target by itself with 300 LFW faces that are in no pair, are run in its
engine: beside its own simulation and the float network on 200 faces of the pairs, on all 6,000 pairs of LFW, and
alternating with its own float32. A target whose engine isn't installed is left out
(`pip install 'bitface[ncnn,litert,executorch]'`); `openvino-float` is the float network that all are held against.
IResNet-18 has random weights, so it knows no faces and has no accuracy. Rows of other networks and targets stay in the
results.
"""

import argparse
import json
from collections.abc import Iterable
from csv import DictReader
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import IRESNET, LFW, known, network_files, save
from PIL import Image

from bitface.data.face_source import FaceSource
from bitface.graph import Network, load_network
from bitface.jobs import EvaluateRequest, QuantizeRequest, evaluate_model, quantize_model
from bitface.quant import BitPlan
from bitface.runtime import Model
from bitface.runtime.model import open_model
from bitface.runtime.relative_latency import relative_latency
from bitface.targets import TARGETS, Settings, runs_here
from bitface.targets.conform import conformed
from bitface.targets.registry import FASTEST, way_to_install
from bitface.targets.start import SIMULATION, start

CALIBRATION = FaceSource([LFW / "images"], LFW / "not_in_pairs.txt", 300)
FLOAT = f"{FASTEST}-float"
ENGINES = ("openvino", "onnxruntime", "ncnn", "litert", "executorch", "rknn")


def test_faces(count: int) -> np.ndarray:
    """The first images of the pairs, none of which anything was calibrated with."""
    with (LFW / "pairs.csv").open(encoding="utf-8") as file:
        names = dict.fromkeys(pair[side] for pair in DictReader(file) for side in "ab")
    return np.stack([np.asarray(Image.open(LFW / "images" / name).convert("RGB")) for name in islice(names, count)])


def quantized(path: Path, preprocess: str | None, target: str, out: Path) -> tuple[Model, int]:
    """The artifact for a target, made where it isn't there yet, and the bytes of what was written for the target."""
    if not (out / "result.json").is_file():
        quantize_model(
            QuantizeRequest(
                path, CALIBRATION, out, BitPlan.parse("w8a8"), preprocess=preprocess, data_kind="real",
                targets=(target,),
            )
        )  # fmt: skip
    sizes = json.loads((out / "result.json").read_text(encoding="utf-8"))["bytes"]
    return open_model(out / "model.bitface"), sum(size for name, size in sizes.items() if f".{target}" in name)


def simulated(network: Network, target: str, inputs: np.ndarray) -> np.ndarray:
    """What a target's simulation gives; of one without, the artifact's own."""
    if simulate := TARGETS[target].simulate:
        network = conformed(network, TARGETS[target].holds)
        network = replace(network, graph=simulate(network.graph))
    return start(SIMULATION, network)(inputs)


def embedded(run: Any, inputs: np.ndarray) -> np.ndarray:
    return np.concatenate([run(image[None]) for image in inputs])


def likeness(rows: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """The mean and the lowest cosine."""
    values = (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)
    return {"mean": float(values.mean()), "minimum": float(values.min())}


def lfw(name: str, path: Path, engine: str, preprocess: str | None = None) -> dict[str, Any]:
    if name == IRESNET:
        return {}
    request = EvaluateRequest(
        path, LFW / "pairs.csv", LFW / "images", engine=engine, preprocess=preprocess, anyway=True
    )  # fmt: skip
    content, result = evaluate_model(request)
    return {"LFW %": f"{result.accuracy.mean:.2%}", "accuracy": result.accuracy.mean, "engine": content["engine"]}


def row_of(name: str, target: str, folder: Path, images: np.ndarray) -> dict[str, Any]:
    path, preprocess = network_files(folder)[name]
    floats = Model(path, "float", load_network(path, preprocess))
    assert floats.network.preprocess is not None
    if target == FLOAT:
        size = path.stat().st_size
        return {"network": name, "target": target, "bytes": size, **lfw(name, path, FASTEST, preprocess)}
    model, size = quantized(path, preprocess, target, folder / path.stem / target)
    inputs = floats.network.preprocess(images)
    rows = embedded(model.start(target, Settings(threads=1)), inputs)
    speed = relative_latency({"float32": floats, "w8a8": model}, "float32", engine=target)["w8a8"]
    return {
        "network": name, "target": target,
        "simulation": likeness(rows, simulated(model.network, target, inputs)),
        "float": likeness(rows, start(SIMULATION, floats.network)(inputs)),
        "faces": len(images), "bytes": size, **lfw(name, model.path, target),
        "ratio": speed.ratio, "ratio interval": speed.ratio_interval, "median ms": speed.median_ms, "note": speed.note,
    }  # fmt: skip


def installed(names: Iterable[str]) -> list[str]:
    """Those that can be measured here; of the others a line."""
    result = []
    for name in names:
        if name == FLOAT or (name in TARGETS and runs_here(name)):
            result.append(name)
        elif name in TARGETS:
            print(f"{name} is left out: it doesn't run here; {way_to_install(TARGETS[name])} installs it", flush=True)
        else:
            print(f"{name} is left out: there is no such target", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", help="default: all four")
    parser.add_argument("--targets", default=",".join((FLOAT, *ENGINES)))
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("out/targets"))
    options = parser.parse_args()
    names = list(network_files(options.out))
    images = test_faces(options.faces)
    for name in options.networks.split(",") if options.networks else names:
        for target in installed(options.targets.split(",")):
            row = row_of(name, target, options.out, images)
            rows = {(one["network"], one["target"]): one for one in [*known("targets"), row]}
            places = {key: (names.index(key[0]), (FLOAT, *ENGINES, key[1]).index(key[1])) for key in rows}
            save("targets", [rows[key] for key in sorted(rows, key=places.__getitem__)])


if __name__ == "__main__":
    main()

"""How far quantization without training reaches: our efforts, and the peers beside them.

    python benchmarks/post_training.py [--networks "MobileFaceNet ReLU6,..."] [--images 1024] [--out out/ptq]

Ranges, roundings and scales come from faces outside the LFW pairs; the LFW pairs are the test, and TAR is over all
pairs of their 7,701 images. Ours run in OpenVINO's integer kernels; see `lib/peers.py` for the others (`pip install
nncf brevitas`). Rows that `results/post_training.json` holds already aren't measured again.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lib import peers
from lib.common import FARS, LFW, cores, evaluated, known, networks, save

from bitface.cli.console import progress
from bitface.data.face_source import FaceSource
from bitface.data.faces import FaceFile, load_faces
from bitface.evaluation import agreement, read_pairs
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.pairs import PairProtocol
from bitface.graph import load_network
from bitface.inputs.faces import gather
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.quant import BitPlan, Calibration
from bitface.quant.reconstruct import EFFORTS
from bitface.results.quantization import agreed
from bitface.runtime import Embedder, open_model
from bitface.runtime.bench import race

OURS = [(bits, effort) for bits in ("w8a8", "w4a8", "w4a4") for effort in ("fast", "balanced", "max")]
THEIRS = [("NNCF", "w8a8"), ("ONNX Runtime", "w8a8"), ("Brevitas (simulated)", "w4a4")]


def ours(name: str, bits: str, effort: str, images: int, out: Path) -> dict[str, Any]:
    """One of our rows, with the seconds of the whole command."""
    path, preprocess = networks()[name]
    began = time.perf_counter()
    folder = out / name.replace(" ", "-") / f"{bits}-{effort}"
    request = QuantizeRequest(
        path, FaceSource([LFW / "images"], LFW / "not_in_pairs.txt", images), folder, BitPlan.parse(bits), preprocess,
        data_kind="real", calibration=Calibration(reconstruction=EFFORTS[effort]), force=True,
    )  # fmt: skip
    with progress() as steps:
        result = quantize_model(request, steps)
    seconds = time.perf_counter() - began
    figures = agreed(result)[1]
    return {
        "network": name,
        "by": f"bitface {effort}",
        "bits": bits,
        "minutes": round(seconds / 60, 1),
        "cores": cores(),
        **evaluated(folder / "model.bitface", None),
        "cosine": figures["mean"],
        "cosine p01": figures["p01"],
        "bytes": result["bytes"]["model.bitface"],
    }


def theirs(name: str, by: str, bits: str, images: int, out: Path) -> dict[str, Any]:
    """A peer's row: the same calibration faces, the same held-out faces, the same test."""
    path, preprocess = networks()[name]
    network = load_network(path, preprocess)
    faces = gather(FaceSource([LFW / "images"], LFW / "not_in_pairs.txt", images), network.size)
    began, speed = time.perf_counter(), None
    if by == "NNCF":
        embed, single = peers.nncf(network, faces.learning)
        speed = _ratio(out / name.replace(" ", "-") / "w8a8-fast" / "model.bitface", single, faces.held_out[:1])
    else:
        embed = (peers.onnxruntime if by == "ONNX Runtime" else peers.brevitas)(network, faces.learning)
    seconds = time.perf_counter() - began
    expected = Embedder(open_model(path, preprocess), "openvino").embed(faces.held_out)
    agreed = agreement(expected, embed(faces.held_out))
    pairs = read_pairs(LFW / "pairs.csv", LFW / "images")
    tested = load_faces([FaceFile(LFW / "images", one) for one in pairs.paths], network.size).images
    result = PairProtocol("LFW", pairs, all_pairs=True).score(Embeddings(embed(tested)), fars=FARS)
    row: dict[str, Any] = {
        "network": name,
        "by": by,
        "bits": bits,
        "minutes": round(seconds / 60, 1),
        "cores": cores(),
        "LFW %": f"{result.accuracy.mean:.2%} ± {result.accuracy.std:.2%}",
    }
    for point in result.tar:
        assert point.tar is not None
        assert point.interval is not None
        row[f"TAR@{point.far:g} %"] = f"{point.tar:.2%} [{point.interval.low:.1%}, {point.interval.high:.1%}]"
    row["accuracy"], row["tar"] = result.accuracy.mean, {f"{point.far:g}": point.tar for point in result.tar}
    return {**row, "cosine": agreed.mean, "cosine p01": agreed.p01, "times as fast as it": speed}


def _ratio(artifact: Path, other: Callable[[np.ndarray], np.ndarray], face: np.ndarray) -> float | None:
    """How many times as fast as a peer's integer network ours is: one image, one thread, alternating."""
    if not artifact.is_file():
        return None
    embedder = Embedder(open_model(artifact, None), "openvino", threads=1)
    x = embedder.preprocess(face)
    times = race({"ours": lambda: embedder._run(x), "other": lambda: other(x)})
    return float(np.median(times["other"]) / np.median(times["ours"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(networks()))
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--out", type=Path, default=Path("out/ptq"))
    options = parser.parse_args()
    for name in options.networks.split(","):
        for by, bits in [*((f"bitface {effort}", bits) for bits, effort in OURS), *THEIRS]:
            rows = known("post_training")
            key = (name, by, bits)
            if options.only not in " ".join(key) or key in {(r["network"], r["by"], r["bits"]) for r in rows}:
                continue
            if by.startswith("bitface"):
                row = ours(name, bits, by.split()[1], options.images, options.out)
            else:
                row = theirs(name, by, bits, options.images, options.out)
            test = "LFW View 2; TAR over all pairs of its 7,701 images"
            rows = known("post_training")
            save(
                "post_training",
                [*rows, row],
                images=options.images,
                test=test,
                command="python benchmarks/post_training.py",
            )


if __name__ == "__main__":
    main()

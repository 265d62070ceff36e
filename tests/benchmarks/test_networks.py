"""The reading of exporters' files in `benchmarks/lib/onnx_files.py`, and its table."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from onnxruntime.quantization import QuantType, quantize_dynamic

ROOT = Path(__file__).parents[2]


def written(path: Path, slope: np.ndarray) -> Path:
    """A PReLU and a mean of 6 channels, as opset 13."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 9, 9])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 6])
    weight = np.random.default_rng(0).standard_normal((6, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["x"]),
        helper.make_node("PRelu", ["x", "slope"], ["y"]),
        helper.make_node("GlobalAveragePool", ["y"], ["z"]),
        helper.make_node("Flatten", ["z"], ["embedding"]),
    ]
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(slope, "slope")]
    graph = helper.make_graph(nodes, "small", [image], [embedding], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_slopes_of_mxnet_mean_one_for_each_channel(tmp_path: Path) -> None:
    from lib.onnx_files import right

    slope = np.linspace(0, 0.5, 6, dtype=np.float32)
    mxnet, torch = written(tmp_path / "mxnet.onnx", slope), written(tmp_path / "torch.onnx", slope[:, None, None])
    assert np.array_equal(right(mxnet)[1]["embedding"], right(torch)[1]["embedding"])


def test_a_file_that_rounds_says_how_far_it_is_from_itself(tmp_path: Path) -> None:
    from lib.onnx_files import right

    path = written(tmp_path / "small.onnx", np.full((6, 1, 1), 0.25, np.float32))
    assert right(path)[2] == 0
    quantize_dynamic(path, tmp_path / "rounded.onnx", op_types_to_quantize=["Conv"], weight_type=QuantType.QUInt8)
    assert 0 < right(tmp_path / "rounded.onnx")[2] < 0.05


def test_a_row_is_equal_refused_different_or_no_onnx() -> None:
    from lib.network_tables import network_forms

    results: list[dict[str, Any]] = [
        {"equal": True},
        {"reason": "no"},
        {"equal": False, "difference": 1.0},
        {"invalid": ""},
    ]
    content = {"rows": [{"exporter": "torch legacy", **result} for result in results]}
    assert network_forms(content)[-1] == "| torch legacy | 4 | 1 | 1 | 1 | 1 |"

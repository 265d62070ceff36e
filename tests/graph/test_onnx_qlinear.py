"""Quantized files of the operator form, of integer layers and of other widths, beside ONNX Runtime.

Scales are powers of two, so that no rounding to the next integer hangs on the order of a sum. Weights are small, as
ONNX Runtime's kernels for uint8 and int8 saturate pairs of products on CPUs without VNNI.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from bitface.graph import load_network
from bitface.graph.integer import QuantizeDequantize
from support.onnx_models import IMAGE, Model, relative_difference

Save = Callable[[onnx.ModelProto], Path]
MICROSOFT = "com.microsoft"
IMAGES = np.random.default_rng(1).integers(-100, 100, (2, *IMAGE)).astype(np.float32) / 64
MAPS = (4, 6, 4)


def numbers(m: Model, scale: float, zero_point: int, dtype: type = np.uint8) -> list[str]:
    return [m.constant(scale, np.float32), m.constant(zero_point, dtype)]


def finished(m: Model, output: str) -> onnx.ModelProto:
    model = m.finish(output)
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return model


def imported_right(model: onnx.ModelProto, save: Save, tolerance: float = 1e-6) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": IMAGES})[0]
    network = load_network(save(model))
    with torch.no_grad():
        found = network.graph(torch.from_numpy(IMAGES)).numpy()
    assert np.ptp(expected) > 0
    assert relative_difference(found, expected.reshape(len(found), -1)) <= tolerance
    return network


class Chain:
    """A model whose nodes hand integers on, with their scale and zero point."""

    def __init__(self) -> None:
        self.m = Model(17)
        self.scales = numbers(self.m, 1 / 32, 128)
        self.x = self.m.add("QuantizeLinear", "image", *self.scales)

    def operands(self) -> list[str]:
        return [self.x, *self.scales]

    def next(
        self, kind: str, *inputs: str, scale: float, zero_point: int, domain: str = MICROSOFT, **more: Any
    ) -> None:
        scales = numbers(self.m, scale, zero_point)
        self.x, self.scales = self.m.add(kind, *inputs, *scales, domain=domain, **more), scales

    def weights(self, *shape: int, per_channel: int | None = None) -> list[str]:
        integers = self.m.constant(self.m.random.integers(-16, 17, shape), np.int8)
        if per_channel is None:
            return [integers, *numbers(self.m, 1 / 64, 0, np.int8)]
        scales = 2.0 ** -self.m.random.integers(5, 8, per_channel)
        return [integers, self.m.constant(scales, np.float32), self.m.constant(np.zeros(per_channel), np.int8)]

    def conv(self, per_channel: bool = False) -> "Chain":
        weights = self.weights(4, 3, 3, 3, per_channel=4 if per_channel else None)
        scales = numbers(self.m, 1 / 16, 120)
        bias = self.m.constant(self.m.random.integers(-900, 900, 4), np.int32)
        self.x = self.m.add("QLinearConv", *self.operands(), *weights, *scales, bias)
        self.scales = scales
        return self

    def finish(self) -> onnx.ModelProto:
        return finished(self.m, self.m.add("Flatten", self.m.add("DequantizeLinear", *self.operands())))


def add(chain: Chain) -> None:
    before = chain.operands()
    chain.next("QLinearLeakyRelu", *before, scale=1 / 16, zero_point=30, alpha=0.25)
    chain.next("QLinearAdd", *before, *chain.operands(), scale=1 / 8, zero_point=100)


def multiply(chain: Chain) -> None:
    gate = chain.operands()
    chain.next("QLinearSigmoid", *chain.operands(), scale=1 / 256, zero_point=0)
    chain.next("QLinearMul", *gate, *chain.operands(), scale=1 / 16, zero_point=110)


def concat(chain: Chain) -> None:
    before, scales = chain.operands(), numbers(chain.m, 1 / 8, 90)
    chain.next("QLinearLeakyRelu", *before, scale=1 / 16, zero_point=30, alpha=0.25)
    chain.x = chain.m.add("QLinearConcat", *scales, *before, *chain.operands(), domain=MICROSOFT, axis=1)
    chain.scales = scales


def pool(chain: Chain) -> None:
    chain.next("QLinearGlobalAveragePool", *chain.operands(), scale=1 / 64, zero_point=128)


def pool_windows(chain: Chain) -> None:
    chain.next("QLinearAveragePool", *chain.operands(), scale=1 / 32, zero_point=128, kernel_shape=[2, 2])


def gemm(chain: Chain, turned: bool) -> None:
    chain.x = chain.m.add("Flatten", chain.x)
    weights = chain.weights(*((8, 96) if turned else (96, 8)), per_channel=8)
    bias = chain.m.constant(chain.m.random.integers(-900, 900, 8), np.int32)
    before = chain.operands()
    chain.next("QGemm", *before, *weights, bias, scale=1 / 4, zero_point=128, transB=int(turned), alpha=0.5)


def product(chain: Chain) -> None:
    chain.x = chain.m.add("Flatten", chain.x)
    chain.next("QLinearMatMul", *chain.operands(), *chain.weights(96, 8), scale=1 / 4, zero_point=128, domain="")


def line(chain: Chain) -> None:
    """A convolution along one axis."""
    chain.x = chain.m.add("Reshape", chain.x, chain.m.ints(0, 4, 24))
    before = chain.operands()
    weights = chain.weights(4, 1, 3)
    chain.next("QLinearConv", *before, *weights, scale=1 / 16, zero_point=120, domain="", group=4, pads=[1, 1])


def channels_in_front(chain: Chain) -> None:
    """The batch elsewhere than in front, from one operator to the next. ONNX Runtime rounds ties to the even integer
    with the zero point, the graph without it: zero points are even."""
    chain.x = chain.m.add("Transpose", chain.x, perm=[1, 0, 2, 3])
    chain.next("QLinearLeakyRelu", *chain.operands(), scale=1 / 16, zero_point=30, alpha=0.25)
    picked = chain.m.add("Gather", chain.x, chain.m.ints(3, 0, 2, 1), axis=0)
    chain.next("QLinearMul", *chain.operands(), picked, *chain.scales, scale=1 / 8, zero_point=10)
    chain.next("QLinearMatMul", *chain.operands(), *chain.weights(4, 5), scale=1 / 8, zero_point=128, domain="")
    chain.x = chain.m.add("Transpose", chain.x, perm=[1, 0, 2, 3])


def choose(chain: Chain) -> None:
    before, condition = chain.operands(), chain.m.constant(chain.m.random.integers(0, 2, (4, 6, 1)) == 0)
    chain.next("QLinearSigmoid", *before, scale=1 / 256, zero_point=0)
    chain.next("QLinearWhere", condition, *before, *chain.operands(), scale=1 / 16, zero_point=120)


def pad(chain: Chain) -> None:
    chain.x = chain.m.add("Pad", chain.x, chain.m.ints(0, 0, 1, 2, 0, 1, 0, 0), chain.m.constant(120, np.uint8))
    chain.x = chain.m.add("Pad", chain.x, chain.m.ints(0, 0, 0, 0, 0, 0, 0, 3))


STEPS: dict[str, Callable[[Chain], None]] = {
    "nothing": lambda chain: None,
    "Add": add,
    "Mul": multiply,
    "Concat": concat,
    "GlobalAveragePool": pool,
    "AveragePool": pool_windows,
    "Gemm": lambda chain: gemm(chain, False),
    "Gemm of a transpose": lambda chain: gemm(chain, True),
    "MatMul": product,
    "Conv along a line": line,
    "channels in front": channels_in_front,
    "Where": choose,
    "Pad": pad,
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_operator_form(step: Callable[[Chain], None], per_channel: bool, save: Save) -> None:
    chain = Chain().conv(per_channel)
    step(chain)
    # Where ONNX Runtime multiplies by a reciprocal, a tie may fall to the next level.
    network = imported_right(chain.finish(), save)
    assert "was quantized before (weights and activations" in network.warnings[0]


@pytest.mark.parametrize("opset", [12, 13])
def test_weights_of_attention_in_integers(opset: int, save: Save) -> None:
    """Before opset 13 along all axes from one on."""
    chain = Chain().conv()
    chain.next("QLinearSoftmax", *chain.operands(), scale=1 / 256, zero_point=0, axis=2, opset=opset)
    # ONNX Runtime has its exponentials from a table of integers: they may fall to the next level.
    network = imported_right(chain.finish(), save, 1 / 128)
    assert any(isinstance(module, torch.nn.Softmax) for module in network.graph.modules())


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_products_of_integers_in_floats(per_channel: bool, bias: bool, save: Save) -> None:
    """As ONNX Runtime's optimizer joins MatMulInteger and what scales its sums."""
    chain = Chain()
    x, scale, zero_point = chain.m.add("Flatten", chain.x), *chain.scales
    weight, scales, zeros = chain.weights(144, 8, per_channel=8 if per_channel else None)
    biases = [chain.m.floats(8)] if bias else []
    x = chain.m.add("MatMulIntegerToFloat", x, weight, scale, scales, zero_point, zeros, *biases, domain=MICROSOFT)
    weight, scales, zeros = chain.weights(8, 6)
    x = chain.m.add("DynamicQuantizeMatMul", x, weight, scales, zeros, domain=MICROSOFT)
    imported_right(finished(chain.m, x), save, 0.02)


def test_integer_layers_of_pixels(save: Save) -> None:
    """ConvInteger and MatMulInteger, whose sums are cast and scaled in floats."""
    m = Model(17)
    scale, zero_point = numbers(m, 1 / 32, 128)
    x = m.add("QuantizeLinear", "image", scale, zero_point)
    weight, zero = m.constant(m.random.integers(100, 140, (4, 3, 3, 3)), np.uint8), m.constant(119, np.uint8)
    x = m.add("Cast", m.add("ConvInteger", x, weight, zero_point, zero), to=TensorProto.FLOAT)
    x = m.add("Relu", m.add("Add", m.add("Mul", x, m.constant(2**-11, np.float32)), m.constant(0.25, np.float32)))
    x = m.add("QuantizeLinear", m.add("Flatten", x), scale, zero_point)
    weight = m.constant(m.random.integers(-16, 17, (96, 8)), np.int8)
    x = m.add("MatMulInteger", x, weight, zero_point, m.constant(np.zeros(8), np.int8))
    imported_right(finished(m, m.add("Cast", x, to=TensorProto.FLOAT)), save)


def test_scales_found_in_each_batch(save: Save) -> None:
    """What ONNX Runtime's dynamic quantization writes; its rounding of activations is left out."""
    m = Model(17)
    x, scale, zero_point = m.add("DynamicQuantizeLinear", m.add("Flatten", "image"), outputs=3)
    weight = m.constant(m.random.integers(-16, 17, (144, 8)), np.int8)
    sums = m.add("MatMulInteger", x, weight, zero_point, m.constant(0, np.int8))
    factor = m.add("Mul", scale, m.constant(1 / 64, np.float32))
    x = m.add("Mul", m.add("Cast", sums, to=TensorProto.FLOAT), factor)
    network = imported_right(finished(m, x), save, 0.02)
    assert not any(isinstance(module, QuantizeDequantize) for module in network.graph.modules())
    assert "was quantized before" in network.warnings[0]
    assert "its activations aren't rounded here" in network.warnings[0]


@pytest.mark.parametrize("domain", ["", MICROSOFT])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_pairs_of_16_bits(domain: str, dtype: type, save: Save) -> None:
    m = Model(21)
    scale, zero_point = m.constant(2**-13, np.float32), m.constant(40000 if dtype is np.uint16 else -300, dtype)
    x = m.add("QuantizeLinear", "image", scale, zero_point, domain=domain)
    x = m.add("Conv", m.add("DequantizeLinear", x, scale, zero_point, domain=domain), m.floats(4, 3, 3, 3))
    weight = m.constant(m.random.integers(-900, 900, (8, 96)), np.int16)
    zeros = m.constant(np.zeros(8), np.int16)
    scales = m.constant(2.0 ** -m.random.integers(9, 12, 8), np.float32)
    weight = m.add("DequantizeLinear", weight, scales, zeros, axis=0, domain=domain)
    imported_right(finished(m, m.add("Gemm", m.add("Flatten", x), weight, transB=1)), save, 1e-5)


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
@pytest.mark.parametrize("block", [0, 32])
def test_weights_of_4_bits(kind: int, block: int, save: Save) -> None:
    m = Model(21)
    x = m.add("Flatten", m.add("Conv", "image", m.floats(4, 3, 3, 3)))
    low = 0 if kind == TensorProto.UINT4 else -8
    weight = helper.make_tensor("weight", kind, [8, 96], m.random.integers(low, low + 16, 8 * 96).tolist())
    shape = [8, 3] if block else [8]
    zeros = helper.make_tensor("zeros", kind, shape, m.random.integers(low, low + 16, np.prod(shape)).tolist())
    m.initializers += [weight, zeros]
    scales = m.constant(2.0 ** -m.random.integers(2, 5, shape), np.float32)
    attributes = {"axis": 1, "block_size": block} if block else {"axis": 0}
    weights = m.add("DequantizeLinear", "weight", scales, "zeros", **attributes)
    network = imported_right(finished(m, m.add("Gemm", x, weights, transB=1)), save, 1e-5)
    assert "its weights are stored in integers" in " ".join(network.notes)

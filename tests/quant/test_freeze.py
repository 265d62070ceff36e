"""The integers that are shipped are those of the student."""

import pytest
import torch
from torch import nn

from bitface.graph import from_module, ops, passes
from bitface.graph.integer import IntegerConv2d, IntegerLinear, QuantizeDequantize
from bitface.quant import BitPlan, LayerBits, calibrate
from bitface.quant.freeze import freeze, integer_layer
from bitface.quant.quantizers import UniformQuantizer
from bitface.quant.student import QuantizedLinear, Student, build
from support.quantized import Mixed, PreActivation, settle

IMAGES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(5)).clamp(-1, 1)
PLANS = {
    "w8a8": BitPlan.parse("w8a8"),
    "w4a4": BitPlan.parse("w4a4"),
    "w2a3": BitPlan(LayerBits(2, 3), None, None),
    "w4a32": BitPlan.parse("w4a32"),
    "asymmetric": BitPlan(weights_symmetric=False, activations="asymmetric"),
    "per tensor": BitPlan(LayerBits(4, 8), weights_per_channel=False),
    "asymmetric per tensor": BitPlan(LayerBits(4, 8), weights_symmetric=False, weights_per_channel=False),
    "float layer": BitPlan(layers=(("point", LayerBits(32, 8)), ("wide.0", LayerBits(4, 32)))),
}


def calibrated(plan: BitPlan, module: nn.Module | None = None) -> tuple[Student, dict[str, UniformQuantizer]]:
    size = 8 if isinstance(module, PreActivation) else 16
    graph = from_module(settle(module or Mixed(), size), size=(size, size)).graph
    student = build(passes.fold(graph), plan)
    calibrate.activation_ranges(student, lambda: iter([IMAGES[..., :size, :size]]), 6)
    calibrate.weight_scales(student)
    outputs = calibrate.output_ranges(student, lambda: iter([IMAGES[..., :size, :size]]), 6)
    return student, outputs


@pytest.mark.parametrize("name", PLANS)
def test_integers_scales_and_zero_points(name: str) -> None:
    student, outputs = calibrated(PLANS[name])
    graph = freeze(student, outputs)
    bits = {layer.name: layer.bits for layer in student.layers}
    for layer, quantized in student.quantized_layers().items():
        integer, quantizer = graph.get_submodule(layer), quantized.weight_quantizer
        assert isinstance(integer, IntegerConv2d | IntegerLinear)
        assert integer.bits == bits[layer].weight
        assert torch.equal(integer.weight.float(), quantizer.integers(quantized.weight.detach()))
        assert torch.equal(integer.scale, quantizer.scale)
        assert torch.equal(integer.float_weight(), quantized.quantized_weight().detach())
        bias, found = quantized.bias, integer.float_bias()
        assert (integer.input_scale == 0) == (bits[layer].activation == 32)
        if bias is None:
            assert found is None
        elif integer.input_scale == 0:
            assert torch.equal(found, bias.detach())
        else:
            assert ((found - bias.detach()).abs() <= integer.scale * integer.input_scale * 0.501).all()
        if layer in outputs:
            assert (integer.output_scale, integer.output_zero_point) == (
                outputs[layer].scale.item(),
                outputs[layer].zero_point.item(),
            )
    for key, activation in student.activation_quantizers.items():
        frozen = graph.get_submodule(key)
        assert isinstance(frozen, QuantizeDequantize)
        expected = (activation.scale.item(), activation.zero_point.item(), activation.bits, activation.signed)
        assert (frozen.scale, frozen.zero_point, frozen.bits, frozen.signed) == expected
    assert all(ops.op_name(module) for module in graph.modules() if not list(module.children()) and module is not graph)


@pytest.mark.parametrize("module", [Mixed, PreActivation])
@pytest.mark.parametrize("name", PLANS)
def test_the_integer_graph_computes_what_the_student_does(name: str, module: type[nn.Module]) -> None:
    if name == "float layer" and module is not Mixed:
        pytest.skip("names layers of the other network")
    student, outputs = calibrated(PLANS[name], module())
    graph = freeze(student, outputs)
    with torch.no_grad():
        for layer, quantized in student.quantized_layers().items():
            if quantized.bias is not None:  # the one thing that freezing rounds
                quantized.bias.copy_(graph.get_submodule(layer).float_bias())
        images = IMAGES[..., :8, :8] if module is PreActivation else IMAGES
        torch.testing.assert_close(graph(images), student.graph(images), rtol=1e-5, atol=1e-5)


def linear(weight: list[list[float]], bias: list[float], per_channel: bool = True, bits: int = 8) -> QuantizedLinear:
    layer = QuantizedLinear(len(weight[0]), len(weight))
    layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    layer.weight_quantizer = UniformQuantizer(bits, True, True, len(weight) if per_channel else 1, narrow=bits == 8)
    rows = layer.weight.detach().reshape(layer.weight_quantizer.channels, -1)
    layer.weight_quantizer.set_range(rows.amin(1), rows.amax(1))
    return layer


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_large_bias_behind_tiny_weights_fits_into_int32(per_channel: bool) -> None:
    bias = [100.0, -3.0, 0.0]
    frozen = integer_layer(linear([[1e-9, -2e-9], [1e-20, 0.0], [1e-9, 1e-9]], bias, per_channel), 0.01)
    assert frozen.bias is not None
    assert frozen.bias.abs().max() <= 1 << 30
    torch.testing.assert_close(frozen.float_bias(), torch.tensor(bias), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_channel_without_weights_keeps_its_bias(per_channel: bool) -> None:
    weight = [[0.0, 0.0], [0.0, 0.0]] + ([[1.0, -1.0]] if per_channel else [])
    bias = [0.3, 0.0, 0.2][: len(weight)]
    frozen = integer_layer(linear(weight, bias, per_channel), 0.5)
    torch.testing.assert_close(frozen.float_bias(), torch.tensor(bias), rtol=0.01, atol=1e-6)
    assert (frozen.scale > 0).all()


@pytest.mark.parametrize("bits", range(2, 9))
def test_eight_bits_never_reach_their_lowest_integer(bits: int) -> None:
    frozen = integer_layer(linear([[-1.0, 0.5], [-1.0, 1.0], [0.25, 1.0]], [0.0] * 3, bits=bits), 0.1)
    assert frozen.weight.min() == (-127 if bits == 8 else -(2 ** (bits - 1)))


def test_the_student_is_left_as_it_was() -> None:
    student, outputs = calibrated(BitPlan.parse("w4a4"))
    with torch.no_grad():
        before = student.graph(IMAGES)
        freeze(student, outputs)
        assert torch.equal(student.graph(IMAGES), before)

"""Rounding what a student leaves in float: the numbers stay where they can, and ranges are the layers'."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.graph import Network, ops
from bitface.graph.integer import INTEGER_LAYERS, IntegerConv2d, QuantizeDequantize
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets.every_tensor import every_tensor_rounded
from support.quantized import Mixed, PreActivation, faces, network


class Limited(nn.Module):
    """A view, a pooling, a limit that the quantizer behind it sets, too, and one that it doesn't."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 1), nn.Linear(8 * 16, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.stem(x)), 2)
        return self.fc(torch.flatten(self.wide(x).clamp(-0.1, 0.1), 1))


def student(module: nn.Module, size: int, bits: str = "w8a8") -> Network:
    calibration = Calibration("minmax", bias_correction=False)
    return quantize(network(module, size), faces(16, size), BitPlan.parse(bits), calibration)[0]


def values(graph: GraphModule, size: int) -> Tensor:
    images = torch.from_numpy(faces(4, size, seed=1).transpose(0, 3, 1, 2).astype(np.float32)) / 127.5 - 1
    with torch.inference_mode():
        return graph(images)


def kind(graph: GraphModule, node: torch.fx.Node) -> nn.Module | None:
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def test_what_is_moved_or_limited_is_rounded_before_to_the_same_numbers() -> None:
    graph = student(Limited(), 16).graph
    for module in graph.modules():
        if isinstance(module, INTEGER_LAYERS):
            module.output_scale = 0.0  # the embedding would be rounded
    every = every_tensor_rounded(graph)
    torch.testing.assert_close(values(every, 16), values(graph, 16), rtol=0, atol=0)
    for node in every.graph.nodes:
        if isinstance(kind(every, node), nn.MaxPool2d | ops.Reshape | ops.Clip):
            assert isinstance(kind(every, node.all_input_nodes[0]), QuantizeDequantize)
    modules = list(every.modules())
    assert not any(isinstance(module, nn.ReLU) for module in modules)  # its quantizer is unsigned
    assert any(isinstance(module, nn.ReLU) for module in graph.modules())  # a copy was changed


@pytest.mark.parametrize("bits", ["w8a8", "w8a16"])
def test_a_layer_before_a_prelu_is_rounded_by_its_own_range(bits: str) -> None:
    graph = student(Mixed(), 16, bits).graph
    every = every_tensor_rounded(graph)
    seen = 0
    for node in every.graph.nodes:
        if isinstance(kind(every, node), nn.PReLU):
            source = node.all_input_nodes[0]
            before = kind(every, source)
            assert isinstance(before, QuantizeDequantize)
            while isinstance(kind(every, source), QuantizeDequantize):
                source = source.all_input_nodes[0]
            layer = kind(every, source)
            assert isinstance(layer, INTEGER_LAYERS)
            assert before.scale * ((1 << before.bits) - 1) == pytest.approx(255 * layer.output_scale)
            seen += 1
    assert seen == 2
    expected = values(graph, 16)
    assert nn.functional.cosine_similarity(values(every, 16), expected).min() > 0.999


def test_every_operator_has_one_width() -> None:
    graph = every_tensor_rounded(student(Mixed(), 16, "w8a16").graph)
    widths = set()
    for node in graph.graph.nodes:
        module = kind(graph, node)
        if module is not None and not isinstance(module, QuantizeDequantize):
            sides = [kind(graph, side) for side in (*node.all_input_nodes, *node.users)]
            bits = {side.bits for side in sides if isinstance(side, QuantizeDequantize)}
            assert len(bits) <= 1, node
            widths |= bits
    assert 16 in widths


def test_an_affine_between_integers_is_a_layer() -> None:
    graph = student(PreActivation(), 8).graph
    assert any(isinstance(module, ops.ChannelAffine) for module in graph.modules())
    every = every_tensor_rounded(graph)
    assert not any(isinstance(module, ops.ChannelAffine) for module in every.modules())
    layers = [module for module in every.modules() if isinstance(module, IntegerConv2d)]
    assert any(layer.kernel_size == (1, 1) and layer.groups == layer.in_channels for layer in layers)
    assert nn.functional.cosine_similarity(values(every, 8), values(graph, 8)).min() > 0.999


def test_slopes_are_rounded_once() -> None:
    graph = student(Mixed(), 16).graph
    once = every_tensor_rounded(graph, slopes=True)
    twice = every_tensor_rounded(once, slopes=True)
    slopes = [
        torch.cat([module.weight.detach() for module in each.modules() if isinstance(module, nn.PReLU)])
        for each in (graph, once, twice)
    ]
    assert 0 < (slopes[1] - slopes[0]).abs().max() < 1.5 / 255
    torch.testing.assert_close(slopes[2], slopes[1])


def test_a_float_network_stays_as_it_is() -> None:
    graph = network(Mixed(), 16).graph
    torch.testing.assert_close(values(every_tensor_rounded(graph), 16), values(graph, 16), rtol=0, atol=0)

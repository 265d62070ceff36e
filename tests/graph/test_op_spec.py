"""What every operator of the registry says of itself is so."""

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from bitface.errors import BitfaceError
from bitface.graph import from_onnx, ops, to_onnx
from bitface.graph.op_spec import OPERATORS, OnnxReader, OpSpec, onnx_reader, spec_of
from support.operator_modules import EXAMPLES, SHAPE, chain, graph_of

SPECS = [pytest.param(spec, id=spec.name) for spec in OPERATORS.values() if spec.module]


def graphs(spec: OpSpec, image: tuple[int, ...] = SHAPE) -> Iterator[tuple[nn.Module, GraphModule]]:
    """An operator's examples, each at the end of a graph; one of a colour image begins with a convolution."""
    torch.manual_seed(0)
    for example in EXAMPLES[spec.name]:
        before = [] if image == SHAPE else [nn.Conv2d(image[0], SHAPE[0], 1)]
        graph = graph_of(*before, *chain(example), image=image)
        yield graph.get_submodule(str(graph.graph.output_node().all_input_nodes[0].target)), graph


def run(graph: GraphModule, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return graph(images)


@pytest.mark.parametrize("spec", SPECS)
def test_an_operator_survives_onnx(spec: OpSpec, save: Callable[[onnx.ModelProto], Path]) -> None:
    image = (3, *SHAPE[1:])
    images = torch.randn(2, *image)
    for _, graph in graphs(spec, image):
        again, _ = from_onnx(save(to_onnx(graph)))
        torch.testing.assert_close(run(again, images), run(graph, images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_traits_hold(spec: OpSpec) -> None:
    images = torch.randn(4, *SHAPE) * 3
    for module, graph in graphs(spec):
        traits = ops.traits_of(module)
        value, of_positive = run(graph, images), run(graph, images.abs())
        if traits.never_negative:
            assert value.min() >= 0
        if traits.keeps_sign:
            assert of_positive.min() >= 0
        if traits.keeps_levels or traits.moves:
            assert set(value.unique().tolist()) <= {0.0, *images.unique().tolist()}
        if traits.border is not None:
            assert set(value.unique().tolist()) <= {traits.border, *images.unique().tolist()}
        if traits.rectifier:
            slope, largest = traits.rectifier(module)
            line = images.clamp(min=0) + slope.view(-1, 1, 1) * images.clamp(max=0)
            torch.testing.assert_close(value, line.clamp(max=largest))
        if traits.activation:
            assert value.shape == images.shape
        assert traits.activation or not traits.limiter


@pytest.mark.parametrize("spec", SPECS)
def test_the_largest_tensor_is_the_one_said(spec: OpSpec) -> None:
    for module, _ in graphs(spec):
        tensors = module.state_dict()
        if spec.largest_tensor is None:
            assert not tensors
        else:
            name, shape = spec.largest_tensor(ops.attributes(module))
            assert list(tensors[name].shape) == shape
            assert tensors[name].numel() == max(tensor.numel() for tensor in tensors.values())


def test_a_subclass_has_the_traits_but_is_no_operator() -> None:
    class Mine(nn.ReLU):
        pass

    assert ops.traits_of(Mine()).never_negative
    assert spec_of(Mine()) is None


def test_two_operators_cannot_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    other = OpSpec("Other", onnx={"Relu": OnnxReader(lambda context, x: x)})
    monkeypatch.setitem(OPERATORS._things, "Other", other)
    with pytest.raises(BitfaceError, match="the operators 'Relu' and 'Other' both claim 'Relu'"):
        onnx_reader("Unheard")


def test_a_name_is_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS._things, "Other", OpSpec("Another"))
    with pytest.raises(BitfaceError, match="the operator 'Other' calls itself 'Another'"):
        onnx_reader("Unheard")

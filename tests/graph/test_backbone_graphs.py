"""Every backbone, through everything that a graph can go through, computes what its module computes."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface import backbones
from bitface.graph import Network, from_module, load_network, ops, passes, store, to_onnx
from support.onnx_models import relative_difference, run_onnx

# Neither square nor large: an exchange of height and width shows, and the time goes into other tests.
SIZE = (48, 32)
# Like iresnet18 and iresnet50, vit_t and edgeface_xs, but for depth and width.
SLOW = ("iresnet34", "iresnet100", "vit_s", "vit_b", "edgeface_s")


@dataclass(frozen=True)
class Case:
    network: Network
    folded: GraphModule
    images: Tensor
    expected: Tensor


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in backbones.names()],
)
def case(request: pytest.FixtureRequest, scramble: Callable[[nn.Module], nn.Module]) -> Case:
    torch.manual_seed(2)
    module = scramble(backbones.create(request.param, input_size=SIZE))
    images = torch.randn(2, 3, *SIZE)
    # Statistics of its own activations, without which a hundred random layers overflow.
    for norm in module.modules():
        if isinstance(norm, ops.NORMS):
            norm.momentum = None
            norm.reset_running_stats()
    with torch.no_grad():
        module.train()(torch.randn(8, 3, *SIZE))
        module.eval()
        network = from_module(module, size=SIZE)
        return Case(network, passes.fold(network.graph), images, module(images))


def run(graph: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return graph(images)


def test_import(case: Case) -> None:
    """After folding, which must leave the graph as it was."""
    assert case.network.size == SIZE
    assert case.network.embedding_size == case.expected.shape[1]
    assert relative_difference(run(case.network.graph, case.images), case.expected) <= 1e-5


def test_export(case: Case, save: Callable[[onnx.ModelProto], Path]) -> None:
    model = to_onnx(case.network.graph)
    assert relative_difference(run_onnx(model, case.images.numpy()), case.expected) <= 1e-4
    again = load_network(save(model))
    assert relative_difference(run(again.graph, case.images), case.expected) <= 1e-5


def test_fold(case: Case) -> None:
    assert not any(isinstance(module, ops.NORMS) for module in case.folded.modules())
    # In double precision, where only what folding itself has rounded counts.
    exact, folded = (copy.deepcopy(graph).double() for graph in (case.network.graph, case.folded))
    images = case.images.double()
    assert relative_difference(run(folded, images), run(exact, images)) <= 1e-5


def test_store(case: Case) -> None:
    for graph in (case.network.graph, case.folded):
        again = store.load(*store.dump(graph))
        assert str(again.graph) == str(graph.graph)
        assert torch.equal(run(again, case.images), run(graph, case.images))

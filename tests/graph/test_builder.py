"""Networks made node by node: names that are taken, nodes that lead nowhere."""

import gc

import pytest
import torch
from torch import nn
from torch.fx import Graph, GraphModule

from bitface.graph import store
from bitface.graph.builder import Builder, uncollected

IMAGE = torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2)
# What a network of torch.fx calls its own: its attributes, those of its class, Python's words.
TAKEN = [*vars(GraphModule(nn.Module(), Graph())), "code", "forward", "__class__", "class", "image"]


@pytest.mark.parametrize("place", ["{}", "{}.relu", "part.{}", "part/{}/relu"])
def test_names_that_a_network_has_itself(place: str) -> None:
    builder = Builder((3, 2, 2))
    node = builder.input
    for name in TAKEN:
        node = builder.add(place.format(name), nn.ReLU(), node)
    graph = builder.finish(node)
    assert torch.equal(graph(IMAGE), IMAGE.relu())
    again = store.load(*store.dump(graph))
    assert [node.target for node in again.graph.nodes] == [node.target for node in graph.graph.nodes]


def test_equal_names_and_folders_get_numbers() -> None:
    builder = Builder((3, 2, 2))
    node, targets = builder.input, []
    for name in ("a", "a", "a.b", "a.b", "a/b/c", "", "a_1", "x.y", "x"):
        node = builder.add(name, nn.ReLU(), node)
        targets.append(str(node.target))
    assert targets == ["a", "a_1", "a_2.b", "a_3.b", "a_4.b.c", "node", "a_1_1", "x.y", "x_1"]
    assert torch.equal(builder.finish(node)(IMAGE), IMAGE.relu())


def test_what_leads_nowhere_is_left_out() -> None:
    builder = Builder((3, 2, 2))
    node = builder.add("part.relu", nn.ReLU(), builder.input)
    builder.constant("numbers.alone", torch.ones(3))
    builder.add("tail.last", nn.ReLU(), builder.add("tail.first", nn.PReLU(), node))
    graph = builder.finish(node)
    assert [name for name, _ in graph.named_modules()] == ["", "part", "part.relu"]
    assert not graph.state_dict()
    assert not graph.training


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_looked_for_as_before(enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with uncollected():
            assert not gc.isenabled()
            with uncollected():
                assert not gc.isenabled()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()

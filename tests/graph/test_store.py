"""A graph as plain data comes back exactly; data that describes no graph is refused as the caller expects."""

import contextlib
import copy
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.errors import BitfaceError
from bitface.graph import ops, store
from bitface.graph.torch_reader import from_module
from support.operator_modules import EXAMPLES, SHAPE, chain, graph_of, randomise


def assert_round_trip(graph: GraphModule) -> None:
    description, tensors = store.dump(graph)
    text = json.dumps(description, allow_nan=False)
    again = store.load(json.loads(text), {key: value.clone() for key, value in tensors.items()})
    image = torch.randn(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(again(image), graph(image))
    second, copied = store.dump(again)
    assert json.dumps(second) == text
    assert list(copied) == list(tensors)
    assert all(torch.equal(value, copied[key]) for key, value in tensors.items())
    assert all(value.dtype == copied[key].dtype for key, value in tensors.items())


@pytest.mark.parametrize("name", ops.vocabulary())
def test_every_operator(name: str) -> None:
    for example in EXAMPLES[name]:
        assert_round_trip(graph_of(*chain(example)))


class Mixed(nn.Module):
    """Branches, constants, one layer called twice, a name that is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.add_module("code", nn.PReLU(4))
        self.register_buffer("scale", torch.rand(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.code(self.norm(self.conv(x[:, :1].expand_as(x))))
        return torch.cat([self.conv(y) * self.scale, x[:, 1:3] - y.mean((1, 2, 3), keepdim=True)], 1).flatten(1)


def example() -> tuple[dict[str, Any], dict[str, Tensor]]:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), Mixed(), nn.Linear(6 * 36, 5)).eval()
    graph = randomise(from_module(module, (6, 6)))
    return store.dump(graph)


def test_a_graph_with_branches_and_constants() -> None:
    description, tensors = example()
    graph = store.load(description, tensors)
    assert str(store.load(*store.dump(graph)).graph) == str(graph.graph)
    assert sum(node["op"] == "Conv" for node in description["nodes"]) == 3


MALFORMED = (ValueError, KeyError, TypeError, BitfaceError)


def refused(description: Any, tensors: Any) -> None:
    with pytest.raises(MALFORMED) as caught:
        store.load(description, tensors)
    assert "\n" not in str(caught.value)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside nested lists and dicts."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, part in inside for place in places(part, (*path, key))]


DESCRIPTION, TENSORS = example()
PLACES = places(DESCRIPTION)
OTHER: tuple[Any, ...] = (None, "", "Conv", -1, 0, 2**63, 1.5, [], [1], [-1, 2**40], {}, {"dim": 1}, "image", True)


def changed(place: tuple[Any, ...], value: Any, remove: bool) -> dict[str, Any]:
    description = copy.deepcopy(DESCRIPTION)
    inner: Any = description
    for key in place[:-1]:
        inner = inner[key]
    if remove:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return description


@settings(max_examples=100)
@given(place=st.sampled_from(PLACES), value=st.sampled_from(OTHER), remove=st.booleans())
def test_changed_descriptions_load_or_are_refused(place: tuple[Any, ...], value: Any, remove: bool) -> None:
    with contextlib.suppress(*MALFORMED):
        store.load(changed(place, value, remove), TENSORS)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("input",), [3, -6, 6]),
        (("input",), [3, 6]),
        (("output",), "nothing"),
        (("nodes", 0, "op"), "Exec"),
        (("nodes", 0, "op"), ["Conv"]),
        (("nodes", 0, "in"), []),
        (("nodes", 0, "in"), ["image", "image"]),
        (("nodes", 0, "in"), ["1.conv"]),
        (("nodes", 0, "name"), "image"),
        (("nodes", 0, "name"), "import"),
        (("nodes", 0, "name"), "../x"),
        (("nodes", 0, "name"), "x." * 5000),
        (("nodes", 0, "name"), DESCRIPTION["nodes"][1]["name"]),
        (("nodes", 0, "attributes", "groups"), 0),
        (("nodes", 0, "attributes", "in_channels"), 10**18),
        (("nodes", 0, "attributes", "padding_mode"), "reflect"),
        (("nodes", 0, "attributes", "device"), "cuda"),
        (("nodes", 0, "attributes", "other"), 1),
        (("nodes", 0, "attributes"), {"in_channels": 3, "out_channels": 4, "kernel_size": 1, "dtype": "float64"}),
        (("nodes", 0), {"op": "Clip", "name": "x", "in": ["image"], "attributes": {"low": float("nan"), "high": 1}}),
        (("nodes", 0), {"op": "Concat", "name": "x", "in": ["image", "image"], "attributes": {"dim": 0}}),
    ],
)  # fmt: skip
def test_malformed_descriptions(place: tuple[Any, ...], value: Any) -> None:
    refused(changed(place, value, False), TENSORS)


@pytest.mark.parametrize("description", [None, [], "", {}, {"input": [3, 6, 6]}, {**DESCRIPTION, "nodes": None}])
def test_no_description(description: Any) -> None:
    refused(description, TENSORS)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {**t, "more": torch.zeros(1)},
        lambda t: {key: value for key, value in t.items() if key != "0.weight"},
        lambda t: {**t, "0.weight": t["0.weight"][:2]},
        lambda t: {**t, "0.weight": t["0.weight"].reshape(-1)},
        lambda t: {**t, "0.weight": t["0.weight"].double()},
        lambda t: {**t, "0.weight": None},
        lambda t: None,
    ],
)
def test_tensors_that_do_not_fit(change: Any) -> None:
    refused(DESCRIPTION, change(TENSORS))


def test_a_module_outside_the_vocabulary_is_not_dumped() -> None:
    graph = graph_of(nn.ReLU())
    graph.add_module("part", nn.Module())
    graph.part.add_module("0", nn.Softmin())
    with pytest.raises(ValueError, match=r"'part.0' is a Softmin, which can't be stored"):
        store.dump(graph)

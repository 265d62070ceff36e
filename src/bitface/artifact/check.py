"""What a description and its tensors must be, asked before anything is made of them.

Every function raises ValueError, KeyError, TypeError or the like where the answer is no.
"""

import re
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from bitface.graph.builder import shape_of
from bitface.graph.integer import INTEGER_LAYERS, limits
from bitface.graph.op_spec import OPERATORS
from bitface.limits import LARGEST_SIDE, MOST_OPERATORS

# What an engine may be called. Which ones there are is known further down; a threshold of an unknown one is used, and
# whoever uses it says that another engine computes.
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def packed_weights(description: dict[str, Any]) -> dict[str, tuple[int, torch.Size]]:
    """Bits and shape of every weight tensor that is packed, from the description of a graph."""
    return {
        f"{node['name']}.weight": (node["attributes"].get("bits", 8), shape)
        for node in description["nodes"]
        if node["op"] in ("IntegerConv", "IntegerLinear")
        for _, shape in _largest(node)
    }


def tensors(description: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Every operator takes as much memory as the file has tensors for; packed weights are bytes, others numbers."""
    if len(description["nodes"]) > MOST_OPERATORS:
        raise ValueError(f"more than {MOST_OPERATORS:,} nodes")
    packed = packed_weights(description)
    for name in packed:
        if state[name].dtype != torch.uint8:
            raise ValueError(f"tensor '{name}' isn't packed")
    for node in description["nodes"]:
        for name, shape in _largest(node):
            if name not in packed and state[name].shape != shape:
                raise ValueError(f"tensor '{name}' has shape {list(state[name].shape)} instead of {list(shape)}")
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"tensor '{name}' holds NaN or infinity")


def graph(network: GraphModule) -> None:
    """Its integers are in range, and it gives a vector for each image."""
    for name, module in network.named_modules():
        if isinstance(module, INTEGER_LAYERS):
            low, high = limits(module.bits, signed=True)
            low = max(low, -127)  # the sign of a channel may be turned
            for integers in (module.weight, module.zero_point):
                if integers is not None and not (low <= integers.min() <= integers.max() <= high):
                    raise ValueError(f"'{name}' has integers outside {low} to {high}")
            if not (module.scale > 0).all():
                raise ValueError(f"'{name}' has a scale that isn't positive")
    if len(shape_of(network.graph.output_node().all_input_nodes[0])) != 2:
        raise ValueError("it gives something else than one vector per image")


def facts(description: dict[str, Any]) -> dict[str, Any]:
    """The fields of a description that aren't the network's."""
    kinds = {"plan": dict, "teacher": dict, "data": dict, "thresholds": list, "card": dict}
    for key, kind in kinds.items():
        if not isinstance(description[key], kind):
            raise TypeError(f"'{key}' is a {type(description[key]).__name__}")
    for one in description["thresholds"]:
        _threshold(one)
    return {key: description[key] for key in kinds}


def _threshold(one: Any) -> None:
    """What decides by a threshold can rely on. Older files say less of each."""
    rate, value = one["far"], one["threshold"]
    if not (0 < rate < 1 and -1.001 <= value <= 1.001):
        raise ValueError(f"a threshold of {value} for FAR {rate}")
    if "engine" in one and not (isinstance(one["engine"], str) and _PLAIN_NAME.fullmatch(one["engine"])):
        raise ValueError("a threshold for an engine without a plain name")
    if one.get("flip", False) not in (False, True):
        raise ValueError(f"a threshold whose 'flip' is {one['flip']!r}")
    if not isinstance(one.get("extrapolated", {}), dict):
        raise ValueError(f"a threshold whose 'extrapolated' is {one['extrapolated']!r}")
    expected = one.get("expected", {"low": 0, "high": 1})
    if not 0 <= expected["low"] <= expected["high"] <= 1:
        raise ValueError(f"a threshold with a FAR of {expected} elsewhere")


def _largest(node: dict[str, Any]) -> list[tuple[str, torch.Size]]:
    """The tensor that decides how much memory an operator takes, and its shape; nothing where it has no tensors."""
    largest = OPERATORS[node["op"]].largest_tensor if node["op"] in OPERATORS else None
    if largest is None:
        return []
    leaf, sides = largest(node.get("attributes", {}))
    if any(type(side) is not int or not 0 < side < LARGEST_SIDE for side in sides):
        raise ValueError(f"'{node['name']}' has the shape {sides}")
    return [(f"{node['name']}.{leaf}", torch.Size(sides))]

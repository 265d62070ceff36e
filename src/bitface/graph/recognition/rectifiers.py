"""Limits and rectifiers in parts: `relu(x) - a·relu(-x)`, `max(x, a·x)`, `(x - |x|)·a/2 + relu(x)` and others.

All of them are straight lines through zero, one for each sign of a tensor, so that following the two slopes through
the operators tells what they are together, in whatever way they are written.
"""

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph.attributes import UNBOUNDED, fill
from bitface.graph.builder import shape_of
from bitface.graph.op_spec import traits_of
from bitface.graph.operators.arithmetic import Add, Div, Max, Min, Mul, Sub
from bitface.graph.operators.comparison import Compare, Where
from bitface.graph.operators.elementwise import Abs, Neg
from bitface.graph.operators.rectifiers import Clip
from bitface.graph.passes import module_of, per_channel, replace_module

# Slopes where a tensor is positive and where it is negative, one or one per channel, float64.
Slopes = tuple[Tensor, Tensor]

_ABOVE, _BELOW = ("Greater", "GreaterOrEqual"), ("Less", "LessOrEqual")


def recognise_rectifiers(graph: GraphModule) -> None:
    """Puts one ReLU, LeakyReLU or PReLU in the place of each that is written in parts."""
    lines: dict[Node, dict[Node, Slopes]] = {}
    for node in graph.graph.nodes:
        own = torch.ones(1, dtype=torch.float64)
        lines[node] = {node: (own, own), **_followed(graph, node, lines)}
        if not isinstance(module_of(graph, node), Add | Sub | Mul | Div | Max | Min | Where):
            continue
        for tensor, (above, below) in lines[node].items():
            if tensor is not node and _is_one(above) and not _is_one(below):
                replace_module(graph, node, _rectifier(module_of(graph, node), below), tensor)
                break


def merge_limits(graph: GraphModule) -> None:
    """`min(max(x, 0), 6)` is one limit."""
    for node in graph.graph.nodes:
        outer, before = _limits(module_of(graph, node)), node.args[0] if node.args else None
        if outer is None or not isinstance(before, Node) or (inner := _limits(module_of(graph, before))) is None:
            continue
        low, high = (min(max(limit, outer[0]), outer[1]) for limit in inner)
        module = nn.ReLU() if low == 0 and high >= UNBOUNDED else Clip(low, high)
        replace_module(graph, node, module, *before.all_input_nodes)


def _limits(module: nn.Module | None) -> tuple[float, float] | None:
    if isinstance(module, nn.ReLU):
        return 0.0, UNBOUNDED
    return (module.low, module.high) if isinstance(module, Clip) and module.low <= module.high else None


def _is_one(slope: Tensor) -> bool:
    return bool((slope - 1).abs().max() < 1e-6)


def _rectifier(original: nn.Module | None, below: Tensor) -> nn.Module:
    if not below.any():
        return nn.ReLU()
    if below.numel() == 1 and isinstance(original, Max | Min | Where):
        return nn.LeakyReLU(below.item())
    return fill(nn.PReLU(below.numel()), weight=below)


def _followed(graph: GraphModule, node: Node, lines: dict[Node, dict[Node, Slopes]]) -> dict[Node, Slopes]:
    """The slopes of a node over what its operands are lines of."""
    module = module_of(graph, node)
    sources = [source for source in node.args if isinstance(source, Node)]
    images = [source for source in sources if source.op != "get_attr"]
    if node.op != "call_module" or not images or any(shape_of(image) != shape_of(node) for image in images):
        return {}
    if isinstance(module, Where):
        return _chosen(graph, sources, lines)
    if len(sources) == 1:
        return {tensor: one for tensor, slopes in lines[images[0]].items() if (one := _of_one(module, slopes))}
    if len(images) == 1:
        factor = _factor(graph, module, node, images[0])
        if factor is None:
            return {}
        return {tensor: (above * factor, below * factor) for tensor, (above, below) in lines[images[0]].items()}
    if len(sources) != 2:
        return {}
    first, second = (lines[source] for source in sources)
    both = {tensor: _of_two(module, slopes, second[tensor]) for tensor, slopes in first.items() if tensor in second}
    return {tensor: slopes for tensor, slopes in both.items() if slopes}


def _factor(graph: GraphModule, module: nn.Module | None, node: Node, image: Node) -> Tensor | None:
    """What an operator multiplies an image by: one number, or one per channel."""
    constant = next(source for source in node.all_input_nodes if source is not image)
    if not isinstance(module, Mul | Div) or (isinstance(module, Div) and node.args[0] is constant):
        return None
    value = graph.get_buffer(str(constant.target)).double()
    numbers = value.reshape(1) if value.numel() == 1 else per_channel(value, shape_of(node), shape_of(node)[1])
    return numbers if numbers is None or isinstance(module, Mul) else 1 / numbers


def _of_one(module: nn.Module | None, slopes: Slopes) -> Slopes | None:
    above, below = slopes
    if isinstance(module, Neg):
        return -above, -below
    if isinstance(module, Abs):
        return above.abs(), -below.abs()
    if isinstance(module, Clip) and module.high == 0 and module.low <= -UNBOUNDED:
        return above.clamp(max=0), below.clamp(min=0)
    rectifier = traits_of(module).rectifier
    if rectifier is None:
        return None
    slope, largest = rectifier(module)
    if largest < UNBOUNDED:
        return None
    slope = slope.detach().double()
    return torch.where(above > 0, above, above * slope), torch.where(below > 0, below * slope, below)


def _of_two(module: nn.Module | None, first: Slopes, second: Slopes) -> Slopes | None:
    (above, below), (other_above, other_below) = first, second
    if isinstance(module, Add):
        return above + other_above, below + other_below
    if isinstance(module, Sub):
        return above - other_above, below - other_below
    if isinstance(module, Max):  # of negative numbers the flatter line is the larger
        return torch.maximum(above, other_above), torch.minimum(below, other_below)
    if isinstance(module, Min):
        return torch.minimum(above, other_above), torch.maximum(below, other_below)
    return None


def _chosen(graph: GraphModule, sources: list[Node], lines: dict[Node, dict[Node, Slopes]]) -> dict[Node, Slopes]:
    """The slopes of `where(x > 0, a, b)`, `a` and `b` lines of `x` or zero."""
    comparison = module_of(graph, sources[0])
    if not isinstance(comparison, Compare):
        return {}
    tensor, limit = (source for source in sources[0].args if isinstance(source, Node))
    positive, negative = _ABOVE, _BELOW
    if tensor.op == "get_attr":
        tensor, limit, positive, negative = limit, tensor, _BELOW, _ABOVE
    if not _is_zero(graph, limit) or comparison.relation not in positive + negative:
        return {}
    zero = torch.zeros(1, dtype=torch.float64)
    both = [(zero, zero) if _is_zero(graph, one) else lines[one].get(tensor) for one in sources[1:]]
    if both[0] is None or both[1] is None:
        return {}
    first, second = both if comparison.relation in positive else both[::-1]
    assert first is not None
    assert second is not None
    return {tensor: (first[0], second[1])}


def _is_zero(graph: GraphModule, node: Node) -> bool:
    return node.op == "get_attr" and not graph.get_buffer(str(node.target)).any()

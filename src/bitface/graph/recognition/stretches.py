"""Operators that a file holds in parts, told by what they compute rather than by how they are written.

A GELU is written in a dozen ways, a LayerNorm in as many. What lies between two tensors and computes on single numbers
alone, or on them and their means, is run on numbers made for it: where it gives what an operator of the vocabulary
gives, it becomes that one.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph.attributes import UNBOUNDED
from bitface.graph.builder import shape_of
from bitface.graph.operators.activations import HardSigmoid
from bitface.graph.operators.arithmetic import Add, Div, Mul, Sub
from bitface.graph.operators.elementwise import Erf, Exp, Log, Neg, Pow, Reciprocal, Sqrt
from bitface.graph.operators.layer_norm import layer_norm
from bitface.graph.operators.padding import Pad
from bitface.graph.operators.rectifiers import Clip
from bitface.graph.operators.reductions import ReduceMean
from bitface.graph.operators.views import Reshape, Transpose
from bitface.graph.passes import insert_after, module_of

_ARITHMETIC = (Add, Sub, Mul, Div)
_CURVES = (Erf, Exp, Log, nn.Tanh, nn.Sigmoid, nn.Softplus, HardSigmoid, Clip, nn.ReLU)
_LIMITERS = (Clip, nn.ReLU, HardSigmoid)
_PARTS = (*_ARITHMETIC, *_CURVES, Neg, Pow, Sqrt, Reciprocal, ReduceMean)
# By which means over neighbouring channels are written.
_WINDOWED = (Reshape, Pad, nn.AvgPool2d)
_FUNCTIONS = (
    *(nn.GELU(), nn.GELU("tanh"), nn.Hardswish(), nn.SiLU(), nn.Mish()),
    *(nn.Sigmoid(), HardSigmoid(), HardSigmoid(0.2, 0.5)),
)
# More operators than anybody writes them in.
_LARGEST = 20
# How far a function may lie from its name: constants of files in 16 bits are rounded.
_NEAR = 5e-5
# Where functions are compared: finely where they bend, and so far out that every limit of a network cuts something off.
_BENDS = torch.linspace(-10, 10, 2001, dtype=torch.float64)
_FAR = torch.logspace(1, 10, 181, dtype=torch.float64)
# A LayerNorm's numbers are read off its values: so large that its epsilon doesn't count, and so small that it does.
_LARGE, _SMALL = 1e6, 1e-3


@dataclass(frozen=True)
class _Stretch:
    """The nodes that compute `result` from `source`, in order, and beside them from constants alone."""

    graph: GraphModule
    source: Node
    result: Node
    nodes: tuple[Node, ...]

    @property
    def modules(self) -> list[nn.Module]:
        return [self.graph.get_submodule(str(node.target)) for node in self.nodes]

    @property
    def constants(self) -> dict[Node, Tensor]:
        nodes = {source for node in self.nodes for source in node.all_input_nodes if source.op == "get_attr"}
        return {node: self.graph.get_buffer(str(node.target)).double() for node in nodes}

    def run(self, x: Tensor) -> Tensor:
        return self._values(x)[self.result]

    def limits_met(self, x: Tensor) -> bool:
        """Whether every limit cuts something off: one that doesn't may do it with other values."""
        values = self._values(x)
        for node, module in zip(self.nodes, self.modules, strict=True):
            low, high = _limits(module)
            read = values[node.all_input_nodes[0]]
            if (low > -UNBOUNDED and not (read < low).any()) or (high < UNBOUNDED and not (read > high).any()):
                return False
        return True

    def _values(self, x: Tensor) -> dict[Node, Tensor]:
        values = {self.source: x, **self.constants}
        for node, module in zip(self.nodes, self.modules, strict=True):
            values[node] = module(*(values[source] for source in node.args if isinstance(source, Node)))
        return values


def _limits(module: nn.Module) -> tuple[float, float]:
    """The numbers between which a module cuts nothing off."""
    if isinstance(module, Clip):
        return module.low, module.high
    if isinstance(module, HardSigmoid) and module.alpha:
        ends = (-module.beta / module.alpha, (1 - module.beta) / module.alpha)
        return min(ends), max(ends)
    return 0 if isinstance(module, nn.ReLU) else -math.inf, math.inf


def recognise_stretches(graph: GraphModule) -> None:
    """Puts GELUs and other curves, LayerNorms and LRNs where their parts are."""
    places = {node: place for place, node in enumerate(graph.graph.nodes)}
    for node in reversed(places):
        if node.users and isinstance(module_of(graph, node), (*_ARITHMETIC, Clip)):
            for stretch in _stretches(graph, node, places):
                if modules := _meaning(stretch):
                    _replace(stretch, modules)
                    break


def _stretches(graph: GraphModule, result: Node, places: dict[Node, int]) -> Iterator[_Stretch]:
    """The stretches that end in a node, short ones first."""
    nodes: list[Node] = []
    open_ends = {result}
    parts = (*_PARTS, *_WINDOWED) if isinstance(module_of(graph, result), Div) else _PARTS
    while open_ends and len(nodes) < _LARGEST:
        latest = max(open_ends, key=places.__getitem__)
        if not isinstance(module_of(graph, latest), parts):
            return
        nodes.append(latest)
        open_ends |= {source for source in latest.all_input_nodes if source.op != "get_attr"}
        open_ends.remove(latest)
        if len(open_ends) == 1 and len(nodes) > 1:
            (source,) = open_ends
            yield _Stretch(graph, source, result, tuple(reversed(nodes)))


def _meaning(stretch: _Stretch) -> list[nn.Module]:
    """The modules, one after the other, that compute what a stretch computes; none: it is no operator's."""
    means = [module.dims for module in stretch.modules if isinstance(module, ReduceMean)]
    if shape_of(stretch.source) != shape_of(stretch.result):
        return []
    if not means and not any(isinstance(module, _WINDOWED) for module in stretch.modules):
        return _function(stretch)
    if any(isinstance(module, _LIMITERS) for module in stretch.modules):
        return []  # which a few images don't meet
    if means:
        return _layer_norm(stretch, means[0]) if len(means) > 1 and len(set(means)) == 1 else []
    return _local_response(stretch)


def _function(stretch: _Stretch) -> list[nn.Module]:
    one_number = all(value.numel() == 1 for value in stretch.constants.values())
    if not one_number or not any(isinstance(module, _CURVES) for module in stretch.modules):
        return []
    x = torch.cat([_BENDS, -_FAR, _FAR]).view(-1, *[1] * (len(shape_of(stretch.source)) - 1))
    y = stretch.run(x)
    alike = [function for function in _FUNCTIONS if ((y - function(x)).abs() <= _NEAR * (1 + y.abs())).all()]
    return [copy.deepcopy(alike[0])] if alike and stretch.limits_met(x) else []


def _layer_norm(stretch: _Stretch, dims: tuple[int, ...]) -> list[nn.Module]:
    """A LayerNorm over the last axes; over the channels of a map, with the channels moved to the end for it."""
    shape = shape_of(stretch.source)
    rank = len(shape)
    last = dims == tuple(range(rank - len(dims), rank))
    if not last and dims != (1,):
        return []
    to_end = tuple(range(rank)) if last else (0, *range(2, rank), 1)
    back = tuple(range(rank)) if last else (0, rank - 1, *range(1, rank - 1))
    sides = tuple(shape[axis] for axis in dims)
    x = torch.randn(2, *(shape[axis] for axis in to_end[1:]), dtype=torch.float64, generator=torch.Generator())

    def run(values: Tensor) -> Tensor:
        return stretch.run(values.permute(back)).permute(to_end).reshape(-1, *sides)

    normalised = nn.functional.layer_norm(x, sides, eps=0).reshape(-1, *sides)
    shift = run(torch.zeros_like(x))[0]
    scale = ((run(x * _LARGE) - shift) * normalised).sum(0) / normalised.square().sum(0)
    axes = tuple(range(1, 1 + len(sides)))
    plain = scale * normalised
    shrunk = ((run(x * _SMALL) - shift) * plain).sum(axes) / plain.square().sum(axes)
    variance = (x * _SMALL).reshape(-1, *sides).var(axes, correction=0)
    epsilon = float(f"{(variance * (1 / shrunk.square() - 1)).median().item():.6g}")
    if not epsilon > 0 or not bool(torch.isfinite(scale).all() and torch.isfinite(shift).all()):
        return []
    for size in (_SMALL, 1.0, _LARGE):
        expected = nn.functional.layer_norm(x * size, sides, scale, shift, epsilon).reshape(-1, *sides)
        if not torch.allclose(run(x * size), expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max())):
            return []
    norm = layer_norm(sides, scale, shift, epsilon)
    return [norm] if last else [Transpose(to_end), norm, Transpose(back)]


def _local_response(stretch: _Stretch) -> list[nn.Module]:
    """`x / (k + alpha · mean(x²))^beta`, the means over an odd number of neighbouring channels."""
    kernels = [module.kernel_size for module in stretch.modules if isinstance(module, nn.AvgPool2d)]
    sizes = [kernel[0] for kernel in kernels if isinstance(kernel, tuple)]
    powers = [module.exponent for module in stretch.modules if isinstance(module, Pow)]
    shape = shape_of(stretch.source)
    if len(sizes) != 1 or not sizes[0] % 2 or not powers or powers[-1] <= 0 or len(shape) != 4:
        return []
    x = torch.randn(1, *shape[1:], dtype=torch.float64, generator=torch.Generator())
    means = x / nn.functional.local_response_norm(x, sizes[0], 1, 1, 0)
    sums = (x / stretch.run(x)) ** (1 / powers[-1])
    spread = means - means.mean()
    slope = ((sums - sums.mean()) * spread).sum() / spread.square().sum()
    alpha, k = (float(f"{number:.6g}") for number in (slope, sums.mean() - slope * means.mean()))
    norm = nn.LocalResponseNorm(sizes[0], alpha, powers[-1], k)
    alike = all(torch.allclose(stretch.run(x * large), norm(x * large), rtol=1e-5) for large in (1, 100))
    return [norm] if alike else []


def _replace(stretch: _Stretch, modules: list[nn.Module]) -> None:
    """Lets modules compute the result, and removes what nothing reads any more."""
    graph, value = stretch.graph, stretch.source
    place = stretch.result
    for module in modules:
        place = insert_after(graph, place, f"{stretch.result.target}_whole", module, value)
        order = module.dims if isinstance(module, Transpose) else range(len(shape_of(value)))
        place.meta["shape"] = tuple(shape_of(value)[axis] for axis in order)
        value = place
    stretch.result.replace_all_uses_with(value)
    for node in reversed(stretch.nodes):
        if not node.users:
            graph.graph.erase_node(node)

"""The division by a norm in parts: by powers, sums and roots, and what keeps it from dividing by zero."""

import torch
from torch import nn
from torch.fx import GraphModule, Node

from bitface.graph.attributes import UNBOUNDED
from bitface.graph.builder import shape_of
from bitface.graph.operators.arithmetic import Add, Div, Mul
from bitface.graph.operators.elementwise import Pow, Reciprocal, Sqrt
from bitface.graph.operators.normalization import Normalize
from bitface.graph.operators.rectifiers import Clip
from bitface.graph.operators.reductions import ReduceL2, ReduceSum, ReduceSumSquare
from bitface.graph.operators.views import Reshape
from bitface.graph.passes import module_of, replace_module

# The largest numbers that are added to a norm, or limit it, only against a division by zero.
_TINY_NORM, _TINY_SQUARE = 1e-6, 1e-9


def recognise_norms(graph: GraphModule) -> None:
    """Puts one `Normalize` in the place of `x / √Σx²`, with something against a division by zero or without."""
    for node in graph.graph.nodes:
        if isinstance(module_of(graph, node), Div | Mul):
            _l2_norm(graph, node)


def _source(graph: GraphModule, node: object, *kinds: type[nn.Module]) -> Node | None:
    """What a node reads, where it is one of these operators of one tensor."""
    if isinstance(node, Node) and isinstance(module_of(graph, node), kinds) and len(node.args) == 1:
        source = node.args[0]
        return source if isinstance(source, Node) else None
    return None


def _factors(graph: GraphModule, node: Node) -> list[tuple[Node, Node]]:
    """Both orders of the operands of a product."""
    if not isinstance(module_of(graph, node), Mul):
        return []
    first, second = (source for source in node.args if isinstance(source, Node))
    return [(first, second), (second, first)]


def _l2_norm(graph: GraphModule, node: Node) -> None:
    module = module_of(graph, node)
    if isinstance(module, Div):
        tensor, norm = (source for source in node.args if isinstance(source, Node))
        found = [(tensor, norm, dim) for dim in _norm_of(graph, norm, tensor)]
    else:
        factors = _factors(graph, node)
        found = [(tensor, part, dim) for tensor, part in factors for dim in _one_by_norm(graph, part, tensor)]
    for tensor, part, dim in found:
        if shape_of(tensor) == shape_of(node) and _stands_along(part, tensor, dim):
            replace_module(graph, node, Normalize(dim), tensor)
            return


def _stands_along(part: Node, tensor: Node, dim: int) -> bool:
    """Whether each norm along an axis stands beside the numbers that it is of: where it was viewed with an axis of
    length 1 in another place, it stands beside others.
    """
    while shape_of(part) == shape_of(tensor):  # repeated along the axis
        (part,) = (source for source in part.all_input_nodes if source.op != "get_attr")
    sides = list(shape_of(tensor))
    sides[dim] = 1
    return shape_of(part) == tuple(sides)


def _one_by_norm(graph: GraphModule, node: Node, tensor: Node) -> list[int]:
    """The axis along which a node is one divided by a tensor's norm; empty: it isn't that."""
    node = _widened(graph, node)
    module = module_of(graph, node)
    if isinstance(module, Pow) and module.exponent == -0.5:
        return _square_of(graph, _source(graph, node, Pow), tensor)
    if isinstance(module, Div):
        one, norm = (source for source in node.args if isinstance(source, Node))
        unit = one.op == "get_attr" and bool((graph.get_buffer(str(one.target)) == 1).all())
        return _norm_of(graph, norm, tensor) if unit else []
    return _norm_of(graph, _source(graph, node, Reciprocal), tensor)


def _norm_of(graph: GraphModule, node: Node | None, tensor: Node) -> list[int]:
    """The axis along which a node is a tensor's L2 norm; empty: it isn't that."""
    node = _unguarded(graph, node, _TINY_NORM)
    module = module_of(graph, node) if node else None
    if node is None:
        return []
    if isinstance(module, ReduceL2):
        return _axis(module, node, tensor) if _source(graph, node, ReduceL2) is tensor else []
    if isinstance(module, Pow) and module.exponent != 0.5:
        return []
    return _square_of(graph, _source(graph, node, Sqrt, Pow), tensor)


def _square_of(graph: GraphModule, node: Node | None, tensor: Node) -> list[int]:
    """The axis along which a node is the sum of a tensor's squares; empty: it isn't that."""
    node = _unguarded(graph, node, _TINY_SQUARE)
    module = module_of(graph, node) if node else None
    if node is None or not isinstance(module, ReduceSum | ReduceSumSquare):
        return []
    source = _source(graph, node, ReduceSum, ReduceSumSquare)
    square = module_of(graph, source) if source else None
    if isinstance(module, ReduceSum):
        if isinstance(square, Mul) and source is not None and source.args == (tensor, tensor):
            return _axis(module, node, tensor)
        source = _source(graph, source, Pow) if isinstance(square, Pow) and square.exponent == 2 else None
    return _axis(module, node, tensor) if source is tensor else []


def _axis(module: ReduceL2 | ReduceSum | ReduceSumSquare, node: Node, tensor: Node) -> list[int]:
    dims = list(module.dims)
    return dims if len(dims) == 1 and shape_of(tensor)[dims[0]] > 1 else []


def _unguarded(graph: GraphModule, node: Node | None, tiny: float) -> Node | None:
    """A norm without what keeps it from being zero."""
    node = None if node is None else _widened(graph, node)
    module = module_of(graph, node) if node else None
    if isinstance(module, Clip) and module.low <= tiny and module.high >= UNBOUNDED:
        return _unguarded(graph, _source(graph, node, Clip), tiny)
    if not isinstance(module, Add) or node is None:
        return node
    first, second = (source for source in node.args if isinstance(source, Node))
    constant, image = (first, second) if first.op == "get_attr" else (second, first)
    value = graph.get_buffer(str(constant.target)) if constant.op == "get_attr" else torch.ones(1)
    return _unguarded(graph, image, tiny) if value.min() >= 0 and value.max() <= tiny else node


def _widened(graph: GraphModule, node: Node) -> Node:
    """What was repeated along axes of length 1, or viewed with a further one."""
    while True:
        source = _source(graph, node, Reshape)
        for image, constant in _factors(graph, node):
            if constant.op == "get_attr" and bool((graph.get_buffer(str(constant.target)) == 1).all()):
                source = image
        if source is None:
            return node
        node = source

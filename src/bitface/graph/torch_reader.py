"""Turns an `nn.Module` into a graph: fx traces it, then every call becomes a module of the vocabulary."""

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError
from bitface.graph import ops
from bitface.graph.builder import Builder, shape_of


def from_module(module: nn.Module, size: tuple[int, int] = (112, 112)) -> GraphModule:
    """The graph of a network in evaluation mode; the module itself is left as it was.

    Args:
        module: takes float32 `[N, 3, height, width]`, gives one tensor.
        size: height and width of the image.

    Raises:
        BitfaceError: fx can't trace it, or it calls something outside the vocabulary (named with its place).
    """
    module = copy.deepcopy(module).eval().float().cpu()
    try:
        traced = fx.symbolic_trace(module)
    except Exception as error:  # tracing runs the module's own code
        raise BitfaceError(
            f"{type(module).__name__} can't be traced ({str(error).splitlines()[0]}); "
            "write its forward without branches on tensors, or export it to ONNX"
        ) from error
    return _Converter(traced, size).convert()


class _Converter:
    def __init__(self, traced: GraphModule, size: tuple[int, int]) -> None:
        self.traced = traced
        self.builder = Builder((3, *size))
        self.values: dict[Node, Any] = {}

    def convert(self) -> GraphModule:
        seen_input = False
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                if seen_input and not node.args:
                    raise BitfaceError(
                        "the network takes more than one input; a face network takes one image batch"
                    )
                self.values[node] = node.args[0] if seen_input else self.builder.input
                seen_input = True
            elif node.op == "output":
                result = fx.node.map_arg(node.args[0], lambda source: self.values[source])
                if not isinstance(result, Node):
                    raise BitfaceError(
                        "the network gives more than one output; a face network gives one embedding"
                    )
                return self.builder.finish(result)
            elif node.op == "get_attr":
                self.values[node] = _follow(self.traced, node.target)
            else:
                self.values[node] = self._call(node)
        raise BitfaceError("the network has no output")

    def _call(self, node: Node) -> Any:
        args = fx.node.map_arg(node.args, lambda source: self.values[source])
        kwargs = fx.node.map_arg(node.kwargs, lambda source: self.values[source])
        if node.op == "call_module":
            module = self.traced.get_submodule(str(node.target))
            return self._module(str(node.target), module, args[0])
        key: Any = node.target if node.op == "call_method" else _FUNCTIONS.get(node.target, node.target)
        handler = _METHODS.get(key) if isinstance(key, str) else None
        if handler is not None:
            return handler(self, node.name, *args, **kwargs)
        if not any(isinstance(value, Node) for value in [*args, *kwargs.values()]):
            return node.target(*args, **kwargs)  # arithmetic on sizes
        called = (
            node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
        )
        raise BitfaceError(
            f"the network calls '{called}' (node '{node.name}'), which bitface doesn't know; "
            "report it with this line, or export the network to ONNX"
        )

    def _module(self, name: str, module: nn.Module, x: Node) -> Node:
        if isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d):
            return x
        if isinstance(module, nn.Flatten):
            return self.builder.reshape(name, x, (-1, -1))
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return self._adaptive_pool(name, x, module.output_size)
        replacement = _replacement(module)
        if replacement is None:
            raise BitfaceError(
                f"module '{name}' is a {type(module).__name__}, which bitface doesn't know; report it with this line, "
                "or export the network to ONNX"
            )
        return self.builder.add(name, replacement, x)

    def _adaptive_pool(self, name: str, x: Node, size: Any) -> Node:
        wanted = (size, size) if isinstance(size, int) else tuple(size)
        have = shape_of(x)[2:]
        if wanted == have:
            return x
        if wanted == (1, 1):
            return self.builder.add(name, ops.ReduceMean((2, 3)), x)
        if any(h % w for h, w in zip(have, wanted, strict=True)):
            raise BitfaceError(f"'{name}' pools {have} to {wanted}, which windows of one size can't do")
        kernel = tuple(h // w for h, w in zip(have, wanted, strict=True))
        return self.builder.add(name, nn.AvgPool2d(kernel), x)

    def _binary(self, kind: str, name: str, a: Any, b: Any) -> Any:
        if not isinstance(a, Node) and not isinstance(b, Node):
            function: Any = {
                "Add": operator.add,
                "Sub": operator.sub,
                "Mul": operator.mul,
                "Div": operator.truediv,
            }
            return function[kind](a, b)
        nodes = [self._node(name, value) for value in (a, b)]
        return self.builder.add(name, ops.BINARY[kind](), *nodes)

    def _node(self, name: str, value: Any) -> Node:
        if isinstance(value, Node):
            return value
        return self.builder.constant(name + "_constant", torch.as_tensor(value, dtype=torch.float32).detach())


def _replacement(module: nn.Module) -> nn.Module | None:
    """The vocabulary's module for one of torch's, or None."""
    if isinstance(module, nn.ReLU6):
        return ops.Clip(0, 6)
    if isinstance(module, nn.Hardtanh):
        return ops.Clip(module.min_val, module.max_val)
    if isinstance(module, nn.Hardsigmoid):
        return ops.HardSigmoid()
    if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
        return None
    if isinstance(module, nn.Conv2d) and isinstance(module.padding, str):
        reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        if module.padding == "same" and any(side % 2 for side in reach):
            return None
        module.padding = (0, 0) if module.padding == "valid" else (reach[0] // 2, reach[1] // 2)
    if isinstance(module, ops.NORMS) and not module.affine:
        module.weight = nn.Parameter(torch.ones(module.num_features))
        module.bias = nn.Parameter(torch.zeros(module.num_features))
    if isinstance(module, ops.NORMS) and module.running_mean is None:
        return None
    return module if ops.op_name(module) else None


def _follow(root: nn.Module, path: Any) -> Any:
    value: Any = root
    for part in str(path).split("."):
        value = getattr(value, part)
    return value


def _reshape(self: _Converter, name: str, x: Node, *shape: Any) -> Node:
    sides = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list | torch.Size) else shape
    return self.builder.reshape(name, x, tuple(sides))


def _flatten(self: _Converter, name: str, x: Node, start_dim: int = 0, end_dim: int = -1) -> Node:
    shape = shape_of(x)
    first, last = start_dim % len(shape), end_dim % len(shape)
    return self.builder.reshape(name, x, (*shape[:first], -1, *shape[last + 1 :]))


def _size(self: _Converter, name: str, x: Node, dim: int | None = None) -> Any:
    return shape_of(x) if dim is None else shape_of(x)[dim]


def _attribute(self: _Converter, name: str, x: Node, attribute: str) -> Any:
    if attribute != "shape":
        raise BitfaceError(
            f"the network reads '.{attribute}' of a tensor (node '{name}'), which bitface doesn't know"
        )
    return shape_of(x)


def _item(self: _Converter, name: str, x: Any, index: Any) -> Any:
    if not isinstance(x, Node):
        return x[index]
    picks = index if isinstance(index, tuple) else (index,)
    if Ellipsis in picks:
        gap = len(shape_of(x)) - len(picks) + 1
        place = picks.index(Ellipsis)
        picks = picks[:place] + (slice(None),) * gap + picks[place + 1 :]
    dropped = []
    for dim, pick in enumerate(picks):
        if isinstance(pick, int):
            start = pick % shape_of(x)[dim]
            x = self.builder.take(name, x, dim, start, start + 1)
            dropped.append(dim)
        elif isinstance(pick, slice):
            start, end, step = pick.indices(shape_of(x)[dim])
            x = self.builder.take(name, x, dim, start, end, step)
        else:
            raise BitfaceError(f"node '{name}' indexes a tensor by {pick!r}, which bitface doesn't know")
    return self.builder.reshape(name, x, tuple(s for i, s in enumerate(shape_of(x)) if i not in dropped))


def _mean(self: _Converter, name: str, x: Node, dim: Any = None, keepdim: bool = False) -> Node:
    rank = len(shape_of(x))
    dims = tuple(axis % rank for axis in ((dim,) if isinstance(dim, int) else dim or ()))
    if not dims or 0 in dims:
        raise BitfaceError(
            f"node '{name}' averages over the batch, so one face would change another's embedding"
        )
    return self.builder.add(name, ops.ReduceMean(dims, keepdim), x)


def _normalize(
    self: _Converter, name: str, x: Node, p: float = 2.0, dim: int = 1, eps: float = 1e-12
) -> Node:
    return self.builder.add(name, ops.Normalize(dim % len(shape_of(x)), int(p)), x)


def _cat(self: _Converter, name: str, parts: Any, dim: int = 0) -> Node:
    return self.builder.add(name, ops.Concat(dim % len(shape_of(parts[0]))), *parts)


def _permute(self: _Converter, name: str, x: Node, *dims: Any) -> Node:
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return self.builder.add(name, ops.Transpose(tuple(order)), x)


def _transpose(self: _Converter, name: str, x: Node, first: int, second: int) -> Node:
    order = list(range(len(shape_of(x))))
    order[first], order[second] = order[second], order[first]
    return _permute(self, name, x, *order)


def _chunk(self: _Converter, name: str, x: Node, count: int, dim: int = 0) -> list[Node]:
    side = shape_of(x)[dim]
    return _split(self, name, x, -(-side // count), dim)


def _split(self: _Converter, name: str, x: Node, length: Any, dim: int = 0) -> list[Node]:
    side, parts, start = shape_of(x)[dim], [], 0
    lengths = [length] * -(-side // length) if isinstance(length, int) else length
    for step in lengths:
        parts.append(self.builder.take(f"{name}_{len(parts)}", x, dim, start, min(start + step, side)))
        start += step
    return parts


def _squeeze(self: _Converter, name: str, x: Node, dim: int | None = None) -> Node:
    shape = shape_of(x)
    chosen = {dim % len(shape)} if dim is not None else set(range(1, len(shape)))
    return self.builder.reshape(name, x, tuple(s for i, s in enumerate(shape) if s != 1 or i not in chosen))


def _unsqueeze(self: _Converter, name: str, x: Node, dim: int) -> Node:
    shape = list(shape_of(x))
    shape.insert(dim % (len(shape) + 1), 1)
    return self.builder.reshape(name, x, tuple(shape))


def _apply(make: Callable[..., nn.Module]) -> Callable[..., Node]:
    """A call that is a module of its own: `F.relu(x)`; options such as `inplace` don't matter."""

    def handle(self: _Converter, name: str, x: Node, *args: Any, **kwargs: Any) -> Node:
        kwargs.pop("inplace", None)
        return self._module(name, make(*args, **kwargs), x)

    return handle


def _prelu(self: _Converter, name: str, x: Node, slope: Tensor) -> Node:
    module = nn.PReLU(slope.numel())
    module.weight = nn.Parameter(slope.detach().reshape(-1))
    return self.builder.add(name, module, x)


def _same(self: _Converter, name: str, x: Any, *_: Any, **__: Any) -> Any:
    return x


def _arithmetic(kind: str) -> Callable[..., Any]:
    return lambda self, name, a, b: self._binary(kind, name, a, b)


_METHODS: dict[str, Callable[..., Any]] = {
    **{word: _arithmetic(kind) for kind, words in {
        "Add": ("add", "add_"), "Sub": ("sub", "sub_"), "Mul": ("mul", "mul_"), "Div": ("div", "div_"),
        "MatMul": ("matmul",),
    }.items() for word in words},
    **dict.fromkeys(("view", "reshape"), _reshape),
    **dict.fromkeys(("contiguous", "clone", "detach", "float", "dropout"), _same),
    "flatten": _flatten, "size": _size, "getattr": _attribute, "getitem": _item, "mean": _mean,
    "normalize": _normalize, "cat": _cat, "permute": _permute, "transpose": _transpose, "chunk": _chunk,
    "split": _split, "squeeze": _squeeze, "unsqueeze": _unsqueeze, "prelu": _prelu,
    **dict.fromkeys(("relu", "relu_"), _apply(nn.ReLU)),
    "relu6": _apply(nn.ReLU6), "leaky_relu": _apply(nn.LeakyReLU), "sigmoid": _apply(nn.Sigmoid),
    "tanh": _apply(nn.Tanh), "hardtanh": _apply(nn.Hardtanh), "hardsigmoid": _apply(nn.Hardsigmoid),
    "hardswish": _apply(nn.Hardswish), "max_pool2d": _apply(nn.MaxPool2d), "avg_pool2d": _apply(nn.AvgPool2d),
    "adaptive_avg_pool2d": _apply(nn.AdaptiveAvgPool2d),
}  # fmt: skip

_F = nn.functional
_FUNCTIONS: dict[Any, str] = {
    operator.add: "add", operator.iadd: "add", torch.add: "add", operator.sub: "sub", torch.sub: "sub",
    operator.mul: "mul", operator.imul: "mul", torch.mul: "mul", operator.truediv: "div", torch.div: "div",
    operator.matmul: "matmul", torch.matmul: "matmul", getattr: "getattr", operator.getitem: "getitem",
    torch.reshape: "reshape", torch.flatten: "flatten", torch.mean: "mean", torch.cat: "cat",
    torch.permute: "permute", torch.transpose: "transpose", torch.chunk: "chunk", torch.split: "split",
    torch.squeeze: "squeeze", torch.unsqueeze: "unsqueeze", torch.relu: "relu", torch.sigmoid: "sigmoid",
    torch.tanh: "tanh", _F.relu: "relu", _F.relu6: "relu6", _F.leaky_relu: "leaky_relu", _F.prelu: "prelu",
    torch.prelu: "prelu", _F.sigmoid: "sigmoid", _F.tanh: "tanh", _F.hardtanh: "hardtanh",
    _F.hardsigmoid: "hardsigmoid", _F.hardswish: "hardswish", _F.max_pool2d: "max_pool2d",
    _F.avg_pool2d: "avg_pool2d", _F.adaptive_avg_pool2d: "adaptive_avg_pool2d", _F.dropout: "dropout",
    _F.normalize: "normalize",
}  # fmt: skip

"""Turns an `nn.Module` into a graph: fx traces it, then every call becomes a module of the vocabulary."""

import copy
import operator
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError
from bitface.graph import ops
from bitface.graph.builder import Builder, ShapeError, one_line, shape_of


def from_module(module: nn.Module, size: tuple[int, int] = (112, 112)) -> GraphModule:
    """The graph of a network in evaluation mode; the module itself is left as it was.

    Args:
        module: takes float32 `[N, 3, height, width]`, gives one tensor.
        size: height and width of the image.

    Raises:
        BitfaceError: fx can't trace it, or it calls something outside the vocabulary (named with its place).
    """
    try:
        root = copy.deepcopy(module).eval().float().cpu()
        traced = fx.Tracer().trace(root)
    except Exception as error:  # tracing runs the module's own code
        raise BitfaceError(
            f"{type(module).__name__} can't be traced ({one_line(error)}); "
            "write its forward without branches on tensors, or export it to ONNX"
        ) from error
    return _Converter(root, traced, size).convert()


class _Converter:
    def __init__(self, root: nn.Module, traced: fx.Graph, size: tuple[int, int]) -> None:
        self.root, self.traced = root, traced
        self.builder = Builder((3, *size))
        self.values: dict[Node, Any] = {}
        self.in_place = False

    def convert(self) -> GraphModule:
        for index, node in enumerate(self.traced.nodes):
            if node.op == "placeholder":
                if index and not node.args:
                    raise BitfaceError("the network takes more than one input; a face network takes one image batch")
                self.values[node] = node.args[0] if index else self.builder.input
            elif node.op == "output":
                result = fx.node.map_arg(node.args[0], lambda source: self.values[source])
                if not isinstance(result, Node):
                    raise BitfaceError("the network gives more than one output; a face network gives one embedding")
                return self.builder.finish(result)
            elif node.op == "get_attr":
                self.values[node] = operator.attrgetter(str(node.target))(self.root)
            else:
                try:
                    self.values[node] = self._call(node)
                except BitfaceError:
                    raise
                except Exception as error:  # arguments that a handler doesn't take, or that don't fit
                    raise BitfaceError(
                        f"the network calls '{_called(node)}' (node '{node.name}') in a way that bitface "
                        f"doesn't know ({one_line(error)}); export it to ONNX"
                    ) from error
                if self.in_place and isinstance(self.values[node], Node):
                    # Whoever reads the operand later sees the result.
                    self.values[node.all_input_nodes[0]] = self.values[node]
        raise BitfaceError("the network has no output")

    def _call(self, node: Node) -> Any:
        args: Any = fx.node.map_arg(node.args, lambda source: self.values[source])
        given = {key: value for key, value in node.kwargs.items() if value is not None}
        kwargs: Any = fx.node.map_arg(given, lambda source: self.values[source])
        called = _called(node)
        self.in_place = called.endswith("_") or called in ("iadd", "imul")
        found: list[Node] = []
        fx.node.map_arg((args, kwargs), found.append)
        if node.op == "call_module":
            module = self.root.get_submodule(str(node.target))
            return self._module(str(node.target), module, *args, **kwargs)
        if not found:  # arithmetic on sizes and constants
            function: Any = node.target if node.op == "call_function" else getattr(args[0], str(node.target))
            return function(*(args if node.op == "call_function" else args[1:]), **kwargs)
        key: Any = node.target if node.op == "call_method" else _FUNCTIONS.get(node.target)
        if key not in _METHODS:
            raise BitfaceError(
                f"the network calls '{called}' (node '{node.name}'), which bitface doesn't know; "
                "report it with this line, or export the network to ONNX"
            )
        return _METHODS[key](self, node.name, *args, **kwargs)

    def _module(self, name: str, module: nn.Module, x: Node) -> Node:
        if module._forward_hooks or module._forward_pre_hooks:
            raise BitfaceError(f"module '{name}' has hooks, which bitface can't read; export it to ONNX")
        if isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d):
            return x
        if isinstance(module, nn.Flatten):
            return _flatten(self, name, x, module.start_dim, module.end_dim)
        if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            return self._adaptive_pool(name, x, module)
        self.in_place = self.in_place or getattr(module, "inplace", False)
        # A copy of its own for every call, so that layers which share weights can be folded one by one.
        replacement = _replacement(copy.deepcopy(module))
        if replacement is None:
            raise BitfaceError(
                f"module '{name}' is a {type(module).__name__}, which bitface doesn't know in this form; "
                "report it with this line, or export the network to ONNX"
            )
        return self.builder.add(name, replacement, x)

    def _adaptive_pool(self, name: str, x: Node, module: nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d) -> Node:
        have, size = shape_of(x)[2:], cast(Any, module.output_size)
        sides = (size, size) if isinstance(size, int) else tuple(size)
        wanted = tuple(h if w is None else w for h, w in zip(have, sides, strict=True))
        if any(h % w for h, w in zip(have, wanted, strict=True)):
            raise ShapeError(f"'{name}' pools {have} to {wanted}, which windows of one size can't do")
        height, width = (h // w for h, w in zip(have, wanted, strict=True))
        if isinstance(module, nn.AdaptiveMaxPool2d):
            return self.builder.add(name, nn.MaxPool2d((height, width)), x)
        if wanted == (1, 1):
            return self.builder.add(name, ops.ReduceMean((2, 3)), x)
        return x if wanted == have else self.builder.add(name, nn.AvgPool2d((height, width)), x)

    def _binary(self, kind: str, name: str, a: Any, b: Any) -> Node:
        return self.builder.add(name, ops.BINARY[kind](), self._node(name, a), self._node(name, b))

    def _node(self, name: str, value: Any) -> Node:
        if isinstance(value, Node):
            return value
        constant = torch.as_tensor(value, dtype=torch.float32).detach().clone()
        return self.builder.constant(name + "_constant", constant)


def _replacement(module: nn.Module) -> nn.Module | None:
    """The vocabulary's module for one of torch's, or None."""
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one
        return ops.Clip(module.min_val, module.max_val)
    if isinstance(module, nn.ConstantPad2d):
        return ops.Pad(module.padding, module.value)
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
    if getattr(module, "divisor_override", None) or getattr(module, "return_indices", False):
        return None
    if hasattr(module, "inplace"):
        module.inplace = False  # type: ignore[assignment]
    return module if ops.op_name(module) else None


def _called(node: Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


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
        raise BitfaceError(f"the network reads '.{attribute}' of a tensor (node '{name}'), which bitface doesn't know")
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


def _dims(self: _Converter, name: str, x: Node, dim: Any) -> tuple[int, ...]:
    rank = len(shape_of(x))
    dims = tuple(axis % rank for axis in ((dim,) if isinstance(dim, int) else dim or (0,)))
    if 0 in dims:
        raise BitfaceError(f"node '{name}' reduces over the batch, so one face would change another's embedding")
    return dims


def _mean(self: _Converter, name: str, x: Node, dim: Any = None, keepdim: bool = False) -> Node:
    return self.builder.add(name, ops.ReduceMean(_dims(self, name, x, dim), keepdim), x)


def _norm(self: _Converter, name: str, x: Node, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Node:
    if p not in (2, "fro"):
        raise ValueError(f"L{p} norm")
    return self.builder.add(name, ops.ReduceL2(_dims(self, name, x, dim), keepdim), x)


def _normalize(self: _Converter, name: str, x: Node, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Node:
    if p not in (1, 2) or eps > 1e-5:
        raise ValueError(f"L{p} norm with an epsilon of {eps}")
    (axis,) = _dims(self, name, x, dim)
    return self.builder.add(name, ops.Normalize(axis, int(p)), x)


def _clamp(self: _Converter, name: str, x: Node, min: Any = None, max: Any = None) -> Node:
    low, high = (-ops.UNBOUNDED if min is None else min), (ops.UNBOUNDED if max is None else max)
    return self.builder.add(name, ops.Clip(low, high), x)


def _pad(self: _Converter, name: str, x: Node, pad: Any, mode: str = "constant", value: Any = None) -> Node:
    if mode != "constant" or len(pad) not in (2, 4) or len(shape_of(x)) != 4:
        raise ValueError(f"pads {list(pad)} by {mode}")
    return self.builder.add(name, ops.Pad((*pad, 0, 0)[:4], value or 0.0), x)


def _expand(self: _Converter, name: str, x: Node, *sides: Any) -> Node:
    wanted = shape_of(sides[0]) if isinstance(sides[0], Node) else sides
    return self.builder.expand(name, x, tuple(wanted[0] if isinstance(wanted[0], tuple | list) else wanted))


def _cat(self: _Converter, name: str, parts: Any, dim: int = 0) -> Node:
    return self.builder.add(name, ops.Concat(dim % len(shape_of(parts[0]))), *parts)


def _permute(self: _Converter, name: str, x: Node, *dims: Any) -> Node:
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return self.builder.add(name, ops.Transpose(tuple(axis % len(order) for axis in order)), x)


def _transpose(self: _Converter, name: str, x: Node, first: int, second: int) -> Node:
    order = list(range(len(shape_of(x))))
    order[first], order[second] = order[second], order[first]
    return _permute(self, name, x, *order)


def _chunk(self: _Converter, name: str, x: Node, count: int, dim: int = 0) -> list[Node]:
    side = shape_of(x)[dim]
    return _split(self, name, x, -(-side // count), dim)


def _split(self: _Converter, name: str, x: Node, length: Any, dim: int = 0) -> list[Node]:
    side, start = shape_of(x)[dim], 0
    parts: list[Node] = []
    for step in [length] * -(-side // length) if isinstance(length, int) else length:
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
    """A call that is a module of its own: `F.relu(x)`."""
    return lambda self, name, x, *args, **kwargs: self._module(name, make(*args, **kwargs), x)


def _prelu(self: _Converter, name: str, x: Node, slope: Tensor) -> Node:
    module = nn.PReLU(slope.numel())
    return self.builder.add(name, ops.fill(module, weight=slope.detach()), x)


def _same(self: _Converter, name: str, x: Any, *_: Any, **__: Any) -> Any:
    return x


def _arithmetic(kind: str) -> Callable[..., Any]:
    return lambda self, name, a, b: self._binary(kind, name, a, b)


_METHODS: dict[str, Callable[..., Any]] = {
    **{word: _arithmetic(kind) for kind in ops.BINARY for word in (kind.lower(), kind.lower() + "_")},
    **dict.fromkeys(("view", "reshape"), _reshape),
    **dict.fromkeys(("contiguous", "clone", "detach", "float", "dropout"), _same),
    "flatten": _flatten, "size": _size, "getattr": _attribute, "getitem": _item, "mean": _mean,
    "normalize": _normalize, "cat": _cat, "permute": _permute, "transpose": _transpose, "chunk": _chunk,
    "split": _split, "squeeze": _squeeze, "unsqueeze": _unsqueeze, "prelu": _prelu, "norm": _norm,
    "clamp": _clamp, "pad": _pad, **dict.fromkeys(("expand", "expand_as"), _expand),
    "dim": lambda self, name, x: len(shape_of(x)),
    **dict.fromkeys(("relu", "relu_"), _apply(nn.ReLU)),
    "relu6": _apply(nn.ReLU6), "leaky_relu": _apply(nn.LeakyReLU), "sigmoid": _apply(nn.Sigmoid),
    "tanh": _apply(nn.Tanh), "hardtanh": _apply(nn.Hardtanh), "hardsigmoid": _apply(nn.Hardsigmoid),
    "hardswish": _apply(nn.Hardswish), "max_pool2d": _apply(nn.MaxPool2d), "avg_pool2d": _apply(nn.AvgPool2d),
    "adaptive_avg_pool2d": _apply(nn.AdaptiveAvgPool2d), "adaptive_max_pool2d": _apply(nn.AdaptiveMaxPool2d),
}  # fmt: skip

_F = nn.functional
_FUNCTIONS: dict[Any, str] = {
    operator.add: "add", operator.iadd: "add", torch.add: "add", operator.sub: "sub",
    torch.sub: "sub", operator.mul: "mul", operator.imul: "mul", torch.mul: "mul", operator.truediv: "div",
    torch.div: "div",
    operator.matmul: "matmul", torch.matmul: "matmul", getattr: "getattr", operator.getitem: "getitem",
    torch.reshape: "reshape", torch.flatten: "flatten", torch.mean: "mean", torch.cat: "cat",
    torch.permute: "permute", torch.transpose: "transpose", torch.chunk: "chunk", torch.split: "split",
    torch.squeeze: "squeeze", torch.unsqueeze: "unsqueeze", torch.relu: "relu", torch.sigmoid: "sigmoid",
    torch.tanh: "tanh", _F.relu: "relu", _F.relu6: "relu6", _F.leaky_relu: "leaky_relu", _F.prelu: "prelu",
    torch.prelu: "prelu", _F.sigmoid: "sigmoid", _F.tanh: "tanh", _F.hardtanh: "hardtanh",
    _F.hardsigmoid: "hardsigmoid", _F.hardswish: "hardswish", _F.max_pool2d: "max_pool2d",
    _F.avg_pool2d: "avg_pool2d", _F.adaptive_avg_pool2d: "adaptive_avg_pool2d", _F.dropout: "dropout",
    _F.normalize: "normalize", _F.adaptive_max_pool2d: "adaptive_max_pool2d", _F.dropout2d: "dropout",
    _F.pad: "pad", torch.norm: "norm", torch.clamp: "clamp",
}  # fmt: skip

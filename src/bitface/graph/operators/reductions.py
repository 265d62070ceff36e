"""Means, sums, extremes and norms over axes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import Writer, one_node
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.operators.arithmetic import Max, Min
from bitface.graph.operators.elementwise import Abs, Pow
from bitface.graph.torch_context import TorchContext


class _Reduction(nn.Module):
    """One number of all those along some axes, of which none is the batch."""

    def __init__(self, dims: tuple[int, ...], keepdim: bool = True) -> None:
        super().__init__()
        self.dims, self.keepdim = tuple(dims), keepdim


class ReduceMean(_Reduction):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims, keepdim=self.keepdim)


class ReduceSum(_Reduction):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(self.dims, keepdim=self.keepdim)


class ReduceMax(_Reduction):
    def forward(self, x: Tensor) -> Tensor:
        return x.amax(self.dims, keepdim=self.keepdim)


class ReduceMin(_Reduction):
    def forward(self, x: Tensor) -> Tensor:
        return x.amin(self.dims, keepdim=self.keepdim)


class ReduceL1(_Reduction):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs().sum(self.dims, keepdim=self.keepdim)


class ReduceL2(_Reduction):
    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum(self.dims, keepdim=self.keepdim).sqrt()


class ReduceSumSquare(_Reduction):
    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum(self.dims, keepdim=self.keepdim)


def _reader(kind: type[_Reduction]) -> OnnxReader:
    """Along no axes, where a file says that it means none, each number alone is reduced."""
    kinds: dict[type[_Reduction], Callable[[], nn.Module]]
    kinds = {ReduceL1: Abs, ReduceL2: Abs, ReduceSumSquare: partial(Pow, 2)}
    of_one = kinds.get(kind)

    def read(context: Context, x: Node, axes: Value = None) -> Node:
        dims = context.ints("axes", axes)
        if not dims and context.attribute("noop_with_empty_axes", 0):
            return x if of_one is None else context.add(of_one(), x)
        rank = len(shape_of(x))
        positive_axes = tuple(sorted(axis_of(axis, rank) for axis in dims or range(rank)))
        if 0 in positive_axes:
            context.refuse("reduces the batch")
        return context.add(kind(positive_axes, bool(context.attribute("keepdims", 1))), x)

    return OnnxReader(read)


def _read_global_average(context: Context, x: Node) -> Node:
    return context.add(ReduceMean(tuple(range(2, len(shape_of(x))))), x)


def _reduce(kind: type[_Reduction]) -> Callable[..., Node]:
    """Reads a call with the axes and whether they are kept."""

    def call(context: TorchContext, x: Node, dim: Any = None, keepdim: bool = False) -> Node:
        return context.add(kind(context.dims(x, dim), keepdim), x)

    return call


def _extreme(kind: type[_Reduction], of_two: type[nn.Module]) -> Callable[..., Any]:
    """Reads `torch.max` and its like: of two tensors, or along an axis, which gives the places, too."""

    def call(context: TorchContext, x: Any, dim: Any = None, keepdim: bool = False, other: Any = None) -> Any:
        if other is not None or isinstance(dim, Node | Tensor):
            second = dim if other is None else other
            return context.add(of_two(), context.node_of(x), context.node_of(second))
        return [context.add(kind(context.dims(x, dim), keepdim), x)]

    return call


def _call_norm(context: TorchContext, x: Node, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Node:
    kinds = {1: ReduceL1, 2: ReduceL2, "fro": ReduceL2}
    if p not in kinds:
        raise ValueError(f"L{p} norm")
    return context.add(kinds[p](context.dims(x, dim), keepdim), x)


def _call_vector_norm(context: TorchContext, x: Node, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Node:
    return _call_norm(context, x, ord, dim, keepdim)


def _attributes(module: Any) -> dict[str, Any]:
    return {"axes": list(module.dims), "keepdims": int(module.keepdim)}


def _write_sum(writer: Writer, node: Node, module: _Reduction, inputs: list[str]) -> str:
    """Its axes became an input ahead of the others'."""
    axes = writer.constant(f"{node.target}.axes", np.array(module.dims))
    return writer.op("ReduceSum", [*inputs, axes], str(node.target), keepdims=int(module.keepdim))


def _write_l1(writer: Writer, node: Node, module: ReduceL1, inputs: list[str]) -> str:
    """In parts, as OpenVINO reduces a ReduceL1 over all axes where they are an attribute."""
    return _write_sum(writer, node, module, [writer.op("Abs", inputs, f"{node.target}_absolute")])


def _register(
    kind: type[_Reduction],
    traits: Traits,
    torch_calls: Mapping[Any, Callable[..., Any]],
    *,
    write: Callable[..., str] | None = None,
    onnx: Mapping[str, OnnxReader] | None = None,
) -> None:
    name = kind.__name__
    register(
        OpSpec(
            name,
            kind,
            onnx={name: _reader(kind), **(onnx or {})},
            torch_calls=torch_calls,
            write=write or one_node(name, _attributes),
            traits=lambda module: replace(traits, channels="reduced" if 1 in module.dims else "kept"),
        )
    )


_register(
    ReduceMean,
    Traits(keeps_sign=True),
    dict.fromkeys(("mean", torch.mean), _reduce(ReduceMean)),
    onnx={"GlobalAveragePool": OnnxReader(_read_global_average)},
)
_register(ReduceSum, Traits(keeps_sign=True), dict.fromkeys(("sum", torch.sum), _reduce(ReduceSum)), write=_write_sum)
_register(
    ReduceMax,
    Traits(keeps_sign=True, keeps_levels=True),
    {
        **dict.fromkeys(("amax", torch.amax), _reduce(ReduceMax)),
        **dict.fromkeys(("max", torch.max, "maximum", torch.maximum), _extreme(ReduceMax, Max)),
    },
)
_register(
    ReduceMin,
    Traits(keeps_sign=True, keeps_levels=True),
    {
        **dict.fromkeys(("amin", torch.amin), _reduce(ReduceMin)),
        **dict.fromkeys(("min", torch.min, "minimum", torch.minimum), _extreme(ReduceMin, Min)),
    },
)
_register(ReduceL1, Traits(never_negative=True), {}, write=_write_l1)
_register(
    ReduceL2,
    Traits(never_negative=True),
    {**dict.fromkeys(("norm", torch.norm), _call_norm), torch.linalg.vector_norm: _call_vector_norm},
)
_register(ReduceSumSquare, Traits(never_negative=True), {})

"""Means and norms over axes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import one_node
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.torch_context import TorchContext


class ReduceMean(nn.Module):
    def __init__(self, dims: tuple[int, ...], keepdim: bool = True) -> None:
        super().__init__()
        self.dims, self.keepdim = tuple(dims), keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims, keepdim=self.keepdim)


class ReduceL2(nn.Module):
    def __init__(self, dims: tuple[int, ...], keepdim: bool = True) -> None:
        super().__init__()
        self.dims, self.keepdim = tuple(dims), keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum(self.dims, keepdim=self.keepdim).sqrt()


def _read(context: Context, x: Node, axes: Value = None) -> Node:
    dims = context.ints("axes", axes)
    rank = len(shape_of(x))
    chosen = tuple(sorted(axis_of(axis, rank) for axis in dims or range(rank)))
    if 0 in chosen:
        context.refuse("reduces the batch")
    kind = ReduceMean if context.node.op_type == "ReduceMean" else ReduceL2
    return context.add(kind(chosen, bool(context.attribute("keepdims", 1))), x)


def _read_global_average(context: Context, x: Node) -> Node:
    return context.add(ReduceMean(tuple(range(2, len(shape_of(x))))), x)


def _call_mean(context: TorchContext, x: Node, dim: Any = None, keepdim: bool = False) -> Node:
    return context.add(ReduceMean(context.dims(x, dim), keepdim), x)


def _call_norm(context: TorchContext, x: Node, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Node:
    if p not in (2, "fro"):
        raise ValueError(f"L{p} norm")
    return context.add(ReduceL2(context.dims(x, dim), keepdim), x)


def _attributes(module: Any) -> dict[str, Any]:
    return {"axes": list(module.dims), "keepdims": int(module.keepdim)}


register(
    OpSpec(
        "ReduceMean",
        ReduceMean,
        onnx={"ReduceMean": OnnxReader(_read), "GlobalAveragePool": OnnxReader(_read_global_average)},
        torch_calls=dict.fromkeys(("mean", torch.mean), _call_mean),
        write=one_node("ReduceMean", _attributes),
        traits=lambda module: Traits(keeps_sign=True, channels="reduced" if 1 in module.dims else "kept"),
    )
)
register(
    OpSpec(
        "ReduceL2",
        ReduceL2,
        onnx={"ReduceL2": OnnxReader(_read)},
        torch_calls=dict.fromkeys(("norm", torch.norm), _call_norm),
        write=one_node("ReduceL2", _attributes),
        traits=lambda module: Traits(never_negative=True, channels="reduced" if 1 in module.dims else "kept"),
    )
)

"""The product of two tensors that both depend on the image; one with a constant matrix is a linear layer."""

import operator

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import one_node
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.operators.arithmetic import call_binary, read_binary
from bitface.graph.operators.linear import linear, multiply_adds


class MatMul(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b


def _read(context: Context, a: Value, b: Value) -> Node:
    if isinstance(a, Node) and not isinstance(b, Node) and np.ndim(b) == 2:
        return linear(context, a, b.T, None)
    return read_binary(MatMul)(context, a, b)


register(
    OpSpec(
        "MatMul",
        MatMul,
        onnx={"MatMul": OnnxReader(_read)},
        torch_calls=dict.fromkeys(("matmul", "bmm", operator.matmul, torch.matmul, torch.bmm), call_binary(MatMul)),
        write=one_node("MatMul"),
        multiply_adds=multiply_adds,
        traits=Traits(arithmetic=True),
    )
)

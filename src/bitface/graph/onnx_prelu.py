"""PReLU for ONNX Runtime, which has no integer kernel for it and a slow one in float."""

import numpy as np
import torch
from torch import nn
from torch.fx import Node

from bitface.graph import onnx_writer
from bitface.graph.builder import shape_of
from bitface.graph.integer import IntegerConv2d, IntegerLinear, QuantizeDequantize


def emit(writer: "onnx_writer.Writer", node: Node, module: nn.Module, sources: list[str]) -> str | None:
    return None

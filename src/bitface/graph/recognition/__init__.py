"""Operators written in parts become the operators that they are: rectifiers, curves such as GELU, norms.

Exporters take apart what ONNX has no operator for, or had none for in the opset they write, and authors write what
they like. Whole, an operator is quantized as one, and engines have a kernel for it. A graph as it was read goes in; the
same function comes out.
"""

import torch
from torch.fx import GraphModule

from bitface.graph.builder import tidy
from bitface.graph.recognition.norms import recognise_norms
from bitface.graph.recognition.rectifiers import merge_limits, recognise_rectifiers
from bitface.graph.recognition.stretches import recognise_stretches


def recognise(graph: GraphModule) -> GraphModule:
    """The same function, in place, with every operator whole that was written in parts."""
    with torch.no_grad():
        merge_limits(graph)
        recognise_rectifiers(graph)
        recognise_stretches(graph)
        recognise_norms(graph)
    return tidy(graph)

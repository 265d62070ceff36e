"""GELU, `x · Φ(x)` (Hendrycks and Gimpel, 2016), and its approximation by tanh.

It is written in the operators of opset 17, which has none of its own; engines know the pattern.
"""

from math import pi, sqrt

from torch import nn
from torch.fx import Node

from bitface.graph.onnx_context import Context
from bitface.graph.onnx_writer import Writer
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.torch_context import call_module

# Of the approximation: tanh(√(2/π) · (x + CUBIC · x³)).
CUBIC = 0.044715


def _read(context: Context, x: Node) -> Node:
    return context.add(nn.GELU(context.attribute("approximate", "none")), x)


def _write(writer: Writer, node: Node, module: nn.GELU, inputs: list[str]) -> str:
    name, x = str(node.target), inputs[0]
    if module.approximate == "none":
        curve = writer.op("Erf", [writer.op("Div", [x, writer.number(sqrt(2))], name + "_by")], name + "_erf")
    else:
        cube = writer.op("Pow", [x, writer.number(3.0)], name + "_cube")
        bent = writer.op("Mul", [cube, writer.number(CUBIC)], name + "_bent")
        inner = writer.op(
            "Mul", [writer.op("Add", [x, bent], name + "_sum"), writer.number(sqrt(2 / pi))], name + "_by"
        )
        curve = writer.op("Tanh", [inner], name + "_tanh")
    shifted = writer.op("Add", [curve, writer.number(1.0)], name + "_shifted")
    return writer.op("Mul", [writer.op("Mul", [x, shifted], name + "_doubled"), writer.number(0.5)], name)


register(
    OpSpec(
        "Gelu",
        nn.GELU,
        onnx={"Gelu": OnnxReader(_read, elementwise=True)},
        torch_calls={nn.functional.gelu: call_module(nn.GELU)},
        write=_write,
        traits=Traits(activation=True, in_float="a curve, for which engines have no integer kernel", channels="kept"),
    )
)

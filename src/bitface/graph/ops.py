"""The modules of the vocabulary that the rest of the program names, and what it asks of any.

An operator that nothing names needs no line here.
"""

from torch import nn

from bitface.graph.attributes import UNBOUNDED, attributes, construct, fill, tensor
from bitface.graph.op_spec import op_name, rebuild, traits_of, vocabulary
from bitface.graph.operators.activations import HardSigmoid
from bitface.graph.operators.arithmetic import Add, Div, Mul, Round, Sub
from bitface.graph.operators.concat import Concat
from bitface.graph.operators.matmul import MatMul
from bitface.graph.operators.normalization import NORMS, ChannelAffine, Normalize
from bitface.graph.operators.padding import Pad
from bitface.graph.operators.rectifiers import Clip
from bitface.graph.operators.reductions import ReduceL2, ReduceMean
from bitface.graph.operators.views import Reshape, Slice, Transpose

LAYERS = (nn.Conv2d, nn.Linear)

__all__ = [
    "LAYERS", "NORMS", "UNBOUNDED", "Add", "ChannelAffine", "Clip", "Concat", "Div", "HardSigmoid", "MatMul", "Mul",
    "Normalize", "Pad", "ReduceL2", "ReduceMean", "Reshape", "Round", "Slice", "Sub", "Transpose", "attributes",
    "construct", "fill", "op_name", "rebuild", "tensor", "traits_of", "vocabulary",
]  # fmt: skip

"""Computes the nodes of constants: what they will take is known, and bounded, before any of them is computed.

An operator is computed only where a rule tells from what it reads how many numbers it gives, and what work that is;
the computing itself is done by ONNX's reference implementation.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import onnx
import onnx.reference

from bitface.errors import BitfaceError
from bitface.graph.onnx_context import Context, axis_of, one_image
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_limits import FORMS, MORE

# Of a multiplication and addition of the BLAS, some tenths of a second.
_STEPS = 8 << 30
# What onnx's reference implementation takes for one number, in such steps: where numpy does it, in types that the BLAS
# doesn't have, and where Python does.
_NUMPY, _ODD, _PYTHON = 64, 16, 4096
# Of these the reference implementation lacks the older forms or has them wrong; the form of this opset is one of which
# they are a part.
_FOLDED_AS_IN = {"DequantizeLinear": 19, "BatchNormalization": 15}


# Since then along one axis; before, along all axes from one on, which the reference implementation doesn't know.
_ALONG_AN_AXIS, _ONE_AXIS = ("Softmax", "LogSoftmax", "Hardmax"), 13


@dataclass(frozen=True)
class Cost:
    """What a node of constants takes: the numbers that it gives, and the work."""

    numbers: int
    steps: int = 0


Rule = Callable[..., Cost]


class Folding:
    """Computes nodes of constants until the whole of it passes what a network can need.

    Args:
        opset: of the file.
        numbers: that the file's own constants have.
    """

    def __init__(self, opset: int, numbers: int) -> None:
        self.opset = opset
        self._numbers = MORE + FORMS * numbers
        self._steps = _STEPS

    def results(self, context: Context, operands: Sequence[Value]) -> list[Value]:
        """What the node at hand gives for constants: an array, or None for an output without a name, each.

        Raises:
            BitfaceError: it isn't known what that takes, or it is more than a network can need.
        """
        kind = context.node.op_type
        rule = _RULES.get(kind)
        if rule is None:
            raise BitfaceError(
                f"node '{context.name}' ({kind}) is computed from constants alone, and bitface doesn't compute it; run "
                "the file through a simplifier (onnxsim) first"
            )
        operands = one_image(kind, operands)
        self._spend(context, rule(context, *operands))
        opset = max(self.opset, _FOLDED_AS_IN.get(kind, 0))
        if kind in _ALONG_AN_AXIS and opset < _ONE_AXIS:
            results = _along_the_rest(context, *operands)
        elif kind == "LpNormalization" and context.attribute("p", 2) == 1:
            results = _divided_by_l1(context, *operands)
        else:
            results = _computed(context.node, operands, opset)
        if any(result is not None and result.dtype.kind in "OSU" for result in results):
            context.refuse("holds text")
        if kind == "Constant":
            self._numbers += FORMS * sum(map(_size, results))
        return results

    def _spend(self, context: Context, cost: Cost) -> None:
        self._numbers -= cost.numbers
        self._steps -= max(cost.steps, _NUMPY * cost.numbers)
        if min(self._numbers, self._steps) < 0:
            amount = f"{cost.numbers:,} numbers" if self._numbers < 0 else f"{cost.steps:,} steps"
            raise BitfaceError(
                f"node '{context.name}' ({context.node.op_type}) would compute {amount} from constants, more than a "
                "face network needs; export the network without it"
            )


def _computed(node: onnx.NodeProto, operands: Sequence[Value], opset: int) -> list[Value]:
    """By ONNX's own reference implementation."""
    outputs = [name for name in node.output if name]
    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(filter(None, node.input))],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    feeds = {name: value for name, value in zip(node.input, operands, strict=True) if name}
    with np.errstate(all="ignore"):  # what isn't finite is refused by name later
        results = onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    by_name = dict(zip(outputs, results, strict=True))
    return [np.asarray(by_name[name]) if name else None for name in node.output]


def _along_the_rest(context: Context, x: Value) -> list[Value]:
    """What is compared along one axis, and all behind it."""
    array, node = np.asarray(x), context.node
    first = axis_of(context.attribute("axis", 1), array.ndim)
    rows = array.reshape(math.prod(array.shape[:first]), math.prod(array.shape[first:]))
    along = onnx.helper.make_node(node.op_type, node.input, node.output, axis=1)
    (result,) = _computed(along, [rows], _ONE_AXIS)
    return [np.reshape(result, array.shape)]


def _divided_by_l1(context: Context, x: Value) -> list[Value]:
    """By sums of absolute values, which the reference implementation doesn't take; what has none stays zero."""
    array = np.asarray(x)
    norm = np.abs(array).sum(context.attribute("axis", -1), keepdims=True)
    return [array / np.where(norm == 0, norm.dtype.type(1), norm)]


def _size(operand: Value) -> int:
    return int(np.size(operand)) if operand is not None else 0


def _sides(shape: Sequence[int]) -> int:
    return math.prod(max(int(side), 0) for side in shape)


def _broadcast(*shapes: Sequence[int]) -> int:
    """Numbers of what these shapes give together, or more."""
    return _sides([max(sides) for sides in zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)])


def _as_read(context: Context, *operands: Value) -> Cost:
    """Of operators that give as many numbers as they read, or fewer."""
    return Cost(sum(map(_size, operands)))


def _from_attributes(context: Context) -> Cost:
    if context.attribute("sparse_value") is not None:
        context.refuse("holds a sparse tensor")
    return Cost(0)


def _cast(context: Context, x: Value) -> Cost:
    if context.attribute("to") == onnx.TensorProto.STRING:
        context.refuse("makes text of numbers")
    return Cost(_size(x))


def _nothing(context: Context, *operands: Value) -> Cost:
    """Of operators that give a view, or only a few numbers."""
    return Cost(0)


def _elementwise(context: Context, *operands: Value) -> Cost:
    return Cost(_broadcast(*(np.shape(operand) for operand in operands if operand is not None)))


def _by_python(rule: Rule) -> Rule:
    def slow(context: Context, *operands: Value) -> Cost:
        numbers = rule(context, *operands).numbers
        return Cost(numbers, _PYTHON * numbers)

    return slow


def _tile(context: Context, x: Value, repeats: Value, *rest: Value) -> Cost:
    counts = [max(int(count), 0) for count in np.reshape(repeats, -1)]
    return Cost(_size(x) * math.prod(counts) if len(counts) == np.ndim(x) else _size(x) * max(counts, default=1))


def _range(context: Context, start: Value, limit: Value, delta: Value) -> Cost:
    first, last, step = (float(np.reshape(value, -1)[0]) for value in (start, limit, delta))
    count = (last - first) / step if step else 0.0
    return Cost(int(min(max(count, 0.0), 2.0**60)) + 1 if not math.isnan(count) else 1)


def _pad(context: Context, x: Value, pads: Value = None, fill: Value = None, axes: Value = None) -> Cost:
    rank = np.ndim(x)
    amounts = context.ints("pads", pads) or context.attribute("paddings") or []
    dims = [axis_of(axis, rank) for axis in (context.ints("axes", axes) or range(rank))]
    sides = list(np.shape(x))
    for place, axis in enumerate(dims):
        sides[axis] += amounts[place] + amounts[place + len(dims)]
    return Cost(max(_sides(sides), _size(x)))


def _resize(context: Context, x: Value, *inputs: Value) -> Cost:
    """Scales stand in the operator's attribute, or are its second or third input; sizes are its fourth."""
    sides, axes = list(np.shape(x)), context.attribute("axes") or range(np.ndim(x))
    sizes = inputs[2] if len(inputs) > 2 else None
    scales = inputs[0] if len(inputs) == 1 else inputs[1] if len(inputs) > 1 else context.attribute("scales")
    sizes = None if sizes is None else np.reshape(sizes, -1).tolist()
    factors = [] if scales is None else np.reshape(scales, -1).tolist()
    aligned = context.attribute("coordinate_transformation_mode") == "align_corners"
    for place, axis in enumerate(axes):
        if sizes:
            # Where the form is to be kept, one side's factor is the other's.
            factor = max(size / max(np.shape(x)[one], 1) for one, size in zip(axes, sizes, strict=True))
            sides[axis] = max(sizes[place], math.ceil(min(factor, 2.0**30) * np.shape(x)[axis]))
        elif factors:
            if aligned and factors[place] * np.shape(x)[axis] % 1:  # where the reference implementation places others
                context.refuse("resizes constants to a part of a pixel")
            sides[axis] = math.ceil(min(max(factors[place], 0.0), 2.0**30) * np.shape(x)[axis])
    return Cost(_sides(sides), _PYTHON * _sides(sides))


def _one_hot(context: Context, indices: Value, depth: Value, values: Value) -> Cost:
    return Cost(_size(indices) * max(int(np.reshape(depth, -1)[0]), 0))


def _gather(context: Context, x: Value, indices: Value) -> Cost:
    side = np.shape(x)[axis_of(context.attribute("axis", 0), np.ndim(x))]
    return Cost(_size(x) // max(side, 1) * _size(indices))


def _gather_nd(context: Context, x: Value, indices: Value) -> Cost:
    batch, depth = context.attribute("batch_dims", 0), np.shape(indices)[-1]
    numbers = _size(indices) // max(depth, 1) * _sides(np.shape(x)[batch + depth :])
    return Cost(numbers, _PYTHON * numbers)


def _product_steps(numbers: int, *operands: Value) -> int:
    blas = all(np.asarray(operand).dtype in (np.float32, np.float64) for operand in operands)
    return numbers if blas else _ODD * numbers


def _matmul(context: Context, a: Value, b: Value, *points: Value) -> Cost:
    rows, columns = (np.shape(a)[-2:-1] or (1,))[0], (np.shape(b) if np.ndim(b) > 1 else (1,))[-1]
    numbers = _broadcast(np.shape(a)[:-2], np.shape(b)[:-2]) * rows * columns
    return Cost(numbers, _product_steps(numbers * np.shape(a)[-1], a, b))


def _gemm(context: Context, a: Value, b: Value, bias: Value = None) -> Cost:
    (rows, inner), columns = np.shape(a), np.shape(b)[0 if context.attribute("transB", 0) else 1]
    if context.attribute("transA", 0):
        rows, inner = inner, rows
    return Cost(rows * columns, _product_steps(rows * columns * inner, a, b))


def _einsum(context: Context, *operands: Value) -> Cost:
    """Its work is the product of all sides; its result has those named behind the arrow."""
    equation = "".join(context.attribute("equation").split())
    terms, arrow, result = equation.partition("->")
    if "." in equation or not arrow:
        numbers = math.prod(map(_size, operands))
        return Cost(numbers, _ODD * numbers)
    sides = {
        letter: side
        for term, operand in zip(terms.split(","), operands, strict=True)
        for letter, side in zip(term, np.shape(operand), strict=True)
    }
    return Cost(_sides([sides[letter] for letter in result]), _ODD * _sides(list(sides.values())))


_ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu Clip
    Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN
    LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or Pow PRelu Reciprocal Relu Round Selu Shrink
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
"""
_SAME_OR_FEWER = """
    ArgMax ArgMin BatchNormalization Concat CumSum DepthToSpace DequantizeLinear Dropout EyeLike Flatten GatherElements
    GlobalAveragePool GlobalMaxPool GroupNormalization Hardmax InstanceNormalization LayerNormalization LogSoftmax
    LpNormalization MeanVarianceNormalization QuantizeLinear ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Reshape RMSNormalization Slice Softmax SpaceToDepth Split
    TopK Trilu
"""
_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(_SAME_OR_FEWER.split(), _as_read),
    **dict.fromkeys(("Squeeze", "Unsqueeze", "Transpose", "Shape", "Size"), _nothing),
    **dict.fromkeys(("ScatterElements", "ScatterND"), _by_python(_as_read)),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    **dict.fromkeys(("MatMul", "MatMulInteger"), _matmul),
    "Cast": _cast,
    "ConstantOfShape": lambda context, shape: Cost(_sides(np.reshape(shape, -1).tolist())),
    "Expand": lambda context, x, shape: Cost(_broadcast(np.shape(x), np.reshape(shape, -1).tolist())),
    "Constant": _from_attributes,
    "NonZero": lambda context, x: Cost(_size(x) * max(np.ndim(x), 1)),
    "Tile": _tile,
    "Range": _range,
    "Pad": _pad,
    "OneHot": _one_hot,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "Einsum": _einsum,
}

"""Operators on single numbers and on two tensors, and activations."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import Node

from bitface.graph import ops
from bitface.graph.builder import shape_of
from bitface.targets.litert.schema import DIFFERENCE, PRODUCT, QUOTIENT, SUM, Op, Options, Type, cast, gelu, leaky
from bitface.targets.litert.writer import Levels, Operand, Value, Write, Writer

_OPTIONS = {Op.ADD: SUM, Op.SUB: DIFFERENCE, Op.MUL: PRODUCT, Op.DIV: QUOTIENT}
_INTEGER_KERNELS = frozenset({Op.ADD, Op.SUB, Op.MUL})


class Floats:
    """Arithmetic in float on a tensor, step by step, for operators that are written in parts."""

    def __init__(self, writer: Writer, name: str) -> None:
        self._writer, self._name, self._steps = writer, name, 0

    def one(self, op: Op, x: Value, options: Options | None = None) -> Value:
        return self._writer.op(op, self._step(), [x], like=x, options=options)

    def two(self, op: Op, a: Operand | float, b: Operand | float) -> Value:
        """An operator on tensors, constants and numbers; the shape of the result is that of both, broadcast."""
        operands = [np.float32(one) if isinstance(one, float | int) else one for one in (a, b)]
        left, right = self._writer.alike(*operands)
        shape = np.broadcast_shapes(left.shape, right.shape)
        image = left.image or right.image
        like = Value(-1, shape, (shape[1], shape[2], shape[3]) if image and len(shape) == 4 else image)
        return self._writer.op(op, self._step(), [left, right], like=like, options=_OPTIONS.get(op))

    def _step(self) -> str:
        self._steps += 1
        return f"{self._name}_{self._steps}"


def binary(op: Op) -> Write:
    """An operator on two tensors: in integers between quantizers, where it has such a kernel."""

    def write(writer: Writer, node: Node, module: nn.Module, inputs: list[Operand]) -> Value:
        levels = writer.levels_of(node)
        kinds = {one.levels.element if isinstance(one, Value) and one.levels else None for one in inputs}
        if op in _INTEGER_KERNELS and levels is not None and kinds == {levels.element}:
            a, b = writer.alike(*inputs)
            shape = (1, *shape_of(node)[1:])
            image = (shape[1], shape[2], shape[3]) if a.image and len(shape) == 4 else a.image
            like = Value(-1, shape, image)
            total = writer.op(op, str(node.target), [a, b], like, writer.whole(levels), _OPTIONS[op])
            return writer.limited(total, levels)
        floats = [writer.floats(one) if isinstance(one, Value) else one for one in inputs]
        return Floats(writer, str(node.target)).two(op, *floats)

    return write


def unary(op: Op, options: Options | None = None) -> Write:
    return in_floats(lambda step, module, x: step.one(op, x, options))


def in_floats(compute: Callable[[Floats, Any, Value], Value]) -> Write:
    """An operator on one tensor that is computed in float, in parts."""

    def write(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
        return compute(Floats(writer, str(node.target)), module, writer.floats(inputs[0]))

    return write


def _limit(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    """ReLU and Clip: of integers that stay the same levels as limits of integers."""
    x, name = inputs[0], str(node.target)
    low, high = (0.0, math.inf) if isinstance(module, nn.ReLU) else (module.low, module.high)
    if x.levels is not None and (isinstance(module, nn.ReLU) or writer.levels_of(node) == x.levels):
        bounds = [int(x.levels.place(bound)) for bound in (low, min(high, float(np.finfo(np.float32).max)))]
        limits = Levels(x.levels.scale, x.levels.zero_point, x.levels.element, bounds[0], bounds[1])
        limited = writer.limited(Value(x.tensor, x.shape, x.image, writer.whole(limits)), limits)
        return Value(limited.tensor, x.shape, x.image, x.levels)
    step, x = Floats(writer, name), writer.floats(x)
    if isinstance(module, nn.ReLU):
        return step.one(Op.RELU, x)
    if low > -ops.UNBOUNDED:
        x = step.two(Op.MAXIMUM, x, low)
    return step.two(Op.MINIMUM, x, high) if high < ops.UNBOUNDED else x


def _prelu(writer: Writer, node: Node, module: nn.PReLU, inputs: list[Operand]) -> Value:
    x, slope, name = writer.floats(inputs[0]), module.weight.detach(), str(node.target)
    if slope.numel() == 1:
        return writer.op(Op.LEAKY_RELU, name, [x], like=x, options=leaky(slope.item()))
    x = writer.channels_last(x) if len(x.shape) == 4 else writer.plain(x)
    row = slope.numpy() if x.image or len(x.shape) == 2 else slope.numpy().reshape(-1, *[1] * (len(x.shape) - 2))
    slopes = writer.file.constant("slope", row.reshape(*[1] * (len(x.shape) - 1 - row.ndim), *row.shape))
    return writer.op(Op.PRELU, name, [x, slopes], like=x)


def _affine(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    """One number per channel: a BatchNorm or what remains of one."""
    x = writer.floats(inputs[0])
    scale, shift = _scale_and_shift(module)
    row = (1, -1) + (1,) * (len(x.shape) - 2)
    step = Floats(writer, str(node.target))
    return step.two(Op.ADD, step.two(Op.MUL, x, scale.reshape(row)), shift.reshape(row))


def _scale_and_shift(module: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(module, ops.ChannelAffine):
        return module.scale.detach().numpy(), module.shift.detach().numpy()
    with torch.no_grad():
        scale = module.weight.double() / (module.running_var.double() + module.eps).sqrt()
        shift = module.bias.double() - module.running_mean.double() * scale
    return scale.float().numpy(), shift.float().numpy()


def _elu(step: Floats, x: Value, alpha: float, gamma: float = 1.0, divide: float = 1.0) -> Value:
    """`gamma · (max(x, 0) + alpha · (exp(min(x, 0) / divide) - 1))`."""
    below = step.one(Op.ELU, step.two(Op.MUL, step.two(Op.MINIMUM, x, 0.0), 1 / divide))
    total = step.two(Op.ADD, step.one(Op.RELU, x), step.two(Op.MUL, below, float(alpha)))
    return total if gamma == 1 else step.two(Op.MUL, total, float(gamma))


def _softplus(step: Floats, x: Value, beta: float = 1.0) -> Value:
    """`log(1 + exp(beta · x)) / beta`, without exponentials of large numbers."""
    x = x if beta == 1 else step.two(Op.MUL, x, float(beta))
    small = step.one(Op.EXP, step.one(Op.NEG, step.one(Op.ABS, x)))
    curve = step.two(Op.ADD, step.one(Op.RELU, x), step.one(Op.LOG, step.two(Op.ADD, small, 1.0)))
    return curve if beta == 1 else step.two(Op.MUL, curve, 1 / float(beta))


def _hard_sigmoid(step: Floats, module: Any, x: Value) -> Value:
    line = step.two(Op.ADD, step.two(Op.MUL, x, float(module.alpha)), float(module.beta))
    return step.two(Op.MINIMUM, step.two(Op.MAXIMUM, line, 0.0), 1.0)


def _power(step: Floats, module: Any, x: Value) -> Value:
    return step.two(Op.MUL, x, x) if module.exponent == 2 else step.two(Op.POW, x, module.exponent)


def _truth(writer: Writer, name: str, op: Op, a: Operand, b: Operand) -> Value:
    """A comparison, as a tensor of truths, which only what is written behind it may read."""
    left, right = writer.alike(*(writer.floats(one) if isinstance(one, Value) else one for one in (a, b)))
    shape = np.broadcast_shapes(left.shape, right.shape)
    image = left.image or right.image
    image = (shape[1], shape[2], shape[3]) if image and len(shape) == 4 else image
    like = Value(-1, shape, image)
    truth = Value(writer.file.tensor(name, like.sides, Type.BOOL), shape, image)
    writer.file.operator(op, 1, [left.tensor, right.tensor], truth.tensor)
    return truth


_RELATIONS = {
    "Equal": Op.EQUAL,
    "Greater": Op.GREATER,
    "GreaterOrEqual": Op.GREATER_EQUAL,
    "Less": Op.LESS,
    "LessOrEqual": Op.LESS_EQUAL,
}


def _compare(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    name = str(node.target)
    truth = _truth(writer, f"{name}_truth", _RELATIONS[module.relation], *inputs)
    return writer.op(Op.CAST, name, [truth], like=truth, options=cast(Type.BOOL, Type.FLOAT32))


def _where(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    name, shape = str(node.target), (1, *shape_of(node)[1:])
    condition, *others = [writer.plain(writer.floats(x)) if isinstance(x, Value) else x for x in inputs]
    zero = np.zeros((1,) * len(shape), np.float32)
    if not isinstance(condition, Value):
        condition = writer.constant(condition)
    truth = writer.plain(_truth(writer, f"{name}_truth", Op.NOT_EQUAL, condition, zero))
    values = [one if isinstance(one, Value) else writer.constant(one) for one in others]
    return writer.op(Op.SELECT_V2, name, [truth, *values], like=Value(-1, shape))


def _thresholded(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    x, name = writer.floats(inputs[0]), str(node.target)
    truth = _truth(writer, f"{name}_truth", Op.GREATER, x, np.float32(module.alpha))
    return writer.op(Op.SELECT_V2, name, [truth, x, writer.constant(np.zeros(1))], like=x)


WRITERS: dict[str, Write] = {
    "Add": binary(Op.ADD),
    "Sub": binary(Op.SUB),
    "Mul": binary(Op.MUL),
    "Div": binary(Op.DIV),
    "Max": binary(Op.MAXIMUM),
    "Min": binary(Op.MINIMUM),
    "Relu": _limit,
    "Clip": _limit,
    "PRelu": _prelu,
    # Its integer kernels round twice.
    "LeakyRelu": in_floats(lambda step, module, x: step.one(Op.LEAKY_RELU, x, leaky(module.negative_slope))),
    **dict.fromkeys(("BatchNorm", "BatchNorm1d", "ChannelAffine"), _affine),
    "Sigmoid": unary(Op.LOGISTIC),
    "Tanh": unary(Op.TANH),
    "HardSigmoid": in_floats(_hard_sigmoid),
    "HardSwish": unary(Op.HARD_SWISH),
    "Silu": in_floats(lambda step, module, x: step.two(Op.MUL, x, step.one(Op.LOGISTIC, x))),
    "Mish": in_floats(lambda step, module, x: step.two(Op.MUL, x, step.one(Op.TANH, _softplus(step, x)))),
    "Softplus": in_floats(lambda step, module, x: _softplus(step, x, module.beta)),
    "Softsign": in_floats(lambda step, module, x: step.two(Op.DIV, x, step.two(Op.ADD, step.one(Op.ABS, x), 1.0))),
    "Elu": in_floats(lambda step, module, x: _elu(step, x, module.alpha)),
    "Celu": in_floats(lambda step, module, x: _elu(step, x, module.alpha, divide=module.alpha)),
    "Selu": in_floats(lambda step, module, x: _elu(step, x, module.alpha, module.gamma)),
    "Gelu": in_floats(lambda step, module, x: step.one(Op.GELU, x, gelu(module.approximate != "none"))),
    "ThresholdedRelu": _thresholded,
    "Neg": unary(Op.NEG),
    "Abs": unary(Op.ABS),
    "Sqrt": unary(Op.SQRT),
    "Reciprocal": in_floats(lambda step, module, x: step.two(Op.DIV, 1.0, x)),
    "Exp": unary(Op.EXP),
    "Log": unary(Op.LOG),
    "Pow": in_floats(_power),
    "Round": unary(Op.ROUND),
    "Compare": _compare,
    "Where": _where,
}

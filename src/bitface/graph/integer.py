"""Integer arithmetic as modules: what a quantized student is made of once its numbers are fixed.

They compute in float32 what an integer engine computes in integers, from the same integers and the same scales, so a
graph of them is at once the simulation, the content of the artifact and the source of every export.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def limits(bits: int, signed: bool) -> tuple[int, int]:
    """The smallest and the largest integer of a width of 1 to 8 bits, or of 16. Raises ValueError for another one.

    One bit is signed and holds -1 and 1, with nothing in between.
    """
    if type(signed) is not bool or bits not in (*range(1 if signed else 2, 9), 16):
        raise ValueError(f"bits must be 2 to 8 or 16, or 1 and signed, not {bits}")
    if bits == 1:
        return -1, 1
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def _is_scale(value: float) -> bool:
    """Whether a number is a positive float32, neither denormal nor infinite."""
    return torch.finfo(torch.float32).tiny <= value <= torch.finfo(torch.float32).max


def _pair(sides: Sequence[int], least: int) -> tuple[int, int]:
    """Two numbers as a tuple, even where a list comes in: equal layers have equal attributes."""
    height, width = sides
    if type(height) is not int or type(width) is not int or min(height, width) < least:
        raise ValueError(f"{sides} isn't two numbers from {least}")
    return height, width


class QuantizeDequantize(nn.Module):
    """Rounds activations to the integers that an engine holds, and gives back the numbers they stand for.

    `q = clip(round(x / scale) + zero_point)`, half to even as in ONNX QuantizeLinear; the result is
    `(q - zero_point) · scale`. One scale for the tensor.
    """

    def __init__(self, scale: float, zero_point: int, bits: int, signed: bool) -> None:
        super().__init__()
        low, high = limits(bits, signed)
        if bits == 1:
            raise ValueError("activations have 2 bits at least")
        if not _is_scale(scale) or type(zero_point) is not int or not low <= zero_point <= high:
            raise ValueError(f"scale {scale} and zero point {zero_point} don't fit into {bits} bits")
        self.scale, self.zero_point, self.bits, self.signed = scale, zero_point, bits, signed

    def integers(self, x: Tensor) -> Tensor:
        low, high = limits(self.bits, self.signed)
        return (torch.round(x / self.scale) + self.zero_point).clamp(low, high)

    def forward(self, x: Tensor) -> Tensor:
        return (self.integers(x) - self.zero_point) * self.scale

    def extra_repr(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}, scale={self.scale:.6g}, zero_point={self.zero_point}"


@dataclass(frozen=True)
class Window:
    """How the window of a convolution goes over its map, (height, width) each."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class LayerIntegers:
    """What the integers of a layer are.

    Attributes:
        bias: whether there is one.
        bits: of the weights, 1 to 8.
        input_scale: of the layer's quantized input; 0 means a float input.
        per_channel: one scale for each output channel, otherwise one in all.
        asymmetric: the weights have zero points.
        output_scale, output_zero_point: of the layer's own output, in uint8, for engines that must round it before an
            activation they can't fuse; scale 0: not measured.
    """

    bias: bool = True
    bits: int = 8
    input_scale: float = 0.0
    per_channel: bool = True
    asymmetric: bool = False
    output_scale: float = 0.0
    output_zero_point: int = 0


class _IntegerLayer(nn.Module):
    """The integers of a convolution or a linear layer.

    `weight` holds int8 values of `bits` bits (-1 and 1 where that is 1), `scale` one number per output channel (or
    one in all), `zero_point` likewise where the weights are asymmetric. With a quantized input, `bias` is int32 in
    units of `input_scale · scale`; with a float input it is float32. The fields of `LayerIntegers` are attributes.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None
    zero_point: Tensor | None

    def _set(self, shape: tuple[int, ...], integers: LayerIntegers) -> None:
        if integers.bits not in range(1, 9):
            raise ValueError(f"weights have 1 to 8 bits, not {integers.bits}")
        scales, zero_point = (integers.input_scale, integers.output_scale), integers.output_zero_point
        if any(scale != 0 and not _is_scale(scale) for scale in scales) or zero_point not in range(256):
            raise ValueError(f"scales {scales[0]} and {scales[1]}, zero point {zero_point}")
        self.bits, self.input_scale = integers.bits, integers.input_scale
        self.per_channel, self.asymmetric = integers.per_channel, integers.asymmetric
        self.output_scale, self.output_zero_point = integers.output_scale, zero_point
        count = shape[0] if self.per_channel else 1
        self.register_buffer("weight", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(count))
        self.register_buffer("zero_point", torch.zeros(count, dtype=torch.int8) if self.asymmetric else None)
        kind = torch.int32 if self.input_scale else torch.float32
        self.register_buffer("bias", torch.zeros(shape[0], dtype=kind) if integers.bias else None)

    def float_weight(self) -> Tensor:
        """The weights that the integers stand for, float32 in the layer's own shape."""
        shape = (-1,) + (1,) * (self.weight.dim() - 1)
        values = self.weight.float()
        if self.zero_point is not None:
            values = values - self.zero_point.float().view(shape)
        return values * self.scale.view(shape)

    def float_bias(self) -> Tensor | None:
        """The bias that the integers stand for, float32 per output channel."""
        if self.bias is None or not self.input_scale:
            return self.bias
        # In double precision: an int32 doesn't fit a float32's mantissa.
        return (self.bias.double() * self.bias_scale().double()).float()

    def bias_scale(self) -> Tensor:
        """float32, one per scale of the weights."""
        return self.scale * self.input_scale


class IntegerConv2d(_IntegerLayer):
    """A convolution; the fields of `Window` are attributes."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        window: Window = Window(),
        integers: LayerIntegers = LayerIntegers(),
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, window.groups
        self.kernel_size, self.stride = _pair(kernel_size, 1), _pair(window.stride, 1)
        self.padding, self.dilation = _pair(window.padding, 0), _pair(window.dilation, 1)
        self._set((out_channels, in_channels // window.groups, *self.kernel_size), integers)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.float_weight(), self.float_bias()
        return nn.functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class IntegerLinear(_IntegerLayer):
    """A linear layer."""

    def __init__(self, in_features: int, out_features: int, integers: LayerIntegers = LayerIntegers()) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self._set((out_features, in_features), integers)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.float_weight(), self.float_bias())


INTEGER_LAYERS = (IntegerConv2d, IntegerLinear)

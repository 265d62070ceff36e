"""The building blocks that the mobile networks share: convolution with its followers, inverted residual."""

import math
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import nn

from bitface.errors import UsageError

# Of the four stages of ResNet-18 and of IResNets.
CHANNELS = (64, 128, 256, 512)
ACTIVATIONS = ("prelu", "relu", "relu6")


def scaled(channels: int, width: float) -> int:
    """Channels times a width, rounded to a multiple of eight (at least eight); a width of 1 changes nothing.

    Raises:
        UsageError: the width isn't a positive number.
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or not (math.isfinite(width) and width > 0):
        raise UsageError(f"width {width!r} is impossible: use a positive number such as 0.5")
    return channels if width == 1 else max(8, 8 * math.floor(channels * width / 8 + 0.5))


def four_stages(width: float) -> tuple[int, int, int, int]:
    """The channels of a residual network's stages at a width. Raises UsageError for an impossible one."""
    first, second, third, last = (scaled(channels, width) for channels in CHANNELS)
    return first, second, third, last


def read_channels(state: Mapping[str, torch.Tensor]) -> tuple[int, int, int, int]:
    """The same of a state dict. Raises KeyError, IndexError for weights that are missing or misshapen."""
    first, second, third, last = (state[f"layer{stage}.0.conv2.weight"].shape[0] for stage in range(1, 5))
    return first, second, third, last


def activation_module(name: str, channels: int) -> nn.Module:
    """The activation of that name; a PReLU has one slope per channel.

    Raises:
        UsageError: no such activation.
    """
    if name == "prelu":
        return nn.PReLU(channels)
    if name == "relu":
        return nn.ReLU()
    if name == "relu6":
        return nn.ReLU6()
    raise UsageError(f"unknown activation '{name}': use one of {', '.join(ACTIVATIONS)}")


class ConvBlock(nn.Sequential):
    """Convolution, then BatchNorm (`norm`), then an activation, under the names `conv`, `bn` and `act`.

    `[N, in_channels, H, W]` → `[N, out_channels, H', W']`, padded so that only the stride shrinks the image,
    unless `kernel` is a pair, which is not padded. What is switched off leaves no module: a traced graph has no
    identities.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        norm: bool = True,
        activation: str | None = None,
        bias: bool = False,
    ) -> None:
        padding = kernel // 2 if isinstance(kernel, int) else 0
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv"] = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=bias)
        if norm:
            parts["bn"] = nn.BatchNorm2d(out_channels)
        if activation is not None:
            parts["act"] = activation_module(activation, out_channels)
        super().__init__(parts)


class InvertedResidual(nn.Module):
    """MobileNetV2's bottleneck: 1x1 `expand`, 3x3 `depthwise`, linear 1x1 `project`.

    `[N, in_channels, H, W]` → `[N, out_channels, ceil(H/stride), ceil(W/stride)]`; the input is added where
    both shapes are the same. Without `depthwise_activation` neither BatchNorm nor activation follows the
    depthwise convolution (QMobileFaceNet, section II-B). `hidden=None` leaves the expansion out (t = 1 in
    MobileNetV2's table 2).
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int | None,
        out_channels: int,
        *,
        stride: int,
        activation: str,
        depthwise_activation: bool = True,
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        self.expand = None if hidden is None else ConvBlock(in_channels, hidden, activation=activation)
        inner = in_channels if hidden is None else hidden
        self.depthwise = ConvBlock(
            inner,
            inner,
            3,
            stride=stride,
            groups=inner,
            norm=depthwise_activation,
            activation=activation if depthwise_activation else None,
        )
        self.project = ConvBlock(inner, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x if self.expand is None else self.expand(x)
        out = self.project(self.depthwise(out))
        result: torch.Tensor = x + out if self.residual else out
        return result


def initialise(network: nn.Module) -> None:
    """He's normal initialisation of every convolution and linear layer, over the inputs of one output.

    The papers don't say what they used. Counting inputs is right for depthwise layers too, whose outputs
    each see nine values, and keeps those layers that have no BatchNorm after them in range.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

"""The building blocks that the mobile networks share: convolution with its followers, inverted residual."""

from collections import OrderedDict

import torch
from torch import nn

from bitface.errors import UsageError

ACTIVATIONS = ("prelu", "relu", "relu6")


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
    unless `padding` is given. What is switched off leaves no module behind: a traced graph has no identities.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
        norm: bool = True,
        activation: str | None = None,
        bias: bool = False,
    ) -> None:
        if padding is None:
            padding = (kernel if isinstance(kernel, int) else kernel[0]) // 2
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
        return x + out if self.residual else out


def initialise(network: nn.Module) -> None:
    """He's normal initialisation of every convolution and linear layer, over the inputs of one output.

    The papers don't say what they used. Counting inputs is right for depthwise layers too, whose outputs
    each see nine values, and keeps those layers that have no BatchNorm behind them in range.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

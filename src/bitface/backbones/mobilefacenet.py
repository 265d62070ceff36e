"""MobileFaceNet (Chen et al., 2018), with the changes that QMobileFaceNet (Bunda et al., 2022) made to it.

The modules `layer1` to `layer10` are the rows of QMobileFaceNet's table I, so that a bit plan can name them
as the paper does (`layer3.*`).
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from bitface.backbones.blocks import ConvBlock, InvertedResidual, initialise, scaled
from bitface.backbones.head import InputSize, checked_embedding_size, spatial_size
from bitface.backbones.mobilefacenet_layouts import LAYOUTS
from bitface.backbones.registry import BACKBONES, Backbone
from bitface.errors import UsageError

# Rows 3 to 7 of table I: expansion t, channels c, repetitions n, stride s of the first repetition.
_TABLE = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))

Layer = tuple[tuple[int, int], ...]
"""One row of the table: for every bottleneck its hidden and its output channels."""


@dataclass(frozen=True)
class Plan:
    """How wide and how deep: everything about a MobileFaceNet that the shapes of its weights tell.

    `layer2` is the paper's "depthwise" convolution (with `layer2_groups` groups), "separable" (a ReLU pair of
    depthwise and pointwise convolution, as some public networks have), or a row of residual bottlenecks.
    """

    stem: int
    layers: tuple[Layer, ...]
    last: int
    layer2: str | Layer = "depthwise"
    layer2_groups: int | None = None


def paper_plan(width: float = 1.0) -> Plan:
    """Table I with every channel count times `width`, rounded to multiples of eight (at least eight).

    Raises:
        UsageError: the width isn't a positive number.
    """
    layers: list[Layer] = []
    stem = channels = scaled(64, width)
    for expansion, out, repetitions, _ in _TABLE:
        row = []
        for _ in range(repetitions):
            row.append((expansion * channels, scaled(out, width)))
            channels = scaled(out, width)
        layers.append(tuple(row))
    return Plan(stem, tuple(layers), scaled(512, width))


class MobileFaceNet(nn.Module):
    """Faces `[N, 3, H, W]` → embeddings `[N, embedding_size]`, not normalised.

    Without `depthwise_activation` (QMobileFaceNet, section II-B) no BatchNorm and no activation follows the
    depthwise convolutions of the bottlenecks, and no BatchNorm those of layers 2 and 9. Layer 2 keeps its
    activation and gets a bias in the BatchNorm's place; elsewhere a later BatchNorm would swallow a bias.
    `spatial` is the size of the feature map that the global depthwise convolution of layer 9 covers.
    """

    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module
    layer5: nn.Module
    layer6: nn.Module
    layer7: nn.Module

    def __init__(
        self,
        plan: Plan,
        embedding_size: int = 128,
        *,
        activation: str = "prelu",
        depthwise_activation: bool = True,
        spatial: tuple[int, int] = (7, 7),
        linear_bias: bool = False,
    ) -> None:
        super().__init__()
        self.spatial = spatial
        norm = depthwise_activation
        self.layer1 = ConvBlock(3, plan.stem, 3, stride=2, activation=activation)
        if plan.layer2 == "depthwise":
            groups = plan.stem if plan.layer2_groups is None else plan.layer2_groups
            self.layer2 = ConvBlock(
                plan.stem, plan.stem, 3, groups=groups, norm=norm, activation=activation, bias=not norm
            )
        elif plan.layer2 == "separable":
            self.layer2 = _separable(plan.stem)
        else:
            assert not isinstance(plan.layer2, str), plan.layer2
            self.layer2 = _row(plan.stem, plan.layer2, 1, activation, norm)
        channels = plan.stem
        for number, (row, (_, _, _, stride)) in enumerate(zip(plan.layers, _TABLE, strict=True), start=3):
            self.add_module(f"layer{number}", _row(channels, row, stride, activation, norm))
            channels = row[-1][1]
        self.layer8 = ConvBlock(channels, plan.last, activation=activation)
        self.layer9 = ConvBlock(plan.last, plan.last, spatial, groups=plan.last, norm=norm)
        self.layer10 = nn.Linear(plan.last, checked_embedding_size(embedding_size), bias=linear_bias)
        self.bn = nn.BatchNorm1d(embedding_size)
        if activation == "relu6":
            # ReLU and ReLU6 have no weights to tell them apart in a file: this mark does.
            self.register_buffer("relu6", torch.tensor(6.0))
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer2(self.layer1(x))
        x = self.layer7(self.layer6(self.layer5(self.layer4(self.layer3(x)))))
        x = self.layer9(self.layer8(x))
        result: torch.Tensor = self.bn(self.layer10(torch.flatten(x, 1)))
        return result


def mobilefacenet(
    embedding_size: int = 128,
    activation: str = "prelu",
    depthwise_activation: bool = True,
    width: float = 1.0,
    input_size: InputSize = 112,
) -> MobileFaceNet:
    """The network of table I. QMobileFaceNet is `activation="relu", depthwise_activation=False`.

    Raises:
        UsageError: an option has an impossible value.
    """
    if not isinstance(depthwise_activation, bool):
        raise UsageError(f"depthwise_activation={depthwise_activation!r} is impossible: use true or false")
    return MobileFaceNet(
        paper_plan(width),
        embedding_size,
        activation=activation,
        depthwise_activation=depthwise_activation,
        spatial=spatial_size(input_size),
    )


def from_state(state: Mapping[str, torch.Tensor]) -> MobileFaceNet | None:
    """The MobileFaceNet with the shapes of these weights (not loaded yet), or None if they are none of one.

    Raises:
        KeyError, IndexError, ValueError: it has the names of one, but weights are missing or misshapen.
    """
    if "layer1.conv.weight" not in state or "layer10.weight" not in state:
        return None
    layer2: str | Layer = "separable" if "layer2.pointwise.conv.weight" in state else _read_row(state, 2)
    stem = state["layer1.conv.weight"].shape[0]
    groups = None
    if not layer2:
        layer2 = "depthwise"
        groups = stem // state["layer2.conv.weight"].shape[1]
    layers = tuple(_read_row(state, number) for number in range(3, 8))
    kernel = state["layer9.conv.weight"].shape
    activation = "prelu" if "layer1.act.weight" in state else "relu6" if "relu6" in state else "relu"
    return MobileFaceNet(
        Plan(stem, layers, kernel[0], layer2, groups),
        state["layer10.weight"].shape[0],
        activation=activation,
        depthwise_activation="layer9.bn.weight" in state,
        spatial=(kernel[2], kernel[3]),
        linear_bias="layer10.bias" in state,
    )


def _row(channels: int, row: Layer, stride: int, activation: str, depthwise_activation: bool) -> nn.Sequential:
    blocks = []
    for hidden, out in row:
        blocks.append(
            InvertedResidual(
                channels,
                hidden,
                out,
                stride=stride,
                activation=activation,
                depthwise_activation=depthwise_activation,
            )
        )
        channels, stride = out, 1
    return nn.Sequential(*blocks)


def _separable(channels: int) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["depthwise"] = ConvBlock(channels, channels, 3, groups=channels, activation="relu")
    parts["pointwise"] = ConvBlock(channels, channels, activation="relu")
    return nn.Sequential(parts)


def _read_row(state: Mapping[str, torch.Tensor], number: int) -> Layer:
    row: list[tuple[int, int]] = []
    while (key := f"layer{number}.{len(row)}.project.conv.weight") in state:
        out, hidden = state[key].shape[:2]
        row.append((hidden, out))
    return tuple(row)


BACKBONES.register("mobilefacenet")(Backbone(mobilefacenet, 1.0, from_state, LAYOUTS))

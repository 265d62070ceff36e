"""IResNet: the pre-normalised residual networks of ArcFace (Deng et al., 2019), with InsightFace's key names.

State dicts that InsightFace's PyTorch code has trained load as they are.
"""

from collections.abc import Mapping

import torch
from torch import nn

from bitface.backbones.blocks import CHANNELS, four_stages, read_channels
from bitface.backbones.head import (
    InputSize,
    checked_dropout,
    checked_embedding_size,
    fixed_scale_norm,
    spatial_size,
    square_input,
)
from bitface.backbones.registry import BACKBONES, Backbone


class IBasicBlock(nn.Module):
    """BN-conv-BN-PReLU-conv-BN and the shortcut: `[N, in, H, W]` → `[N, out, H/stride, W/stride]`.

    The second convolution carries the stride (ArcFace, section 3.2.2, after Han et al., 2017).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.prelu = nn.PReLU(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        result: torch.Tensor = self.bn3(self.conv2(out)) + shortcut
        return result


class IResNet(nn.Module):
    """Faces `[N, 3, H, W]` → embeddings `[N, embedding_size]`, not normalised.

    `depths` are the blocks of the four stages, each of which halves the image in its first block, and `channels` those
    that each stage gives. The scale
    of the last BatchNorm, `features`, stays one.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        embedding_size: int = 512,
        dropout: float = 0.0,
        input_size: InputSize = 112,
        channels: tuple[int, int, int, int] = CHANNELS,
    ) -> None:
        super().__init__()
        checked_embedding_size(embedding_size)
        self.spatial = height, width = spatial_size(input_size)
        first, second, third, last = channels
        self.conv1 = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.prelu = nn.PReLU(first)
        self.layer1 = _stage(first, first, depths[0])
        self.layer2 = _stage(first, second, depths[1])
        self.layer3 = _stage(second, third, depths[2])
        self.layer4 = _stage(third, last, depths[3])
        self.bn2 = nn.BatchNorm2d(last)
        self.dropout = nn.Dropout(checked_dropout(dropout))
        self.fc = nn.Linear(last * height * width, embedding_size)
        self.features = fixed_scale_norm(embedding_size)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = torch.flatten(self.dropout(self.bn2(x)), 1)
        result: torch.Tensor = self.features(self.fc(x))
        return result


def _stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """`depth` blocks, the first of which halves the image."""
    blocks = [IBasicBlock(in_channels, out_channels, 2)]
    blocks += [IBasicBlock(out_channels, out_channels, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def iresnet18(
    embedding_size: int = 512, dropout: float = 0.0, input_size: InputSize = 112, width: float = 1.0
) -> IResNet:
    """24.0 M parameters at width 1. Raises UsageError for impossible options."""
    return IResNet((2, 2, 2, 2), embedding_size, dropout, input_size, four_stages(width))


def iresnet34(
    embedding_size: int = 512, dropout: float = 0.0, input_size: InputSize = 112, width: float = 1.0
) -> IResNet:
    """34.1 M parameters at width 1. Raises UsageError for impossible options."""
    return IResNet((3, 4, 6, 3), embedding_size, dropout, input_size, four_stages(width))


def iresnet50(
    embedding_size: int = 512, dropout: float = 0.0, input_size: InputSize = 112, width: float = 1.0
) -> IResNet:
    """43.6 M parameters at width 1. Raises UsageError for impossible options."""
    return IResNet((3, 4, 14, 3), embedding_size, dropout, input_size, four_stages(width))


def iresnet100(
    embedding_size: int = 512, dropout: float = 0.0, input_size: InputSize = 112, width: float = 1.0
) -> IResNet:
    """65.2 M parameters at width 1. Raises UsageError for impossible options."""
    return IResNet((3, 13, 30, 3), embedding_size, dropout, input_size, four_stages(width))


def from_state(state: Mapping[str, torch.Tensor]) -> IResNet | None:
    """The IResNet with the shapes of these weights (not loaded yet), or None if they are none of one.

    Raises:
        KeyError, IndexError, BitfaceError: it has the names of one, but weights are missing or misshapen.
    """
    if not {"prelu.weight", "layer1.0.bn3.weight", "fc.weight", "features.running_mean"} <= state.keys():
        return None
    depth = [0, 0, 0, 0]
    for number in range(4):
        while f"layer{number + 1}.{depth[number]}.conv1.weight" in state:
            depth[number] += 1
    embedding_size, inputs = state["fc.weight"].shape
    depths = (depth[0], depth[1], depth[2], depth[3])
    channels = read_channels(state)
    return IResNet(depths, embedding_size, input_size=square_input(inputs // channels[3]), channels=channels)


BACKBONES.register("iresnet18")(Backbone(iresnet18, 24.0, from_state))
BACKBONES.register("iresnet34")(Backbone(iresnet34, 34.1, from_state))
BACKBONES.register("iresnet50")(Backbone(iresnet50, 43.6, from_state))
BACKBONES.register("iresnet100")(Backbone(iresnet100, 65.2, from_state))

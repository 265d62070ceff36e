"""ResNet-18 (He et al., 2016) with the BN-Dropout-FC-BN head: RCM's main network (Wu et al., 2020).

RCM names the network and the head, and follows ArcFace in the rest. So does this file: faces are 112x112,
half the side of ImageNet's pictures, so the stem is one 3x3 convolution of stride 1 without max-pooling, and
all four stages halve the image, 112 → 7.
"""

from collections.abc import Mapping

import torch
from torch import nn

from bitface.backbones.blocks import CHANNELS, four_stages, initialise, read_channels
from bitface.backbones.head import (
    EmbeddingHead,
    InputSize,
    checked_embedding_size,
    spatial_size,
    square_input,
)
from bitface.backbones.registry import BACKBONES, Backbone


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, plus the shortcut, ReLU: `[N, in, H, W]` → `[N, out, H/stride, W/stride]`."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        # A second module, not the first one called again: every activation is one place in a traced graph.
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        result: torch.Tensor = self.relu2(self.bn2(self.conv2(out)) + shortcut)
        return result


class ResNet(nn.Module):
    """Faces `[N, 3, H, W]` → embeddings `[N, embedding_size]`, not normalised; `depths` and `channels` per stage."""

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        embedding_size: int = 256,
        dropout: float = 0.4,
        input_size: InputSize = 112,
        channels: tuple[int, int, int, int] = CHANNELS,
    ) -> None:
        super().__init__()
        checked_embedding_size(embedding_size)
        first, second, third, last = channels
        self.conv1 = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU()
        self.layer1 = _stage(first, first, depths[0])
        self.layer2 = _stage(first, second, depths[1])
        self.layer3 = _stage(second, third, depths[2])
        self.layer4 = _stage(third, last, depths[3])
        self.spatial = spatial_size(input_size)
        self.head = EmbeddingHead(last, self.spatial, embedding_size, dropout)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        result: torch.Tensor = self.head(x)
        return result


def _stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """`depth` blocks, the first of which halves the image."""
    blocks = [BasicBlock(in_channels, out_channels, 2)]
    blocks += [BasicBlock(out_channels, out_channels, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def resnet18(
    embedding_size: int = 256, dropout: float = 0.4, input_size: InputSize = 112, width: float = 1.0
) -> ResNet:
    """RCM's ResNet-18 (section 5.1); dropout is ArcFace's 0.4. Raises UsageError for impossible options."""
    return ResNet((2, 2, 2, 2), embedding_size, dropout, input_size, four_stages(width))


def from_state(state: Mapping[str, torch.Tensor]) -> ResNet | None:
    """The ResNet with the shapes of these weights (not loaded yet), or None if they are none of one.

    Raises:
        KeyError, IndexError, BitfaceError: it has the names of one, but weights are missing or misshapen.
    """
    if not {"conv1.weight", "layer1.0.conv1.weight", "head.fc.weight"} <= state.keys():
        return None
    depth = [0, 0, 0, 0]
    for number in range(4):
        while f"layer{number + 1}.{depth[number]}.conv1.weight" in state:
            depth[number] += 1
    embedding_size, inputs = state["head.fc.weight"].shape
    depths = (depth[0], depth[1], depth[2], depth[3])
    channels = read_channels(state)
    return ResNet(depths, embedding_size, input_size=square_input(inputs // channels[3]), channels=channels)


BACKBONES.register("resnet18")(Backbone(resnet18, 17.6, from_state))

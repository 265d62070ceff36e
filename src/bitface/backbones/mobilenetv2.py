"""MobileNetV2 (Sandler et al., 2018) with the BN-Dropout-FC-BN head: RCM's mobile network (Wu et al., 2020).

RCM names the network and the head, and follows ArcFace in the rest. Faces are 112x112, half the side of
ImageNet's pictures: the stem has stride 1 instead of 2, so that the last feature map is 7x7 as in the
original. Most parameters are therefore in the fully connected layer (1280 · 49 inputs).
"""

from collections.abc import Mapping

import torch
from torch import nn

from bitface.backbones.blocks import ConvBlock, InvertedResidual, initialise
from bitface.backbones.head import (
    EmbeddingHead,
    InputSize,
    checked_embedding_size,
    spatial_size,
    square_input,
)

# Table 2 of the paper: expansion t, channels c, repetitions n, stride s of the first repetition.
_TABLE = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM, _LAST = 32, 1280


class MobileNetV2(nn.Module):
    """Faces `[N, 3, H, W]` → embeddings `[N, embedding_size]`, not normalised. Every activation is ReLU6."""

    def __init__(self, embedding_size: int = 256, dropout: float = 0.4, input_size: InputSize = 112) -> None:
        super().__init__()
        checked_embedding_size(embedding_size)
        self.stem = ConvBlock(3, _STEM, 3, activation="relu6")
        channels = _STEM
        blocks = []
        for expansion, out, repetitions, first_stride in _TABLE:
            for repetition in range(repetitions):
                hidden = None if expansion == 1 else expansion * channels
                stride = first_stride if repetition == 0 else 1
                blocks.append(InvertedResidual(channels, hidden, out, stride=stride, activation="relu6"))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.last = ConvBlock(channels, _LAST, activation="relu6")
        self.head = EmbeddingHead(_LAST, spatial_size(input_size), embedding_size, dropout)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.last(self.blocks(self.stem(x))))


def mobilenetv2(embedding_size: int = 256, dropout: float = 0.4, input_size: InputSize = 112) -> MobileNetV2:
    """RCM's MobileNetV2 (section 5.1); dropout is ArcFace's 0.4. Raises UsageError for impossible options."""
    return MobileNetV2(embedding_size, dropout, input_size)


def from_state(state: Mapping[str, torch.Tensor]) -> MobileNetV2 | None:
    """The MobileNetV2 with the shapes of these weights (not loaded yet), or None if they are none of one.

    Raises:
        ValueError, BitfaceError: it has the names of one, but weights are misshapen.
    """
    if not {"stem.conv.weight", "blocks.0.depthwise.conv.weight", "head.fc.weight"} <= state.keys():
        return None
    embedding_size, inputs = state["head.fc.weight"].shape
    return MobileNetV2(embedding_size, input_size=square_input(inputs // _LAST))

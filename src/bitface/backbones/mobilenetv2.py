"""MobileNetV2 (Sandler et al., 2018) with the BN-Dropout-FC-BN head: RCM's mobile network (Wu et al., 2020).

RCM names the network and the head, and follows ArcFace in the rest. Faces are 112x112, half the side of
ImageNet's pictures: the stem has stride 1 instead of 2, so that the last feature map is 7x7 as in the
original. Most parameters are therefore in the fully connected layer (1280 · 49 inputs).
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import nn

from bitface.backbones.blocks import ConvBlock, InvertedResidual, initialise, scaled
from bitface.backbones.head import (
    EmbeddingHead,
    InputSize,
    checked_embedding_size,
    spatial_size,
    square_input,
)
from bitface.backbones.registry import BACKBONES, Backbone

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
_OUTS = tuple(out for _, out, _, _ in _TABLE)


class MobileNetV2(nn.Module):
    """Faces `[N, 3, H, W]` → embeddings `[N, embedding_size]`, not normalised. Every activation is ReLU6.

    `stem`, `outs` (of the table's rows) and `last` are channels.
    """

    def __init__(
        self,
        embedding_size: int = 256,
        dropout: float = 0.4,
        input_size: InputSize = 112,
        stem: int = _STEM,
        outs: Sequence[int] = _OUTS,
        last: int = _LAST,
    ) -> None:
        super().__init__()
        checked_embedding_size(embedding_size)
        self.stem = ConvBlock(3, stem, 3, activation="relu6")
        channels = stem
        blocks = []
        for (expansion, _, repetitions, first_stride), out in zip(_TABLE, outs, strict=True):
            for repetition in range(repetitions):
                hidden = None if expansion == 1 else expansion * channels
                stride = first_stride if repetition == 0 else 1
                blocks.append(InvertedResidual(channels, hidden, out, stride=stride, activation="relu6"))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.last = ConvBlock(channels, last, activation="relu6")
        self.spatial = spatial_size(input_size)
        self.head = EmbeddingHead(last, self.spatial, embedding_size, dropout)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.last(self.blocks(self.stem(x))))
        return result


def mobilenetv2(
    embedding_size: int = 256, dropout: float = 0.4, input_size: InputSize = 112, width: float = 1.0
) -> MobileNetV2:
    """RCM's MobileNetV2 (section 5.1); dropout is ArcFace's 0.4. Raises UsageError for impossible options."""
    outs = [scaled(out, width) for out in _OUTS]
    return MobileNetV2(embedding_size, dropout, input_size, scaled(_STEM, width), outs, scaled(_LAST, width))


def from_state(state: Mapping[str, torch.Tensor]) -> MobileNetV2 | None:
    """The MobileNetV2 with the shapes of these weights (not loaded yet), or None if they are none of one.

    Raises:
        KeyError, ValueError, BitfaceError: it has the names of one, but weights are misshapen.
    """
    if not {"stem.conv.weight", "blocks.0.depthwise.conv.weight", "head.fc.weight"} <= state.keys():
        return None
    embedding_size, inputs = state["head.fc.weight"].shape
    firsts = accumulate((row[2] for row in _TABLE[:-1]), initial=0)
    outs = [state[f"blocks.{block}.project.conv.weight"].shape[0] for block in firsts]
    stem, last = state["stem.conv.weight"].shape[0], state["last.conv.weight"].shape[0]
    return MobileNetV2(embedding_size, input_size=square_input(inputs // last), stem=stem, outs=outs, last=last)


BACKBONES.register("mobilenetv2")(Backbone(mobilenetv2, 18.3, from_state))

"""From the last feature map to the embedding: the BN-Dropout-FC-BN head, and the sizes it needs."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from bitface.errors import BitfaceError, UsageError

InputSize = int | tuple[int, int]
# How many pixels stand for one position of the last feature map, in every network here.
_STRIDE = 16


class EmbeddingHead(nn.Module):
    """BatchNorm, dropout, fully connected, BatchNorm: `[N, channels, h, w]` → `[N, embedding_size]`.

    ArcFace's option E, taken over by RCM (section 5.1). The last BatchNorm keeps its scale at one, as in
    ArcFace's networks: the length of an embedding means nothing, and a free scale would only stretch axes.
    """

    def __init__(self, channels: int, spatial: tuple[int, int], embedding_size: int, dropout: float) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(checked_dropout(dropout))
        self.fc = nn.Linear(channels * spatial[0] * spatial[1], embedding_size)
        self.features = fixed_scale_norm(embedding_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.features(self.fc(torch.flatten(self.dropout(self.bn(x)), 1)))
        return result


def fixed_scale_norm(size: int) -> nn.BatchNorm1d:
    """A BatchNorm of embeddings `[N, size]` whose scale stays one (it is a parameter that isn't trained)."""
    norm = nn.BatchNorm1d(size)
    norm.weight.requires_grad_(False)
    return norm


def image_sides(input_size: InputSize) -> tuple[int, int]:
    """Height and width of the image.

    Raises:
        UsageError: the input size isn't one or two positive integers.
    """
    sides = tuple(input_size) if isinstance(input_size, Sequence) else (input_size, input_size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise UsageError(f"input size {input_size!r} is impossible: use pixels such as 112 or (112, 96)")
    return sides


def spatial_size(input_size: InputSize) -> tuple[int, int]:
    """Height and width of the last feature map. Raises UsageError as `image_sides` does."""
    height, width = image_sides(input_size)
    return math.ceil(height / _STRIDE), math.ceil(width / _STRIDE)


def input_size_of(network: nn.Module) -> tuple[int, int]:
    """Height and width of the images that a network of this library is for: its own word, or by the feature map that
    its head covers.
    """
    size: tuple[int, int] | None = getattr(network, "input_size", None)
    if size:
        return size
    height, width = network.spatial  # type: ignore[misc]
    return height * _STRIDE, width * _STRIDE


def square_input(positions: int) -> int:
    """The input size of a head whose feature map has this many positions, taken to be square.

    Raises:
        BitfaceError: the number isn't a square.
    """
    side = math.isqrt(positions)
    if side < 1 or side * side != positions:
        raise BitfaceError(
            f"weights for a feature map of {positions} positions, which isn't square: "
            "create the network with its input_size and give it the weights with load_state_dict"
        )
    return side * _STRIDE


def checked_embedding_size(size: int) -> int:
    """Raises UsageError unless the size is a positive integer."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise UsageError(f"embedding size {size!r} is impossible: use a positive integer such as 128 or 512")
    return size


def checked_dropout(probability: float) -> float:
    """Raises UsageError unless the probability is in [0, 1)."""
    if not isinstance(probability, int | float) or not 0 <= probability < 1:
        raise UsageError(f"dropout {probability!r} is impossible: use a probability from 0 to below 1")
    return probability

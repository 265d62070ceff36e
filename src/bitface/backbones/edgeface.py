"""EdgeFace (George et al., 2024): EdgeNeXt (Maaz et al., 2022) with an embedding as its head, and timm's key names.

Convolutional blocks, and blocks of split depthwise convolutions with attention between channels (cross-covariance, El-
Nouby et al., 2021), whose cost grows with the number of tokens, not with its square. The `gamma` variants have two
linear layers of a lower rank in the place of each. Released state dicts load as they are.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import ceil, pi

import torch
from torch import Tensor, fx, nn

from bitface.backbones.head import InputSize, checked_embedding_size, image_sides
from bitface.backbones.registry import BACKBONES, Backbone
from bitface.errors import UsageError

_EPSILON = 1e-6
_KERNELS = (3, 5, 7, 9)
# Parts into which the channels of a stage's last block are split, and whether positions are added there.
_SPLITS = (1, 2, 3, 4)
_POSITIONS = (False, True, False, False)
_FREQUENCIES = 32
# The published trainings begin at 1e-6, which takes hundreds of epochs to grow; with this one a first likeness to the
# teacher comes after 300 steps of 32 faces, with 0.1 after 450.
_LAYER_SCALE = 1.0

# Makes a linear layer: (inputs, outputs) → module.
LinearMaker = Callable[[int, int], nn.Module]


class LowRankLinear(nn.Module):
    """Two linear layers that together are one of a lower rank."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(inputs, rank, bias=False)
        self.linear2 = nn.Linear(rank, outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear2(self.linear1(x))
        return result


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map `[N, C, H, W]`."""

    def forward(self, x: Tensor) -> Tensor:
        normalised = nn.functional.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return normalised.permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers on the channels, the last axis, four times as many between them."""

    def __init__(self, channels: int, linear: LinearMaker) -> None:
        super().__init__()
        self.fc1 = linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.fc2 = linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(self.act(self.fc1(x)))
        return result


class ConvBlock(nn.Module):
    """A depthwise convolution, then an MLP on every position; added to what it reads."""

    def __init__(self, channels: int, kernel: int, linear: LinearMaker) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, _EPSILON)
        self.mlp = Mlp(channels, linear)
        self.gamma = nn.Parameter(torch.full((channels,), _LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.gamma * self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1)))
        result: Tensor = x + inner.permute(0, 3, 1, 2)
        return result


class CrossCovarianceAttention(nn.Module):
    """Every channel of a head looks at every other, by cosine: `[N, tokens, channels]` → the same."""

    def __init__(self, channels: int, heads: int, linear: LinearMaker) -> None:
        super().__init__()
        self.heads, self.channels = heads, channels
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = linear(channels, 3 * channels)
        self.proj = linear(channels, channels)
        self.softmax = nn.Softmax(3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.shape[1]
        qkv = self.qkv(x).reshape(-1, tokens, 3, self.heads, self.channels // self.heads)
        query, key, value = (qkv[:, :, place].permute(0, 2, 3, 1) for place in range(3))
        query, key = nn.functional.normalize(query, dim=3), nn.functional.normalize(key, dim=3)
        weights = self.softmax((query @ key.transpose(2, 3)) * self.temperature)
        mixed = (weights @ value).permute(0, 3, 1, 2).reshape(-1, tokens, self.channels)
        result: Tensor = self.proj(mixed)
        return result


class FourierPositions(nn.Module):
    """Where a token is, as sines and cosines of both sides, projected to its channels: `[1, channels, H, W]`."""

    def __init__(self, channels: int, spatial: tuple[int, int]) -> None:
        super().__init__()
        self.spatial = spatial
        self.token_projection = nn.Conv2d(2 * _FREQUENCIES, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        # A trace is of images of the size that the network was made for.
        height, width = self.spatial if isinstance(image, fx.Proxy) else image.shape[2:]
        result: Tensor = self.token_projection(_waves(height, width))
        return result


@lru_cache
def _waves(height: int, width: int) -> Tensor:
    """`[1, 64, height, width]`: of the vertical place, then of the horizontal one, sine and cosine by turns."""
    octaves = 10000 ** (2 * (torch.arange(_FREQUENCIES) // 2) / _FREQUENCIES)

    def along(side: int) -> Tensor:
        places = torch.arange(1, side + 1) / (side + _EPSILON) * 2 * pi
        angles = places[:, None] / octaves
        return torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), 2).flatten(1).T

    vertical = along(height)[:, :, None].expand(-1, -1, width)
    horizontal = along(width)[:, None, :].expand(-1, height, -1)
    return torch.cat((vertical, horizontal))[None]


class SplitBlock(nn.Module):
    """Depthwise convolutions on parts of the channels, each reading the one before; attention between channels; MLP."""

    def __init__(
        self, channels: int, splits: int, heads: int, positions: bool, spatial: tuple[int, int], linear: LinearMaker
    ) -> None:
        super().__init__()
        self.channels, part = channels, ceil(channels / splits)
        self.convs = nn.ModuleList(nn.Conv2d(part, part, 3, padding=1, groups=part) for _ in range(max(1, splits - 1)))
        self.pos_embd = FourierPositions(channels, spatial) if positions else None
        self.norm_xca = nn.LayerNorm(channels, _EPSILON)
        self.gamma_xca = nn.Parameter(torch.full((channels,), _LAYER_SCALE))
        self.xca = CrossCovarianceAttention(channels, heads, linear)
        self.norm = nn.LayerNorm(channels, _EPSILON)
        self.mlp = Mlp(channels, linear)
        self.gamma = nn.Parameter(torch.full((channels,), _LAYER_SCALE))

    def forward(self, image: Tensor) -> Tensor:
        parts = image.chunk(len(self.convs) + 1, 1)
        maps, part = [], parts[0]
        for index, conv in enumerate(self.convs):
            part = conv(part + parts[index] if index else part)
            maps.append(part)
        x = torch.cat((*maps, parts[-1]), 1)
        if self.pos_embd is not None:
            x = x + self.pos_embd(image)
        x = x.flatten(2).permute(0, 2, 1)
        x = x + self.gamma_xca * self.xca(self.norm_xca(x))
        x = self.gamma * self.mlp(self.norm(x.reshape(-1, image.shape[2], image.shape[3], self.channels)))
        result: Tensor = image + x.permute(0, 3, 1, 2)
        return result


class Stage(nn.Module):
    """A map made smaller, except in the first stage; convolutional blocks; at the end perhaps one with attention."""

    def __init__(
        self, number: int, before: int, channels: int, depth: int, heads: int, spatial: tuple[int, int],
        linear: LinearMaker,
    ) -> None:  # fmt: skip
        super().__init__()
        smaller = (ChannelNorm(before, _EPSILON), nn.Conv2d(before, channels, 2, 2)) if number else ()
        self.downsample = nn.Sequential(*smaller)
        blocks: list[nn.Module] = [ConvBlock(channels, _KERNELS[number], linear) for _ in range(depth - bool(number))]
        if number:
            blocks.append(SplitBlock(channels, _SPLITS[number], heads, _POSITIONS[number], spatial, linear))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.blocks(self.downsample(x))
        return result


class Head(nn.Module):
    """The mean of the map, normalised, and the embedding of it."""

    def __init__(self, channels: int, embedding_size: int, linear: LinearMaker) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, _EPSILON)
        self.fc = linear(channels, embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(self.norm(x.mean((2, 3))))
        return result


class EdgeFace(nn.Module):
    """Faces `[N, 3, H, W]` → embeddings `[N, embedding_size]`, not normalised.

    Args:
        channels, depths: of the four stages.
        heads: of the attention.
        rank_ratio: of the low-rank linear layers, to the smaller side of what they stand for; None: they are whole.

    Raises:
        UsageError: impossible sizes.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        depths: tuple[int, ...],
        heads: int,
        embedding_size: int = 512,
        input_size: InputSize = 112,
        rank_ratio: float | None = None,
    ) -> None:
        super().__init__()
        checked_embedding_size(embedding_size)
        self.input_size = height, width = image_sides(input_size)
        if min(height, width) < 32:
            raise UsageError(f"images of {height} x {width} pixels are too small for EdgeFace: 32 are the least")
        if rank_ratio is not None and not 0 < rank_ratio <= 1:
            raise UsageError(f"rank_ratio {rank_ratio!r} is impossible: use a number above 0, up to 1, such as 0.6")

        def linear(inputs: int, outputs: int) -> nn.Module:
            if rank_ratio is None:
                return nn.Linear(inputs, outputs)
            return LowRankLinear(inputs, outputs, max(2, int(min(inputs, outputs) * rank_ratio)))

        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 4, 4), ChannelNorm(channels[0], _EPSILON))
        height, width = height // 4, width // 4
        stages = []
        for number, depth in enumerate(depths):
            if number:
                height, width = height // 2, width // 2
            before = channels[max(0, number - 1)]
            stages.append(Stage(number, before, channels[number], depth, heads, (height, width), linear))
        self.stages = nn.Sequential(*stages)
        self.head = Head(channels[-1], embedding_size, linear)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                # By the inputs of each, as narrow layers would hardly pass anything on with one deviation for all.
                nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.stages(self.stem(x)))
        return result


_DEPTHS = (3, 3, 9, 3)


def _scaled(channels: tuple[int, ...], heads: int, factor: float) -> tuple[int, ...]:
    if not factor > 0:
        raise UsageError(f"a width of {factor} is impossible: use a number above 0, such as 0.5")
    return tuple(max(1, round(count * factor / heads)) * heads for count in channels)


def edgeface_xs(
    embedding_size: int = 512, input_size: InputSize = 112, width: float = 1.0, rank_ratio: float | None = None
) -> EdgeFace:
    """2.2 M parameters at width 1 (EdgeNeXt-X-Small). Raises UsageError for impossible options."""
    return EdgeFace(_scaled((32, 64, 100, 192), 4, width), _DEPTHS, 4, embedding_size, input_size, rank_ratio)


def edgeface_s(
    embedding_size: int = 512, input_size: InputSize = 112, width: float = 1.0, rank_ratio: float | None = None
) -> EdgeFace:
    """5.4 M parameters at width 1 (EdgeNeXt-Small). Raises UsageError for impossible options."""
    return EdgeFace(_scaled((48, 96, 160, 304), 8, width), _DEPTHS, 8, embedding_size, input_size, rank_ratio)


def from_state(state: Mapping[str, Tensor]) -> EdgeFace | None:
    """The EdgeFace with the shapes of these weights (not loaded yet), or None if they are none of one.

    The image's size leaves no trace in them; it is taken to be 112x112.

    Raises:
        KeyError, IndexError, ValueError, BitfaceError: it has the names of one, but weights are missing or misshapen.
    """
    if not {"stem.1.weight", "stages.0.blocks.0.conv_dw.weight", "head.norm.weight"} <= state.keys():
        return None
    depths, channels = [0, 0, 0, 0], []
    for number in range(4):
        while f"stages.{number}.blocks.{depths[number]}.gamma" in state:
            depths[number] += 1
        channels.append(len(state[f"stages.{number}.blocks.0.gamma"]))
    heads = len(state[f"stages.3.blocks.{depths[3] - 1}.xca.temperature"])
    factor = state.get("head.fc.linear1.weight")
    # A rank is a share of two decimals, rounded down.
    ratio = None if factor is None else ceil(factor.shape[0] / min(channels[3], _size_of(state)) * 100 - 1e-6) / 100
    return EdgeFace(tuple(channels), tuple(depths), heads, _size_of(state), rank_ratio=ratio)


def _size_of(state: Mapping[str, Tensor]) -> int:
    """The embedding's."""
    return (state["head.fc.weight"] if "head.fc.weight" in state else state["head.fc.linear2.weight"]).shape[0]


BACKBONES.register("edgeface_xs")(Backbone(edgeface_xs, 2.2, from_state))
BACKBONES.register("edgeface_s")(Backbone(edgeface_s, 5.4, from_state))

"""Vision transformers for faces (Dosovitskiy et al., 2021), in the layout and with the key names of InsightFace.

Patches of 9 pixels, position embeddings, no class token: the embedding is made of all tokens, by two linear layers with
a BatchNorm after each. The activation is ReLU6. State dicts that InsightFace's PyTorch code has trained load as they
are; what it draws by chance in training (masked patches, layers left out) isn't part of the network here.
"""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor, nn

from bitface.backbones.head import InputSize, checked_embedding_size, image_sides
from bitface.backbones.layouts import Layout, Weights
from bitface.backbones.registry import BACKBONES, Backbone
from bitface.errors import BitfaceError, UsageError

_PATCH = 9
_HEADS = 8
# Of the BatchNorms in the head.
_EPSILON = 2e-5


class Attention(nn.Module):
    """Every token looks at every other: `[N, tokens, width]` → the same."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.tokens, self.size = tokens, width // _HEADS
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        self.softmax = nn.Softmax(3)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).reshape(-1, self.tokens, 3, _HEADS, self.size)
        query, key, value = (qkv[:, :, place].transpose(1, 2) for place in range(3))
        weights = self.softmax((query @ key.transpose(2, 3)) * self.size**-0.5)
        result: Tensor = self.proj((weights @ value).transpose(1, 2).reshape(-1, self.tokens, _HEADS * self.size))
        return result


class Mlp(nn.Module):
    """Two linear layers on every token."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.ReLU6()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(self.act(self.fc1(x)))
        return result


class Block(nn.Module):
    """Attention, then an MLP, each behind a LayerNorm and added to what it reads."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, tokens)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class PatchEmbedding(nn.Module):
    """Faces `[N, 3, H, W]` → tokens `[N, patches, width]`."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return result


class VisionTransformer(nn.Module):
    """Faces `[N, 3, H, W]` → embeddings `[N, embedding_size]`, not normalised.

    Args:
        width: numbers of a token, a multiple of 8.
        depth: blocks.
        patch: side of a patch in pixels.

    Raises:
        UsageError: impossible sizes.
    """

    def __init__(
        self, width: int, depth: int, embedding_size: int = 512, input_size: InputSize = 112, patch: int = _PATCH
    ) -> None:
        super().__init__()
        self.input_size = rows, columns = image_sides(input_size)
        tokens = (rows // patch) * (columns // patch)
        if tokens < 1 or depth < 1 or width < _HEADS:
            raise UsageError(f"a transformer of {tokens} patches, {depth} blocks and width {width} is impossible")
        checked_embedding_size(embedding_size)
        self.patch_embed = PatchEmbedding(width, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))
        self.blocks = nn.Sequential(*(Block(width, tokens) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.feature = nn.Sequential(
            nn.Linear(width * tokens, width, bias=False),
            nn.BatchNorm1d(width, _EPSILON),
            nn.Linear(width, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size, _EPSILON),
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.blocks(self.patch_embed(x) + self.pos_embed))
        result: Tensor = self.feature(tokens.flatten(1))
        return result


def _scaled(width: int, factor: float) -> int:
    if not factor > 0:
        raise UsageError(f"a width of {factor} is impossible: use a number above 0, such as 0.5")
    return max(1, round(width * factor / _HEADS)) * _HEADS


def vit_t(
    embedding_size: int = 512, input_size: InputSize = 112, width: float = 1.0, depth: int = 12
) -> VisionTransformer:
    """19.1 M parameters at width 1, depth 12. Raises UsageError for impossible options."""
    return VisionTransformer(_scaled(256, width), depth, embedding_size, input_size)


def vit_s(
    embedding_size: int = 512, input_size: InputSize = 112, width: float = 1.0, depth: int = 12
) -> VisionTransformer:
    """76.0 M parameters at width 1, depth 12. Raises UsageError for impossible options."""
    return VisionTransformer(_scaled(512, width), depth, embedding_size, input_size)


def vit_b(
    embedding_size: int = 512, input_size: InputSize = 112, width: float = 1.0, depth: int = 24
) -> VisionTransformer:
    """113.8 M parameters at width 1, depth 24. Raises UsageError for impossible options."""
    return VisionTransformer(_scaled(512, width), depth, embedding_size, input_size)


def from_state(state: Mapping[str, Tensor]) -> VisionTransformer | None:
    """The transformer with the shapes of these weights (not loaded yet), or None if they are none of one.

    Raises:
        KeyError, IndexError, BitfaceError: it has the names of one, but weights are missing or misshapen.
    """
    if not {"pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "feature.3.bias"} <= state.keys():
        return None
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    tokens = state["pos_embed"].shape[1]
    side = isqrt(tokens)
    if side * side != tokens or width % _HEADS:
        raise BitfaceError(
            f"weights of a transformer of {tokens} patches and width {width}, which are no square of patches, or not "
            f"of {_HEADS} heads: create the network with its input_size and give it the weights with load_state_dict"
        )
    depth = 0
    while f"blocks.{depth}.attn.qkv.weight" in state:
        depth += 1
    size = 112 if 112 // patch == side else side * patch
    return VisionTransformer(width, depth, state["feature.2.weight"].shape[0], size, patch)


def _without_mask(own: Weights) -> Weights:
    """What stands for a masked patch in training."""
    return {key: value for key, value in own.items() if key != "mask_token"}


_INSIGHTFACE = Layout("InsightFace's ViT", ("mask_token", "patch_embed.proj.weight"), (), _without_mask)

for _builder, _millions in ((vit_t, 19.1), (vit_s, 76.0), (vit_b, 113.8)):
    BACKBONES.register(_builder.__name__)(Backbone(_builder, _millions, from_state, (_INSIGHTFACE,)))

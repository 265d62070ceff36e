"""Families with attention in torch: ViT in several layouts, EdgeFace, Swin, ConvNeXt, MLP-Mixer, MobileViT."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exporters.torch_convolutions import FACE, Embed, Made, Unit


class Attention(nn.Module):
    """One layer for queries, keys and values; products of matrices, an einsum, or torch's own attention."""

    def __init__(self, dim: int, heads: int, form: str = "matmul", tokens: int = 0):
        super().__init__()
        self.heads, self.form, self.scale = heads, form, (dim // heads) ** -0.5
        self.qkv, self.project = nn.Linear(dim, 3 * dim, bias=form != "matmul"), nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.randn(1, heads, tokens, tokens)) if tokens else None

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if self.form == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v)
        elif self.form == "einsum":
            weights = torch.einsum("bhid,bhjd->bhij", q, k) * self.scale
            y = torch.einsum("bhij,bhjd->bhid", weights.softmax(-1), v)
        else:
            weights = (q * self.scale) @ k.transpose(-2, -1)
            y = (weights if self.bias is None else weights + self.bias).softmax(-1) @ v
        return self.project(y.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(
        self,
        dim: int,
        heads: int,
        form: str = "matmul",
        act: type[nn.Module] = nn.GELU,
        tokens: int = 0,
        scale: bool = False,
    ):
        super().__init__()
        self.one, self.two, self.attention = nn.LayerNorm(dim), nn.LayerNorm(dim), Attention(dim, heads, form, tokens)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), act(), nn.Linear(2 * dim, dim))
        self.gamma = nn.Parameter(torch.rand(dim)) if scale else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(self.one(x))
        x = x + (y if self.gamma is None else self.gamma * y)
        return x + self.mlp(self.two(x))


class ViT(nn.Module):
    """InsightFace's layout ("flat": all tokens are embedded), or with a class token, or the mean of the tokens."""

    def __init__(
        self,
        end: str = "flat",
        form: str = "matmul",
        act: type[nn.Module] = nn.GELU,
        bias: bool = False,
        patch: int = 16,
        scale: bool = False,
    ):
        super().__init__()
        dim, side = 48, 112 // patch
        self.end, tokens = end, side * side + (end == "class")
        self.patches = nn.Conv2d(3, dim, patch, patch)
        self.position = nn.Parameter(torch.randn(1, tokens, dim) * 0.5)
        self.token = nn.Parameter(torch.randn(1, 1, dim))
        self.blocks = nn.Sequential(*[Block(dim, 4, form, act, tokens if bias else 0, scale) for _ in range(3)])
        self.norm = nn.LayerNorm(dim)
        flat = tokens * dim if end == "flat" else dim
        self.feature = nn.Sequential(
            nn.Linear(flat, 64, bias=False),
            nn.BatchNorm1d(64, eps=2e-5),
            nn.Linear(64, 64, bias=False),
            nn.BatchNorm1d(64, eps=2e-5),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.end == "class":
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = self.norm(self.blocks(x + self.position))
        x = x[:, 0] if self.end == "class" else x.mean(1) if self.end == "mean" else x.reshape(x.shape[0], -1)
        return self.feature(x)


class Encoder(nn.Module):
    """torch's own encoder layers (multi-head attention module)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.end = nn.Conv2d(3, 32, 16, 16), nn.Linear(32, 64)
        self.layers = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True, norm_first=True)
                for _ in range(2)
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).permute(0, 2, 1)
        for layer in self.layers:
            x = layer(x)
        return F.normalize(self.end(x.mean(1)), dim=1)


class ChannelsLast(nn.Module):
    """LayerNorm of channels, as ConvNeXt writes it: moved to the end and back, or spelt out."""

    def __init__(self, c: int, spelt: bool = False):
        super().__init__()
        self.norm, self.spelt = nn.LayerNorm(c, eps=1e-6), spelt

    def forward(self, x: Tensor) -> Tensor:
        if not self.spelt:
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt((x - mean).pow(2).mean(1, keepdim=True) + 1e-6)
        return self.norm.weight[:, None, None] * x + self.norm.bias[:, None, None]


class ConvNeXtBlock(nn.Module):
    def __init__(self, c: int, k: int = 7):
        super().__init__()
        self.depthwise, self.norm, self.gamma = (
            nn.Conv2d(c, c, k, 1, k // 2, groups=c),
            nn.LayerNorm(c, eps=1e-6),
            nn.Parameter(torch.rand(c)),
        )
        self.mlp = nn.Sequential(nn.Linear(c, 2 * c), nn.GELU(), nn.Linear(2 * c, c))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.mlp(y)).permute(0, 3, 1, 2)


class CrossCovariance(nn.Module):
    """XCA: attention among channels, of L2-normalised queries and keys with a temperature for each head."""

    def __init__(self, dim: int, heads: int, rank: int = 0):
        super().__init__()
        self.heads, self.temperature = heads, nn.Parameter(torch.ones(heads, 1, 1) * 2)
        self.qkv, self.project = low_rank(dim, 3 * dim, rank), low_rank(dim, dim, rank)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 4, 1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        weights = ((q @ k.transpose(-2, -1)) * self.temperature).softmax(dim=-1)
        return self.project((weights @ v).permute(0, 3, 1, 2).reshape(b, n, d))


def low_rank(i: int, o: int, rank: int) -> nn.Module:
    return nn.Sequential(nn.Linear(i, rank, bias=False), nn.Linear(rank, o)) if rank else nn.Linear(i, o)


class SplitAttention(nn.Module):
    """EdgeNeXt's SDTA: depthwise convolutions in a cascade on parts of the channels, then XCA and an MLP."""

    def __init__(self, c: int, parts: int, rank: int, position: bool):
        super().__init__()
        self.width = -(-c // parts)
        self.convs = nn.ModuleList(
            [nn.Conv2d(self.width, self.width, 3, 1, 1, groups=self.width) for _ in range(parts - 1)]
        )
        self.one, self.two, self.attention = nn.LayerNorm(c), nn.LayerNorm(c), CrossCovariance(c, 4, rank)
        self.gamma, self.gamma2 = nn.Parameter(torch.rand(c)), nn.Parameter(torch.rand(c))
        self.first, self.last = low_rank(c, 2 * c, rank), low_rank(2 * c, c, rank)
        self.position = nn.Parameter(torch.randn(1, c, 7, 7)) if position else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut, parts, results, y = x, x.split(self.width, 1), [], None
        for conv, part in zip(self.convs, parts, strict=False):
            y = conv(part if y is None else y + part)
            results.append(y)
        x = torch.cat([*results, parts[-1]], 1)
        b, c, h, w = x.shape
        if self.position is not None:
            x = x + F.interpolate(self.position, size=(h, w), mode="bilinear", align_corners=False)
        x = x.reshape(b, c, h * w).permute(0, 2, 1)
        x = x + self.gamma * self.attention(self.one(x))
        x = x.reshape(b, h, w, c)
        x = self.gamma2 * self.last(F.gelu(self.first(self.two(x))))
        return shortcut + x.permute(0, 3, 1, 2)


class EdgeFace(nn.Module):
    def __init__(self, rank: int = 0, spelt: bool = False):
        super().__init__()
        self.stages = nn.Sequential(
            nn.Conv2d(3, 16, 4, 4),
            ChannelsLast(16, spelt),
            ConvNeXtBlock(16, 3),
            ChannelsLast(16, spelt),
            nn.Conv2d(16, 24, 2, 2),
            ConvNeXtBlock(24, 5),
            SplitAttention(24, 2, rank, True),
            ChannelsLast(24, spelt),
            nn.Conv2d(24, 40, 2, 2),
            ConvNeXtBlock(40),
            SplitAttention(40, 3, rank, False),
        )
        self.norm, self.end = nn.LayerNorm(40, eps=1e-6), low_rank(40, 64, rank)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.norm(self.stages(x).mean([-2, -1])))


class Windows(nn.Module):
    """Swin: attention in windows, shifted in every second block, with a bias for each place."""

    def __init__(self, dim: int, side: int, shift: int):
        super().__init__()
        self.side, self.shift = side, shift
        self.one, self.two, self.attention = nn.LayerNorm(dim), nn.LayerNorm(dim), Attention(dim, 4, tokens=side * side)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        s = self.side
        y = self.one(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = y.view(b, h // s, s, w // s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)
        y = self.attention(y).view(-1, h // s, w // s, s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, h, w, c)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        return x + self.mlp(self.two(x))


class Merge(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduce(self.norm(torch.cat(corners, -1)))


class Swin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 8, 8)
        self.blocks = nn.Sequential(Windows(24, 7, 0), Windows(24, 7, 3), Merge(24), Windows(48, 7, 0))
        self.norm, self.end = nn.LayerNorm(48), nn.Linear(48, 64)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.patches(x).permute(0, 2, 3, 1)))
        return self.end(F.adaptive_avg_pool1d(x.flatten(1, 2).transpose(1, 2), 1).flatten(1))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.one, self.two = nn.Conv2d(3, 32, 16, 16), nn.LayerNorm(32), nn.LayerNorm(32)
        self.tokens = nn.Sequential(nn.Linear(49, 64), nn.GELU("tanh"), nn.Linear(64, 49))
        self.channels = nn.Sequential(nn.Linear(32, 64), nn.GELU("tanh"), nn.Linear(64, 32))
        self.end = nn.Linear(32, 64)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.one(x).transpose(1, 2)).transpose(1, 2)
        return self.end((x + self.channels(self.two(x))).mean(1))


class MobileViT(nn.Module):
    """Patches of 2x2 are unfolded, attended by place, and folded again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            Unit(3, 16, 3, 2, act="silu"), Unit(16, 24, 3, 2, act="silu"), Unit(24, 32, 3, 2, act="silu")
        )
        self.block, self.norm, self.fuse = Block(32, 4, act=nn.SiLU), nn.LayerNorm(32), Unit(64, 48, 3, 2, act="silu")
        self.embed = Embed(48, 7, "gap")

    def forward(self, x: Tensor) -> Tensor:
        y = x = self.stem(x)
        b, c, h, w = y.shape
        y = (
            y.reshape(b * c * (h // 2), 2, w // 2, 2)
            .transpose(1, 2)
            .reshape(b, c, h * w // 4, 4)
            .transpose(1, 3)
            .reshape(b * 4, h * w // 4, c)
        )
        y = self.norm(self.block(y))
        y = (
            y.view(b, 4, h * w // 4, c)
            .transpose(1, 3)
            .reshape(b * c * (h // 2), w // 2, 2, 2)
            .transpose(1, 2)
            .reshape(b, c, h, w)
        )
        return self.embed(self.fuse(torch.cat([x, y], 1)))


class Poolformer(nn.Module):
    """MetaFormer: pooling minus the image instead of attention, GroupNorm with one group."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.two = nn.Conv2d(3, 32, 7, 4, 2), nn.GroupNorm(1, 32), nn.GroupNorm(1, 32)
        self.pool, self.scale = nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.Parameter(torch.rand(32, 1, 1))
        self.mlp, self.down, self.embed = (
            nn.Sequential(nn.Conv2d(32, 64, 1), nn.GELU(), nn.Conv2d(64, 32, 1)),
            Unit(32, 48, 3, 4),
            Embed(48, 7, "mean"),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(x)
        x = x + self.scale * (self.pool(y) - y)
        return self.embed(self.down(x + self.mlp(self.two(x))))


def families() -> dict[str, Made]:
    """Every family with attention, or of that time, by name."""
    convnext = nn.Sequential(
        nn.Conv2d(3, 16, 4, 4),
        ChannelsLast(16),
        ConvNeXtBlock(16),
        ConvNeXtBlock(16),
        ChannelsLast(16),
        nn.Conv2d(16, 32, 2, 2),
        ConvNeXtBlock(32),
        ChannelsLast(32),
        nn.Conv2d(32, 48, 2, 2),
        ConvNeXtBlock(48),
        Embed(48, 7, "gap"),
    )
    nets = {
        "vit_flat": ViT(act=nn.ReLU6),
        "vit_class": ViT("class"),
        "vit_mean_einsum": ViT("mean", "einsum"),
        "vit_sdpa": ViT("flat", "sdpa"),
        "vit_bias": ViT("class", bias=True, scale=True),
        "vit_patch8": ViT(patch=8),
        "vit_encoder": Encoder(),
        "edgeface": EdgeFace(),
        "edgeface_low_rank": EdgeFace(8),
        "edgeface_spelt": EdgeFace(spelt=True),
        "convnext": convnext,
        "swin": Swin(),
        "mlp_mixer": Mixer(),
        "mobilevit": MobileViT(),
        "poolformer": Poolformer(),
    }
    return {name: (net, FACE) for name, net in nets.items()}

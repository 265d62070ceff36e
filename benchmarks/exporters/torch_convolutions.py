"""Families of convolutional face networks in torch, narrow, written after their papers."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Made = tuple[nn.Module, tuple[int, int, int]]
FACE = (3, 112, 112)


class Unit(nn.Sequential):
    """Convolution, BatchNorm and an activation; "same" padding."""

    def __init__(self, i: int, o: int, k: int = 1, s: int = 1, g: int = 1, act: str = "prelu", p: int | None = None):
        super().__init__(
            nn.Conv2d(i, o, k, s, k // 2 if p is None else p, groups=g, bias=False),
            nn.BatchNorm2d(o),
            activation(act, o),
        )


def activation(name: str, channels: int) -> nn.Module:
    if name == "prelu":
        return nn.PReLU(channels)
    kinds = {
        "": nn.Identity,
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "hswish": nn.Hardswish,
        "silu": nn.SiLU,
        "mish": nn.Mish,
        "elu": nn.ELU,
        "selu": nn.SELU,
        "gelu": nn.GELU,
        "leaky": nn.LeakyReLU,
        "softplus": nn.Softplus,
        "celu": nn.CELU,
        "tanh": nn.Tanh,
    }
    return kinds[name]()


class SE(nn.Module):
    """Squeeze and excitation, by convolutions or by linear layers."""

    def __init__(self, channels: int, gate: str = "sigmoid", linear: bool = False, act: str = "relu"):
        super().__init__()
        less = max(channels // 4, 4)
        kind = nn.Linear if linear else lambda i, o: nn.Conv2d(i, o, 1)
        self.linear, self.first, self.second = linear, kind(channels, less), kind(less, channels)
        self.act = activation(act, less)
        self.gate = nn.Hardsigmoid() if gate == "hard" else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        if self.linear:
            pooled = pooled.view(x.shape[0], -1)
        gates = self.gate(self.second(self.act(self.first(pooled))))
        return x * (gates.view(x.shape[0], -1, 1, 1) if self.linear else gates)


class Inverted(nn.Module):
    """Expand, depthwise, (SE), project; shortcut where the shape stays."""

    def __init__(
        self, i: int, o: int, s: int = 1, e: int = 2, k: int = 3, act: str = "prelu", se: nn.Module | None = None
    ):
        super().__init__()
        self.path = nn.Sequential(
            Unit(i, i * e, act=act), Unit(i * e, i * e, k, s, i * e, act), se or nn.Identity(), Unit(i * e, o, act="")
        )
        self.shortcut = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x) if self.shortcut else self.path(x)


class Embed(nn.Module):
    """The ends that face networks have: "gdc", "fc", "gap", "mean", "4d"; and L2 normalisation where asked for."""

    def __init__(self, channels: int, side: int | tuple[int, int], kind: str = "gdc", size: int = 64, unit: str = ""):
        super().__init__()
        sides = (side, side) if isinstance(side, int) else side
        self.kind, self.unit = kind, unit
        if kind in ("gdc", "4d"):
            self.depthwise = nn.Sequential(
                nn.Conv2d(channels, channels, sides, groups=channels, bias=False), nn.BatchNorm2d(channels)
            )
            self.project = nn.Conv2d(channels, size, 1, bias=False)
        else:
            flat = channels * sides[0] * sides[1] if kind == "fc" else channels
            self.norm = nn.BatchNorm2d(channels)
            self.dropout = nn.Dropout(0.4)
            self.project = nn.Linear(flat, size)
        self.last = nn.BatchNorm1d(size)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind in ("gdc", "4d"):
            x = self.project(self.depthwise(x))
            if self.kind == "4d":
                return x
            x = x.view(x.shape[0], -1)
        else:
            x = self.dropout(self.norm(x))
            x = {
                "fc": lambda: torch.flatten(x, 1),
                "gap": lambda: F.adaptive_avg_pool2d(x, 1).flatten(1),
                "mean": lambda: x.mean([2, 3]),
            }[self.kind]()
            x = self.project(x)
        x = self.last(x)
        if self.unit == "norm":
            return x / x.norm(2, 1, keepdim=True)
        if self.unit == "pow":
            return x / torch.sqrt(torch.sum(torch.pow(x, 2), dim=1, keepdim=True) + 1e-10)
        return F.normalize(x) if self.unit else x


def mobilefacenet(act: str = "prelu", unit: str = "", kind: str = "gdc") -> nn.Module:
    blocks = [
        Unit(3, 16, 3, 2, act=act),
        Unit(16, 16, 3, 1, 16, act),
        Inverted(16, 16, 2, act=act),
        Inverted(16, 16, act=act),
    ]
    blocks += [
        Inverted(16, 32, 2, 4, act=act),
        Inverted(32, 32, act=act),
        Inverted(32, 32, 2, 4, act=act),
        Unit(32, 96, act=act),
    ]
    return nn.Sequential(*blocks, Embed(96, 7, kind, unit=unit))


class IBlock(nn.Module):
    """BN, conv, BN, activation, conv, BN; the shortcut is a convolution, or subsampling as max pooling of one pixel."""

    def __init__(self, i: int, o: int, s: int, act: str = "prelu", se: bool = False, pool: bool = False):
        super().__init__()
        layers = [nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), activation(act, o)]
        layers += [nn.Conv2d(o, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), *([SE(o)] if se else [])]
        self.path = nn.Sequential(*layers)
        self.shortcut = (
            nn.MaxPool2d(1, s) if i == o and pool else Unit(i, o, 1, s, act="") if s > 1 or i != o else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.path(x) + self.shortcut(x)


def iresnet(act: str = "prelu", se: bool = False, pool: bool = False, kind: str = "fc", width: int = 16) -> nn.Module:
    w = width
    blocks = [
        IBlock(w, w, 2, act, se, pool),
        IBlock(w, w, 1, act, se),
        IBlock(w, 2 * w, 2, act, se),
        IBlock(2 * w, 2 * w, 2, act, se, pool),
    ]
    return nn.Sequential(Unit(3, w, 3, act=act), *blocks, IBlock(2 * w, 3 * w, 2, act, se), Embed(3 * w, 7, kind))


class TwoOutputs(nn.Module):
    """AdaFace: the direction and the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.net = iresnet()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.net(x)
        norm = torch.norm(x, 2, 1, True)
        return torch.div(x, norm), norm


class Ghost(nn.Module):
    """Half of the channels by a convolution, the rest by a cheap depthwise one."""

    def __init__(self, i: int, o: int, act: str = "prelu"):
        super().__init__()
        half = (o + 1) // 2
        self.o, self.main, self.cheap = o, Unit(i, half, act=act), Unit(half, half, 3, 1, half, act)

    def forward(self, x: Tensor) -> Tensor:
        first = self.main(x)
        return torch.cat([first, self.cheap(first)], 1)[:, : self.o]


class GhostBlock(nn.Module):
    """GhostFaceNets' bottleneck; version 2 has the DFC attention: pooled, 1x5 and 5x1 depthwise, enlarged again."""

    def __init__(self, i: int, mid: int, o: int, s: int, second: bool = False):
        super().__init__()
        self.first, self.se, self.last = Ghost(i, mid), SE(mid, "hard", act="prelu"), Ghost(mid, o, "")
        self.down = Unit(mid, mid, 3, s, mid, "") if s > 1 else nn.Identity()
        self.shortcut = nn.Sequential(Unit(i, i, 3, s, i, ""), Unit(i, o, act="")) if s > 1 or i != o else nn.Identity()
        self.attention = None
        if second:
            row = nn.Conv2d(mid, mid, (1, 5), 1, (0, 2), groups=mid, bias=False)
            column = nn.Conv2d(mid, mid, (5, 1), 1, (2, 0), groups=mid, bias=False)
            self.attention = nn.Sequential(
                nn.Conv2d(i, mid, 1, bias=False),
                nn.BatchNorm2d(mid),
                row,
                nn.BatchNorm2d(mid),
                column,
                nn.BatchNorm2d(mid),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if self.attention is not None:
            gate = torch.sigmoid(self.attention(F.avg_pool2d(x, 2, 2)))
            y = y * F.interpolate(gate, size=y.shape[-2:], mode="nearest")
        return self.last(self.se(self.down(y))) + self.shortcut(x)


def ghostfacenet(second: bool = False) -> nn.Module:
    blocks = [
        GhostBlock(12, 20, 12, 1),
        GhostBlock(12, 36, 18, 2, second),
        GhostBlock(18, 40, 18, 1, second),
        GhostBlock(18, 60, 25, 2, second),
    ]
    return nn.Sequential(Unit(3, 12, 3, 2), *blocks, GhostBlock(25, 80, 32, 2), Unit(32, 80), Embed(80, 7))


def mobilenetv1() -> nn.Module:
    layers: list[nn.Module] = [Unit(3, 16, 3, 2, act="relu")]
    for i, o, s in [(16, 24, 1), (24, 32, 2), (32, 32, 1), (32, 48, 2), (48, 64, 2)]:
        layers += [Unit(i, i, 3, s, i, "relu"), Unit(i, o, act="relu")]
    return nn.Sequential(*layers, Embed(64, 7, "fc"))


def mobilenetv3(gate: str = "hard") -> nn.Module:
    layers = [
        Unit(3, 12, 3, 2, act="hswish"),
        Inverted(12, 12, 2, 2, 3, "relu", SE(24, gate)),
        Inverted(12, 20, 2, 3, 5, "hswish", SE(36, gate)),
    ]
    return nn.Sequential(
        *layers,
        Inverted(20, 20, 1, 3, 5, "hswish"),
        Inverted(20, 32, 2, 3, 5, "hswish", SE(60, gate)),
        Unit(32, 64, act="hswish"),
        Embed(64, 7, "mean"),
    )


def shuffle(x: Tensor, groups: int = 2) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class ShuffleBlock(nn.Module):
    def __init__(self, i: int, o: int, s: int, act: str = "prelu"):
        super().__init__()
        half = o // 2
        self.s = s
        self.left = nn.Sequential(Unit(i, i, 3, 2, i, ""), Unit(i, half, act=act)) if s > 1 else nn.Identity()
        start = i if s > 1 else half
        self.right = nn.Sequential(
            Unit(start, half, act=act), Unit(half, half, 3, s, half, ""), Unit(half, half, act=act)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = (x, x) if self.s > 1 else x.chunk(2, 1)
        return shuffle(torch.cat([self.left(first), self.right(second)], 1))


def shufflenetv2() -> nn.Module:
    blocks = [
        ShuffleBlock(16, 32, 2),
        ShuffleBlock(32, 32, 1),
        ShuffleBlock(32, 48, 2),
        ShuffleBlock(48, 48, 1),
        ShuffleBlock(48, 64, 2),
    ]
    return nn.Sequential(Unit(3, 16, 3, 2), *blocks, Unit(64, 96), Embed(96, 7))


def efficientnet(act: str = "silu", se: bool = True) -> nn.Module:
    def gate(c: int) -> nn.Module | None:
        return SE(c, act=act) if se else None

    layers = [
        Unit(3, 12, 3, 2, act=act),
        Inverted(12, 12, 1, 2, 3, act, gate(24)),
        Inverted(12, 16, 2, 4, 5, act, gate(48)),
        Inverted(16, 24, 2, 4, 3, act, gate(64)),
    ]
    return nn.Sequential(
        *layers,
        Inverted(24, 24, 1, 4, 5, act, gate(96)),
        Inverted(24, 32, 2, 4, 5, act, gate(96)),
        Unit(32, 96, act=act),
        Embed(96, 7, "gap"),
    )

"""The first families of face networks in torch: LightCNN, FaceNet, dlib's ResNet, SphereFace."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exporters.torch_convolutions import Embed, Unit


class MFM(nn.Module):
    """LightCNN: of two halves of the channels the larger."""

    def __init__(self, i: int, o: int, k: int = 3):
        super().__init__()
        self.o, self.conv = o, nn.Conv2d(i, 2 * o, k, 1, k // 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.split(self.conv(x), self.o, 1)
        return torch.max(first, second)


class LightCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = MFM(1, 12, 5)
        self.stages = nn.ModuleList([nn.Sequential(MFM(i, i, 1), MFM(i, o)) for i, o in [(12, 24), (24, 32), (32, 32)]])
        self.blocks = nn.ModuleList([nn.Sequential(MFM(c, c), MFM(c, c)) for c in (12, 24, 32)])
        self.fc = nn.Linear(32 * 8 * 8, 128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block, stage in zip(self.blocks, self.stages, strict=True):
            x = F.max_pool2d(x, 2) + F.avg_pool2d(x, 2)
            x = stage(block(x) + x)
        x = F.max_pool2d(x, 2) + F.avg_pool2d(x, 2)
        first, second = torch.chunk(self.fc(torch.flatten(x, 1)), 2, 1)
        return torch.max(first, second)


class InceptionBlock(nn.Module):
    """FaceNet's residual blocks: branches, concatenated, a linear convolution, scaled, added."""

    def __init__(self, channels: int, branches: list[list[tuple[int, object]]], scale: float):
        super().__init__()
        self.scale, self.branches = scale, nn.ModuleList()
        for branch in branches:
            layers, i = [], channels
            for o, k in branch:
                pad = (k[0] // 2, k[1] // 2) if isinstance(k, tuple) else k // 2
                layers += [nn.Conv2d(i, o, k, 1, pad, bias=False), nn.BatchNorm2d(o, eps=1e-3), nn.ReLU()]
                i = o
            self.branches.append(nn.Sequential(*layers))
        self.project = nn.Conv2d(sum(branch[-1][0] for branch in branches), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.project(torch.cat([branch(x) for branch in self.branches], 1)) * self.scale + x)


class Reduction(nn.Module):
    def __init__(self, i: int, o: int):
        super().__init__()
        self.one, self.two = (
            Unit(i, o, 3, 2, act="relu", p=0),
            nn.Sequential(Unit(i, o, 1, act="relu"), Unit(o, o, 3, 2, act="relu", p=0)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.two(x), F.max_pool2d(x, 3, 2)], 1)


def facenet() -> nn.Module:
    stem = [
        Unit(3, 8, 3, 2, act="relu", p=0),
        Unit(8, 8, 3, act="relu", p=0),
        Unit(8, 16, 3, act="relu"),
        nn.MaxPool2d(3, 2),
        Unit(16, 32, 3, 2, act="relu", p=0),
    ]
    b35 = InceptionBlock(32, [[(8, 1)], [(8, 1), (8, 3)], [(8, 1), (8, 3), (8, 3)]], 0.17)
    b17 = InceptionBlock(64, [[(16, 1)], [(16, 1), (16, (1, 7)), (16, (7, 1))]], 0.10)
    b8 = InceptionBlock(112, [[(24, 1)], [(24, 1), (24, (1, 3)), (24, (3, 1))]], 0.20)
    return nn.Sequential(*stem, b35, Reduction(32, 16), b17, Reduction(64, 24), b8, Embed(112, 3, "gap", unit="f"))


class DlibBlock(nn.Module):
    """dlib's residual blocks: where the shape changes, the shortcut is pooled and filled with channels of zeros."""

    def __init__(self, i: int, o: int, down: bool, fill: str):
        super().__init__()
        self.more, self.down, self.fill = o - i, down, fill
        self.path = nn.Sequential(
            Unit(i, o, 3, 2 if down else 1, act="relu", p=0 if down else 1), Unit(o, o, 3, act="")
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.path(x)
        if self.down:
            x = F.avg_pool2d(x, 2, 2)
            rows, columns = x.shape[2] - y.shape[2], x.shape[3] - y.shape[3]
            if rows or columns:
                y = F.pad(y, [0, columns, 0, rows])
        if self.more:
            if self.fill == "pad":
                x = F.pad(x, [0, 0, 0, 0, 0, self.more])
            else:
                x = torch.cat([x, torch.zeros(x.shape[0], self.more, x.shape[2], x.shape[3])], 1)
        return F.relu(x + y)


def dlib(fill: str = "pad") -> nn.Module:
    blocks = [
        DlibBlock(8, 8, False, fill),
        DlibBlock(8, 16, True, fill),
        DlibBlock(16, 16, False, fill),
        DlibBlock(16, 32, True, fill),
        DlibBlock(32, 32, True, fill),
    ]
    return nn.Sequential(
        Unit(3, 8, 7, 2, act="relu", p=0),
        nn.MaxPool2d(3, 2),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 128, bias=False),
    )


class SphereBlock(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.path = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1), nn.PReLU(c), nn.Conv2d(c, c, 3, 1, 1), nn.PReLU(c))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.5 * self.path(x)


def sphereface() -> nn.Module:
    layers: list[nn.Module] = []
    for i, o in [(3, 8), (8, 16), (16, 24), (24, 32)]:
        layers += [nn.Conv2d(i, o, 3, 2, 1), nn.PReLU(o), SphereBlock(o)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 7 * 6, 64))

"""Networks that are small, but whose tensors have the ranges of trained ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from bitface.graph import Network, from_module, to_onnx


def settle(module: nn.Module, size: int, seed: int = 0) -> nn.Module:
    """Random biases, slopes and BatchNorms; then the BatchNorms' statistics are those of a batch of noise."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.dim() > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("weight"):
            value.uniform_(0.1, 1.5, generator=generator)
        elif name.endswith("bias"):
            value.uniform_(-0.4, 0.4, generator=generator)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        module.train()(torch.randn(8, 3, size, size, generator=generator))
    return module.eval()


def network(module: nn.Module, size: int, preprocess: str | None = "rgb-127.5-127.5") -> Network:
    return from_module(settle(module, size), preprocess, size=(size, size))


def onnx_file(module: nn.Module, size: int, path: Path) -> Path:
    """The settled module as a file that says nothing of its preprocessing."""
    onnx.save(to_onnx(network(module, size, None).graph), path)
    return path


def faces(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


class Mixed(nn.Module):
    """A bit of everything: strides, depthwise, PReLU, ReLU, a residual, pooling, a view; 16 x 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
        self.point = nn.Conv2d(8, 8, 1, bias=False)
        self.wide = nn.Sequential(nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(16 * 4 * 4, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.point(self.deep(x))
        return self.fc(torch.flatten(self.pool(self.wide(x)), 1))


class Small(nn.Module):
    """Eight layers with a residual, so that a sweep takes a second."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1, bias=False), nn.BatchNorm2d(16), nn.PReLU(16))
        self.deep = nn.Sequential(
            nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32), nn.PReLU(32),
            nn.Conv2d(32, 32, 3, 1, 1, groups=32, bias=False), nn.BatchNorm2d(32), nn.PReLU(32),
            nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16),
        )  # fmt: skip
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, 4, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.wide = nn.Sequential(nn.Conv2d(32, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.whole = nn.Sequential(nn.Conv2d(64, 64, 7, groups=64, bias=False), nn.BatchNorm2d(64))
        self.fc = nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.wide(self.down(x + self.deep(x)))
        return self.fc(torch.flatten(self.whole(x), 1))


class PreActivation(nn.Module):
    """An IResNet's block: the BatchNorm in front of a padded convolution can't be folded; 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.PReLU(8))
        self.norm = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, 1, 1)
        self.fc = nn.Linear(8 * 8 * 8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.conv(self.norm(x))
        return self.fc(torch.flatten(x, 1))


class Residual(nn.Module):
    """A stream of some channels: two additions, a reader of 3x3 behind zero padding, and what may lie between."""

    def __init__(self, channels: int = 12, between: Callable[[], nn.Module] = nn.Identity, leak: str = "") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.expand = nn.ModuleList(nn.Conv2d(channels, 16, 1) for _ in range(2))
        self.project = nn.ModuleList(nn.Conv2d(16, channels, 1) for _ in range(2))
        self.between, self.leak = between(), leak
        self.own = nn.Conv2d(channels, channels, 3, groups=channels)
        self.last = nn.Conv2d(channels, 8, 3, padding=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.stem(x))
        for expand, project in zip(self.expand, self.project, strict=True):
            x = x + project(torch.relu(expand(x)))
        y = self.last(x).mean((2, 3))
        if self.leak == "depthwise":
            y = y + self.own(x).mean((1, 2, 3), keepdim=True).flatten(1)
        return y + x.mean((1, 2, 3), keepdim=True).flatten(1) if self.leak == "mean" else y

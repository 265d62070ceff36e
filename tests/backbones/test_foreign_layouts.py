"""Weights under other projects' names, against a slow reading of those names: one function call per key."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from bitface import backbones
from bitface.errors import BitfaceError


class Foreign:
    """Makes up weights for keys the first time that they are used, and computes with them."""

    def __init__(self, conv: str, norm: str, slope: str) -> None:
        self.names = (conv, norm, slope)
        self.state: dict[str, torch.Tensor] = {}
        self.generator = torch.Generator().manual_seed(3)

    def weight(self, key: str, *shape: int, low: float = -0.4, high: float = 0.4) -> torch.Tensor:
        if key not in self.state:
            self.state[key] = torch.empty(shape).uniform_(low, high, generator=self.generator)
        return self.state[key]

    def norm(self, x: torch.Tensor, key: str, *, affine: bool = True) -> torch.Tensor:
        size = x.shape[1]
        mean = self.weight(f"{key}.running_mean", size)
        var = self.weight(f"{key}.running_var", size, low=0.5, high=1.5)
        if not affine:
            return F.batch_norm(x, mean, var)
        gain, shift = self.weight(f"{key}.weight", size, low=0.5, high=1.5), self.weight(f"{key}.bias", size)
        return F.batch_norm(x, mean, var, gain, shift)

    def conv(
        self,
        x: torch.Tensor,
        key: str,
        out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
        act: bool = True,
    ) -> torch.Tensor:
        conv, norm, slope = self.names
        fan_in = x.shape[1] // groups * kernel * kernel
        bound = (3 / fan_in) ** 0.5
        shape = (out, x.shape[1] // groups, kernel, kernel)
        weight = self.weight(f"{key}.{conv}.weight", *shape, low=-bound, high=bound)
        x = F.conv2d(x, weight, None, stride, kernel // 2 if padding is None else padding, 1, groups)
        x = self.norm(x, f"{key}.{norm}")
        return F.prelu(x, self.weight(f"{key}.{slope}.weight", out)) if act else x

    def block(
        self, x: torch.Tensor, keys: tuple[str, str, str], hidden: int, out: int, stride: int = 1
    ) -> torch.Tensor:
        expand, depthwise, project = keys
        y = self.conv(x, expand, hidden)
        y = self.conv(y, depthwise, hidden, 3, stride, groups=hidden)
        y = self.conv(y, project, out, act=False)
        return x + y if stride == 1 else y

    def linear(self, x: torch.Tensor, key: str, size: int) -> torch.Tensor:
        return F.linear(x, self.weight(f"{key}.weight", size, x.shape[1], low=-0.1, high=0.1))


def named(x: torch.Tensor, head: str, affine: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """MobileFaceNet with conv_23 ... conv_6_dw; 96-d."""
    net = Foreign("conv", "bn", "prelu")

    def parts(key: str) -> tuple[str, str, str]:
        return f"{key}.conv", f"{key}.conv_dw", f"{key}.project"

    x = net.conv(x, "conv1", 64, 3, 2)
    x = net.conv(x, "conv2_dw", 64, 3, groups=64)
    x = net.block(x, parts("conv_23"), 128, 64, 2)
    for i in range(4):
        x = net.block(x, parts(f"conv_3.model.{i}"), 128, 64)
    x = net.block(x, parts("conv_34"), 256, 128, 2)
    for i in range(6):
        x = net.block(x, parts(f"conv_4.model.{i}"), 256, 128)
    x = net.block(x, parts("conv_45"), 512, 128, 2)
    for i in range(2):
        x = net.block(x, parts(f"conv_5.model.{i}"), 256, 128)
    x = net.conv(x, "conv_6_sep", 512)
    x = net.conv(x, f"{head}conv_6_dw", 512, 7, groups=512, padding=0, act=False)
    x = net.linear(x.flatten(1), f"{head}linear", 96)
    return net.norm(x, f"{head}bn", affine=affine), net.state


def numbered(x: torch.Tensor, scale: int, depths: tuple[int, int, int, int]) -> tuple[Any, ...]:
    """arcface_torch's: the outer widths times `scale`, the inner ones as they are; 96-d."""
    net = Foreign("layers.0", "layers.1", "layers.2")

    def parts(key: str) -> tuple[str, str, str]:
        return f"{key}.layers.0", f"{key}.layers.1", f"{key}.layers.2"

    def row(x: torch.Tensor, key: str, hidden: int, out: int, depth: int) -> torch.Tensor:
        for i in range(depth):
            x = net.block(x, parts(f"{key}.layers.{i}"), hidden, out)
        return x

    x = net.conv(x, "layers.0", 64 * scale, 3, 2)
    if depths[0] == 1:
        x = net.conv(x, "layers.1", 64 * scale, 3, groups=64)
    else:
        x = row(x, "layers.1", 128, 64 * scale, depths[0])
    x = net.block(x, parts("layers.2"), 128, 64 * scale, 2)
    x = row(x, "layers.3", 128, 64 * scale, depths[1])
    x = net.block(x, parts("layers.4"), 256, 128 * scale, 2)
    x = row(x, "layers.5", 256, 128 * scale, depths[2])
    x = net.block(x, parts("layers.6"), 512, 128 * scale, 2)
    x = row(x, "layers.7", 256, 128 * scale, depths[3])
    x = net.conv(x, "conv_sep", 512)
    x = net.conv(x, "features.layers.0", 512, 7, groups=512, padding=0, act=False)
    x = net.linear(x.flatten(1), "features.layers.2", 96)
    return net.norm(x, "features.layers.3"), net.state


def check(faces: torch.Tensor, expected: torch.Tensor, state: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        network = backbones.from_state_dict(state)
        torch.testing.assert_close(network(faces), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
        again = backbones.from_state_dict(network.state_dict())
        assert torch.equal(again(faces), network(faces))


@pytest.fixture
def faces() -> torch.Tensor:
    return torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("head", "affine"), [("", True), ("output_layer.", False)])
def test_named_layout(faces: torch.Tensor, head: str, affine: bool) -> None:
    check(faces, *named(faces, head, affine))


@pytest.mark.parametrize(("scale", "depths"), [(1, (1, 4, 6, 2)), (2, (1, 4, 6, 2)), (4, (2, 8, 12, 4))])
def test_numbered_layout(faces: torch.Tensor, scale: int, depths: tuple[int, int, int, int]) -> None:
    check(faces, *numbered(faces, scale, depths))


def test_insightface_iresnet_names() -> None:
    keys = {"conv1.weight", "prelu.weight", "fc.weight", "fc.bias"}
    norms = {"bn1", "bn2", "features"}
    for stage in range(1, 5):
        for block in range(2):
            key = f"layer{stage}.{block}"
            keys |= {f"{key}.conv1.weight", f"{key}.conv2.weight", f"{key}.prelu.weight"}
            norms |= {f"{key}.bn1", f"{key}.bn2", f"{key}.bn3"}
        keys.add(f"layer{stage}.0.downsample.0.weight")
        norms.add(f"layer{stage}.0.downsample.1")
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys |= {f"{norm}.{part}" for norm in norms for part in parts}
    assert backbones.create("iresnet18", input_size=16).state_dict().keys() == keys


def test_a_foreign_layout_must_be_complete(faces: torch.Tensor) -> None:
    state = named(faces[:1], "", True)[1]
    with pytest.raises(BitfaceError, match="is missing"):
        backbones.from_state_dict({k: v for k, v in state.items() if k != "conv_6_sep.prelu.weight"})
    with pytest.raises(BitfaceError, match="belongs to nothing"):
        backbones.from_state_dict(state | {"prob.weight": torch.ones(3, 128)})
    with pytest.raises(BitfaceError, match="some of them twice"):
        backbones.from_state_dict(state | {"output_layer.linear.weight": torch.ones(96, 512)})

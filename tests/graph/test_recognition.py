"""Operators in parts become what they are, however they are written; what is near one, but isn't it, stays."""

import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bitface.graph import ops
from bitface.graph.torch_reader import from_module

Write = Callable[["Network", Tensor], Tensor]


class Network(nn.Module):
    """One function of a map `[N, 8, 6, 6]`."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.weight = nn.Parameter(torch.rand(8) + 0.5)
        self.bias = nn.Parameter(torch.randn(8))
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        return self.write(self, self.conv(x))


def moments(m: Network, x: Tensor, dims: tuple[int, ...], eps: float = 1e-5) -> Tensor:
    """As torch's exporter writes it before opset 17."""
    centred = x - x.mean(dims, keepdim=True)
    return centred / ((centred**2).mean(dims, keepdim=True) + eps).sqrt()


def tensorflow_norm(m: Network, x: Tensor) -> Tensor:
    x = x.permute(0, 2, 3, 1)
    mean = x.mean((3,), keepdim=True)
    gain = torch.rsqrt(((x - mean) * (x - mean)).mean((3,), keepdim=True) + 1e-3) * m.weight
    return x * gain + (m.bias - mean * gain)


def rooted(m: Network, x: Tensor) -> Tensor:
    centred = x - x.mean((1,), keepdim=True)
    return centred / ((centred**2).mean((1,), keepdim=True).sqrt() + 1e-3)


def recognised(write: Write) -> tuple[Network, Counter[str], float]:
    """The network, the kinds of its graph's modules, and how far the graph lies from it."""
    torch.manual_seed(0)
    model, images = Network(write).eval(), torch.randn(2, 3, 8, 8)
    graph = from_module(model, (8, 8))
    with torch.no_grad():
        far = (graph(images) - model(images)).abs().max().item()
    return model, Counter(type(one).__name__ for one in graph.modules() if list(one.children()) == []), far


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda m, x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))), "GELU"),
        (lambda m, x: 0.5 * (x * (torch.erf(x * 0.70710678) + 1)), "GELU"),
        (lambda m, x: x * (0.5 + 0.5 * torch.erf(x * 0.7071)), "GELU"),
        (lambda m, x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), "GELU"),
        (lambda m, x: 0.5 * x * (1 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x))), "GELU"),
        (lambda m, x: x * torch.clamp(x + 3, 0, 6) / 6, "Hardswish"),
        (lambda m, x: x * nn.functional.relu6(x + 3) * (1 / 6), "Hardswish"),
    ],
)
def test_functions(write: Write, kind: str) -> None:
    _, kinds, far = recognised(write)
    assert far < 1e-4
    assert {name for name, count in kinds.items() if count} == {"Conv2d", kind}


@pytest.mark.parametrize(
    "write",
    [
        lambda m, x: x * torch.sigmoid(1.702 * x),  # near a GELU
        lambda m, x: x * (1 + torch.erf(x / math.sqrt(2))),  # twice one
        lambda m, x: x * torch.clamp(x + 3, 0, 6) / 5.9,
        lambda m, x: x * torch.erf(m.weight[:, None, None] * x),
        lambda m, x: (
            (x - x.mean((1,), keepdim=True))
            / (((x - x.mean((1,), keepdim=True)) ** 2).mean((1,), keepdim=True).sqrt() + 1e-3)
        ),
    ],
)
def test_what_is_near_stays(write: Write) -> None:
    _, kinds, far = recognised(write)
    assert far < 1e-5
    assert not {"GELU", "Hardswish", "LayerNorm"} & set(kinds)


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def normed(m: Network, x: Tensor) -> Tensor:
    """Over all the map, so that few of many numbers may be large: the cubes make them few."""
    return moments(m, x * x * x * 1e-9, (1, 2, 3)) + 0.1


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda m, x: silu(x).clamp(-1e9, 12), "SiLU"),
        (lambda m, x: silu(x).clamp(max=2e5), "SiLU"),
        (lambda m, x: (x * torch.clamp(x + 3, 0, 6) / 6).clamp(max=11), "Hardswish"),
        (lambda m, x: silu(x.clamp(-11, 12)), "SiLU"),
        (lambda m, x: normed(m, x).clamp(-6, 6), "LayerNorm"),
        (lambda m, x: nn.functional.relu(normed(m, x) + 6), "LayerNorm"),
        (lambda m, x: nn.functional.hardsigmoid(normed(m, x) / 2), "LayerNorm"),
        (lambda m, x: (x / (2 + 0.3 * neighbours(x, 3, 1)) ** 0.75).clamp(-2e4, 500), "LocalResponseNorm"),
        (lambda m, x: x.clamp(-500, 500) / (2 + 0.3 * neighbours(x, 3, 1)) ** 0.75, ""),
        (lambda m, x: x / (2 + 0.3 * neighbours(x, 3, 1)).clamp(max=1e5) ** 0.75, ""),
    ],
)
def test_limits_of_large_numbers_stay(write: Write, kind: str) -> None:
    torch.manual_seed(0)
    model = Network(write).eval()
    graph, images = from_module(model, (8, 8)), torch.randn(8, 3, 8, 8)
    images[:, :, 3, 3] *= torch.logspace(0, 7, 8)[:, None] * torch.tensor([1, -1, 1])
    with torch.no_grad():
        torch.testing.assert_close(graph(images), model(images), rtol=1e-4, atol=1e-4)
    kinds = {type(one).__name__ for one in graph.modules()}
    assert not kind or kind in kinds


@pytest.mark.parametrize(
    ("write", "eps"),
    [
        (lambda m, x: moments(m, x.flatten(2).transpose(1, 2), (2,)) * m.weight + m.bias, 1e-5),
        (lambda m, x: moments(m, x, (2, 3), 1e-12) * 3 + 1, 1e-12),
        (lambda m, x: m.weight[:, None, None] * moments(m, x, (1,), 1e-6) + m.bias[:, None, None], 1e-6),
        (tensorflow_norm, 1e-3),
    ],
)
def test_layer_norms(write: Write, eps: float) -> None:
    model, kinds, far = recognised(write)
    assert far < 1e-4
    assert not {"ReduceMean", "Sqrt", "Div", "Pow", "Reciprocal", "Mul"} & set(kinds)
    graph = from_module(model, (8, 8))
    (norm,) = (one for one in graph.modules() if isinstance(one, nn.LayerNorm))
    assert norm.eps == pytest.approx(eps)
    if norm.normalized_shape == (8,):
        torch.testing.assert_close(norm.weight, model.weight)
        torch.testing.assert_close(norm.bias, model.bias)


def test_instance_norm_is_a_layer_norm_and_a_scale() -> None:
    _, kinds, far = recognised(lambda m, x: moments(m, x, (2, 3)) * m.weight[:, None, None])
    assert far < 1e-5
    assert kinds == {"Conv2d": 1, "LayerNorm": 1, "Mul": 1}


def test_residuals_are_left_alone() -> None:
    _, kinds, far = recognised(lambda m, x: x + moments(m, x.permute(0, 2, 3, 1), (3,)).permute(0, 3, 1, 2))
    assert far < 1e-5
    assert kinds["LayerNorm"] == kinds["Add"] == 1
    assert ops.Add.__name__ in kinds


def neighbours(x: Tensor, size: int, before: int) -> Tensor:
    """Means over neighbouring channels, as a file pools them."""
    rows = nn.functional.pad((x**2).flatten(2).unsqueeze(1), (0, 0, before, size - 1 - before))
    return nn.functional.avg_pool2d(rows, (size, 1), (1, 1)).view(-1, 8, 6, 6)


@pytest.mark.parametrize("size", [3, 5])
def test_local_response_norms(size: int) -> None:
    model, kinds, far = recognised(lambda m, x: x / (2 + 0.3 * neighbours(x, size, size // 2)) ** 0.75)
    assert far < 1e-5
    assert kinds == {"Conv2d": 1, "LocalResponseNorm": 1}
    (norm,) = (one for one in from_module(model, (8, 8)).modules() if isinstance(one, nn.LocalResponseNorm))
    assert (norm.size, norm.alpha, norm.beta, norm.k) == (size, pytest.approx(0.3), 0.75, pytest.approx(2))


@pytest.mark.parametrize(
    "write",
    [
        lambda m, x: x / (2 + 0.3 * neighbours(x, 3, 0)) ** 0.75,  # of neighbours on one side
        lambda m, x: x / (2 + 0.3 * neighbours(x, 4, 2)) ** 0.75,
        lambda m, x: x / (m.weight[:, None, None] + 0.3 * neighbours(x, 3, 1)) ** 0.75,
        lambda m, x: x / (2 + neighbours(x, 3, 1).abs()) ** 0.75,
    ],
)
def test_what_is_near_a_local_response_norm_stays(write: Write) -> None:
    _, kinds, far = recognised(write)
    assert far < 1e-5
    assert "LocalResponseNorm" not in kinds

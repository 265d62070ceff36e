import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from bitface import backbones
from bitface.graph import from_module, passes
from bitface.quant import BitPlan, calibrate
from bitface.quant.equalize import equalize
from bitface.quant.plan import LayerBits
from bitface.quant.student import build
from support.quantized import settle


class Pair(nn.Module):
    """A convolution, something, and a depthwise convolution with two outputs for each input."""

    def __init__(self, between: nn.Module, second_reader: bool = False, groups: int = 6) -> None:
        super().__init__()
        self.first, self.between = nn.Conv2d(3, 6, 3, padding=1), between
        self.depthwise = nn.Conv2d(6, 12, 3, padding=1, groups=groups)
        self.second_reader = second_reader

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.first(x))
        y = self.depthwise(x).mean((2, 3))
        return y + x.mean((1, 2, 3), keepdim=True).flatten(1) if self.second_reader else y


def images() -> Tensor:
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def batches() -> Iterator[Tensor]:
    yield from images().split(4)


def peaks(graph: torch.fx.GraphModule, name: str) -> Tensor:
    seen: list[Tensor] = []
    handle = graph.get_submodule(name).register_forward_hook(lambda _, __, value: seen.append(value))
    with torch.no_grad():
        graph(images())
    handle.remove()
    return seen[0].abs().amax((0, 2, 3))


BETWEEN: dict[str, Callable[[], nn.Module]] = {
    "nothing": nn.Identity,
    "relu": nn.ReLU,
    "leaky": nn.LeakyReLU,
    "prelu": lambda: nn.PReLU(6),
    "prelu-one-slope": nn.PReLU,
}


@pytest.mark.parametrize("name", BETWEEN)
def test_ranges_become_equal_and_the_function_stays(name: str) -> None:
    graph = from_module(settle(Pair(BETWEEN[name]()), 8), size=(8, 8)).graph
    site = "first" if name == "nothing" else "between"
    with torch.no_grad():
        before, uneven = graph(images()), peaks(graph, site)
        assert uneven.max() > 1.5 * uneven.min()
        assert equalize(graph, batches, 6) == [site]
        torch.testing.assert_close(graph(images()), before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(peaks(graph, site), uneven.max().expand(6))


def test_silent_channels_are_left_alone_and_quiet_ones_raised_by_a_hundred_at_most() -> None:
    module = settle(Pair(nn.ReLU()), 8)
    with torch.no_grad():
        module.first.weight[0], module.first.bias[0] = 0, -1
        module.first.weight[1] *= 1e-4
        module.first.bias[1] *= 1e-4
    graph = from_module(module, size=(8, 8)).graph
    before, uneven = graph(images()), peaks(graph, "between")
    equalize(graph, batches, 6)
    after = peaks(graph, "between")
    assert after[0] == 0
    torch.testing.assert_close(after[1], uneven[1] * 100)
    torch.testing.assert_close(graph(images()), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "module",
    [
        Pair(nn.Hardtanh(-1, 1)),
        Pair(nn.Sigmoid()),
        Pair(nn.MaxPool2d(2)),
        Pair(nn.ReLU(), second_reader=True),
        Pair(nn.ReLU(), groups=3),
        Pair(nn.ReLU(), groups=1),
    ],
    ids=["cut below", "sigmoid", "pool", "two readers", "groups", "dense"],
)
def test_pairs_that_scaling_would_change_are_left_alone(module: Pair) -> None:
    graph = from_module(settle(module, 8), size=(8, 8)).graph
    before = {key: value.clone() for key, value in graph.state_dict().items()}
    assert equalize(graph, batches, 6) == []
    assert all(torch.equal(value, before[key]) for key, value in graph.state_dict().items())


def test_a_whole_network() -> None:
    network = settle(backbones.create("mobilefacenet:0.25", input_size=32), 32)
    graph = passes.fold(from_module(network, size=(32, 32)).graph)
    inputs = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = graph(inputs)
        assert len(equalize(graph, lambda: iter([inputs]), 4)) == 17  # every depthwise convolution of table I
        torch.testing.assert_close(graph(inputs), before, rtol=1e-4, atol=1e-4)


def test_behind_a_cap_channels_are_raised_towards_it_and_the_function_stays() -> None:
    module = settle(Pair(nn.ReLU6()), 8)
    with torch.no_grad():
        module.first.weight[0] *= 20  # meets the cap
        module.first.weight[1] *= 1e-4
        module.first.bias[1] *= 1e-4
    graph = from_module(module, size=(8, 8)).graph
    before, uneven = graph(images()), peaks(graph, "between")
    assert equalize(graph, batches, 6) == ["between"]
    after = peaks(graph, "between")
    torch.testing.assert_close(graph(images()), before, rtol=1e-5, atol=1e-5)
    assert uneven[0] == after[0] == 6
    torch.testing.assert_close(after[1], uneven[1] * 100)
    between = (uneven > 0) & (uneven < 4.8) & (uneven > 0.048)
    assert between.any()
    torch.testing.assert_close(after[between], torch.full((int(between.sum()),), 4.8))


FOUR = BitPlan(LayerBits(4, 4), first=LayerBits(8, 4), last=LayerBits(8, 4))


def read(graph: torch.fx.GraphModule) -> Tensor:
    """What the second convolution makes of the images, before its mean over places is taken."""
    seen: list[Tensor] = []
    handle = graph.get_submodule("depthwise").register_forward_hook(lambda _, __, value: seen.append(value))
    with torch.no_grad():
        graph(images())
    handle.remove()
    return seen[0]


def rounding_error(graph: torch.fx.GraphModule, expected: Tensor) -> float:
    """The mean squared error there that activations of four bits make."""
    student = build(graph, FOUR)
    calibrate.activation_ranges(student, batches, 6)
    calibrate.weight_scales(student)
    return float((read(student.graph) - expected).square().mean())


@pytest.mark.parametrize("name", [*BETWEEN, "relu6"])
def test_with_few_bits_channels_get_steps_of_least_error(name: str) -> None:
    between = nn.ReLU6() if name == "relu6" else BETWEEN[name]()
    graph = from_module(settle(Pair(between), 8), size=(8, 8)).graph
    equal, site = copy.deepcopy(graph), "first" if name == "nothing" else "between"
    before = read(graph)
    assert equalize(graph, batches, 6, FOUR) == equalize(equal, batches, 6) == [site]
    if name != "relu6":  # whose cap cuts off what the last level would
        torch.testing.assert_close(read(graph), before, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(peaks(graph, site), peaks(equal, site), rtol=0.05)
    assert rounding_error(graph, before) < rounding_error(equal, before)


def test_with_few_bits_channels_before_dense_convolutions_are_balanced_and_the_function_stays() -> None:
    module = settle(Pair(nn.PReLU(6), groups=1), 8)
    with torch.no_grad():
        module.first.weight[0] *= 30
        module.first.bias[0] *= 30
        module.depthwise.weight[:, 0] /= 30
    graph = from_module(module, size=(8, 8)).graph
    plain = copy.deepcopy(graph)
    before = read(graph)
    assert equalize(graph, batches, 6, FOUR) == ["between"]
    torch.testing.assert_close(read(graph), before, rtol=1e-5, atol=1e-5)
    assert peaks(graph, "between").max() / peaks(graph, "between").min() < 10
    assert peaks(plain, "between").max() / peaks(plain, "between").min() > 20
    assert rounding_error(graph, before) < 0.5 * rounding_error(plain, before)

"""Quantizers that learn: what they simulate is what is exported, and their gradients are those of their papers."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitface.errors import UsageError
from bitface.graph import from_module, ops, passes
from bitface.quant import BitPlan, calibrate, learn
from bitface.quant.freeze import freeze
from bitface.quant.fused import fused
from bitface.quant.quantizers import (
    QUANTIZERS,
    DsqQuantizer,
    LsqQuantizer,
    PactQuantizer,
    PercentileQuantizer,
    Quantizer,
    minmax,
)
from bitface.quant.student import Student, build
from support.quantized import Mixed, PreActivation, settle

IMAGES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(5)).clamp(-1, 1)
WEIGHT_METHODS = [name for name in QUANTIZERS if name != "pact"]
# Those whose first numbers aren't calibration's: live extremes, bent weights.
OWN_NUMBERS = ("minmax", "ema", "percentile", "dorefa")


def made(method: str, bits: int, signed: bool, symmetric: bool, channels: int = 1, weights: bool = False) -> Quantizer:
    quantizer = QUANTIZERS[method](bits, signed, symmetric, channels, weights and bits == 8)
    quantizer.weights = weights
    quantizer.set_range(
        torch.full((channels,), 0.0 if not signed and symmetric else -1.3), torch.full((channels,), 1.7)
    )
    return quantizer


def trained(quantizer: Quantizer, x: Tensor, steps: int = 5) -> None:
    """Some steps towards nothing in particular."""
    target = torch.roll(x.detach(), 1)
    parameters = list(quantizer.parameters())
    optimizer = torch.optim.SGD(parameters, 0.3) if parameters else None
    for _ in range(steps):
        loss = (quantizer(x) - target).square().mean()
        if optimizer and loss.requires_grad:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


ACTIVATIONS = list(product(QUANTIZERS, (2, 3, 4, 8), ((False, True), (True, True), (False, False))))


@pytest.mark.parametrize(("method", "bits", "kind"), ACTIVATIONS)
def test_activations_settle_to_what_they_simulate(method: str, bits: int, kind: tuple[bool, bool]) -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 7, 3, 3) * 1.5
    quantizer = made(method, bits, *kind)
    trained(quantizer, x)
    with torch.no_grad():
        found, fixed = quantizer(x), quantizer.settled()
    assert torch.equal(fixed(quantizer.transform(x)), found)
    integers = fixed.integers(x)
    assert torch.equal(integers, integers.round())
    assert quantizer.limits[0] <= integers.min() <= integers.max() <= quantizer.limits[1]
    assert len(found.unique()) <= 2**bits
    assert not quantizer(torch.zeros(2, 3)).any()  # padding stays exact


@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("method", WEIGHT_METHODS)
def test_weights_settle_to_what_they_simulate(method: str, bits: int, symmetric: bool, channels: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 4, 3, 3, requires_grad=True)
    quantizer = made(method, bits, True, symmetric, channels, weights=True)
    trained(quantizer, weight)
    with torch.no_grad():
        found = quantizer(weight)
        assert torch.equal(quantizer.settled()(quantizer.transform(weight)), found)
    assert (found - weight).abs().max() < weight.abs().max()
    quantizer(weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("channels", [1, 6])
def test_one_bit_is_the_sign_times_the_mean_size(channels: int) -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    quantizer = QUANTIZERS["dorefa"](1, True, True, channels)
    quantizer.weights = True
    found = quantizer(weight)
    rows, levels = weight.detach().reshape(channels, -1), found.detach().reshape(channels, -1)
    for row, level in zip(rows.tolist(), levels.tolist(), strict=True):
        mean = math.fsum(abs(value) for value in row) / len(row)
        assert level == pytest.approx([mean if value >= 0 else -mean for value in row], rel=1e-5)
    assert torch.equal(quantizer.settled()(quantizer.transform(weight)), found)
    assert set(quantizer.settled().integers(weight.detach()).unique().tolist()) == {-1.0, 1.0}
    found.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.ones_like(weight))  # straight through (equation 7)


def test_one_bit_is_for_methods_that_have_it() -> None:
    student = build(passes.fold(from_module(settle(Mixed(), 16), None, size=(16, 16)).graph), BitPlan.parse("w1a4"))
    before = dict(student.quantized_layers())
    with pytest.raises(UsageError, match="'lsq' can't train weights of 1 bit; set 'weights: dorefa'"):
        learn.make_learnable(student)
    assert student.quantized_layers() == before
    learn.make_learnable(student, "dorefa")


def test_a_dead_channel_of_one_bit_stays_silent() -> None:
    quantizer = QUANTIZERS["dorefa"](1, True, True, 2)
    quantizer.weights = True
    levels = quantizer(torch.tensor([[0.0, 0.0], [1.0, -3.0]]))
    assert levels[0].abs().max() < 1e-9
    torch.testing.assert_close(levels[1], torch.tensor([2.0, -2.0]))


@pytest.mark.parametrize("method", [name for name in QUANTIZERS if name not in OWN_NUMBERS])
def test_training_begins_where_calibration_ended(method: str) -> None:
    x = torch.linspace(-2, 2, 101)
    quantizer = made(method, 4, False, False)
    scale, zero = quantizer.scale.detach(), quantizer.zero_point.detach()
    assert scale.item() == pytest.approx(3.0 / 15, rel=1e-6)
    assert zero.item() == round(1.3 / 0.2)
    torch.testing.assert_close(quantizer(x), quantizer.settled()(x), rtol=0, atol=0)


@pytest.mark.parametrize("method", QUANTIZERS)
def test_state_goes_on(method: str) -> None:
    torch.manual_seed(1)
    x = torch.randn(4, 3)
    quantizer, other = made(method, 4, False, False), made(method, 4, False, False)
    trained(quantizer, x)
    other.load_state_dict(quantizer.state_dict())
    assert torch.equal(other(x * 2), quantizer(x * 2))
    assert all(
        torch.equal(a, b) for a, b in zip(other.state_dict().values(), quantizer.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("method", ["lsq", "pact", "dorefa", "dsq"])
def test_no_gradient_outside_the_range(method: str) -> None:
    x = torch.tensor([-9.0, -1.0, 0.1, 1.0, 9.0], requires_grad=True)
    made(method, 4, False, False)(x).sum().backward()
    assert x.grad is not None
    assert x.grad[0] == x.grad[4] == 0
    assert (x.grad[1:4] > 0).all()


def lsq_oracle(x: Tensor, scale: float, zero: int, low: int, high: int) -> tuple[float, float]:
    """The sums of the gradients of scale and zero point, number by number (LSQ, eq. 3; LSQ+, eq. 5 and 6)."""
    by_scale = by_zero = 0.0
    for value in x.tolist():
        level = round(value / scale) + zero
        if low <= level <= high:
            by_scale += round(value / scale) - value / scale
        else:
            by_scale += (low if level < low else high) - zero
            by_zero -= scale
    return by_scale, by_zero


def test_lsq_gradients_are_those_of_the_papers() -> None:
    x = torch.randn(200, generator=torch.Generator().manual_seed(3), dtype=torch.float32) * 1.5
    quantizer = made("lsq", 4, False, False)
    assert isinstance(quantizer, LsqQuantizer)
    quantizer(x).sum().backward()
    scale = quantizer.scale.item()
    by_scale, by_zero = lsq_oracle(x, scale, int(quantizer.zero_point.item()), 0, 15)
    share = (1 * 15) ** -0.5  # one number for each of 200 samples
    assert quantizer.log_scale.grad is not None
    assert quantizer.log_scale.grad.item() == pytest.approx(by_scale * share * scale, rel=1e-4)
    assert quantizer.offset is not None
    assert quantizer.offset.grad is not None
    assert quantizer.offset.grad.item() == pytest.approx(by_zero * share, rel=1e-4)


def test_the_ends_of_pact_learn_from_what_is_clipped_and_nothing_else() -> None:
    x = torch.tensor([-5.0, -4.0, -0.3, 0.2, 0.9, 3.0, 4.0, 5.0])
    quantizer = made("pact", 4, False, False)
    assert isinstance(quantizer, PactQuantizer)
    weights = torch.tensor([1.0, 10.0, 100.0, 100.0, 100.0, 2.0, 20.0, 200.0])
    (quantizer(x) * weights).sum().backward()
    assert quantizer.high.grad is not None
    assert quantizer.low is not None
    assert quantizer.low.grad is not None
    assert quantizer.high.grad.item() == pytest.approx(222.0, rel=1e-4)
    assert quantizer.low.grad.item() == pytest.approx(11.0, rel=1e-4)


def test_dsq_passes_gradients_through_soft_steps() -> None:
    quantizer = made("dsq", 4, False, False)
    assert isinstance(quantizer, DsqQuantizer)
    x = torch.linspace(-1, 1, 41, requires_grad=True)
    quantizer(x).sum().backward()
    with torch.no_grad():
        scale, k = quantizer.scale.double().item(), quantizer.sharpness
    assert k == pytest.approx(math.log(4))  # alpha 0.4: s is 5/3

    def soft(value: float) -> float:
        unit = value / scale
        fraction = unit - unit // 1
        s = 1 / (1 - quantizer.alpha)
        return scale * (
            unit // 1 + (s * torch.tanh(torch.tensor(k * (fraction - 0.5), dtype=torch.float64)).item() + 1) / 2
        )

    assert x.grad is not None
    for value, grad in zip(x.detach().double().tolist(), x.grad.tolist(), strict=True):
        if abs(value / scale - round(value / scale)) < 1e-3:
            continue  # the soft staircase has a corner at each level
        assert grad == pytest.approx((soft(value + 1e-6) - soft(value - 1e-6)) / 2e-6, rel=1e-3)


def test_watched_ranges_stand_still_after_their_steps() -> None:
    quantizer: Any = made("minmax", 8, False, False)
    quantizer.steps = 2
    for factor in (3.0, 5.0, 100.0):
        quantizer(torch.tensor([[-factor, factor]], requires_grad=True))
    assert quantizer.scale.item() == pytest.approx(10 / 255)
    other: Any = made("minmax", 8, False, False)
    with torch.no_grad():
        other(torch.tensor([100.0]))  # evaluation doesn't watch
    assert int(other.watched) == 0


@pytest.mark.parametrize("module", [Mixed, PreActivation])
@pytest.mark.parametrize("method", QUANTIZERS)
@pytest.mark.parametrize("bits", ["w4a4", "w8a8"])
def test_a_trained_student_freezes_to_the_same_network(method: str, bits: str, module: type[nn.Module]) -> None:
    student, images = student_of(bits, module)
    learn.make_learnable(student, "dorefa" if method == "pact" else method, method)
    run = fused(student.graph)
    optimizer = torch.optim.SGD(student.graph.parameters(), 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        run(images).square().mean().backward()
        optimizer.step()
    learn.settle(student)
    graph = freeze(student)
    with torch.no_grad():
        for name, layer in student.quantized_layers().items():
            if layer.bias is not None:  # the one thing that freezing rounds
                layer.bias.copy_(graph.get_submodule(name).float_bias())
        torch.testing.assert_close(graph(images), student.graph(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", [nn.PReLU(8), nn.PReLU(1), nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.2)])
def test_an_activation_in_the_kernel_is_the_same_activation(activation: nn.Module) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
            self.act, self.fc = activation, nn.Linear(8 * 144, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.flatten(self.b(self.act(self.a(x))), 1))

    graph = from_module(settle(Net(), 16), size=(16, 16)).graph
    student = calibrated(build(passes.fold(graph), BitPlan.parse("w4a4")), IMAGES)
    learn.make_learnable(student)
    run = fused(student.graph)
    kinds = {ops.op_name(part) for part in run.modules()}
    assert len([node for node in run.graph.nodes if "fused" in str(node.target)]) == 1, kinds
    student.graph.requires_grad_(True)
    gradients = []
    for graph in (student.graph, run):
        student.graph.zero_grad()
        found = graph(IMAGES)
        found.square().sum().backward()
        gradients.append((found.detach(), [p.grad.clone() for p in student.graph.parameters() if p.grad is not None]))
    (plain, slow), (quick, fast) = gradients
    assert torch.equal(plain, quick)
    for one, other in zip(slow, fast, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-4 * float(one.abs().max()))


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="did you mean 'lsq'"):
        learn.check_method("lqs", "lsq")
    with pytest.raises(UsageError, match="dorefa"):
        learn.check_method("pact", "pact")


def student_of(bits: str, module: type[nn.Module]) -> tuple[Student, Tensor]:
    size = 8 if module is PreActivation else 16
    images = IMAGES[..., :size, :size]
    graph = from_module(settle(module(), size), size=(size, size)).graph
    student = calibrated(build(passes.fold(graph), BitPlan.parse(bits)), images)
    student.graph.requires_grad_(True)
    return student, images


def calibrated(student: Student, images: Tensor) -> Student:
    calibrate.activation_ranges(student, lambda: iter([images]), len(images))
    calibrate.weight_scales(student)
    return student


@pytest.mark.parametrize("quantizer", ["minmax", "percentile"])
@pytest.mark.parametrize("slope", [None, 0.0, 0.3, -0.3, "per channel", "with a negative one"])
@pytest.mark.parametrize("cap", [float("inf"), 0.9])
@pytest.mark.parametrize("half", [False, True])
def test_a_watched_range_is_that_behind_the_activation(
    monkeypatch: pytest.MonkeyPatch, quantizer: str, slope: object, cap: float, half: bool
) -> None:
    monkeypatch.setattr(PercentileQuantizer, "outside", 0.2)  # a tenth of the few numbers here, on each side
    x = torch.randn(3, 5, 4, 4, generator=torch.Generator().manual_seed(5)).to(torch.bfloat16 if half else torch.float)
    slopes = {"per channel": torch.linspace(0, 2, 5), "with a negative one": torch.linspace(-1, 1, 5)}
    given = None if slope is None else slopes[slope] if isinstance(slope, str) else torch.tensor([slope])
    low, high = QUANTIZERS[quantizer](8, True, False).extremes(x, given, cap)
    values = sorted(
        min(float(value) * (float(given[channel % len(given)]) if given is not None and value < 0 else 1), cap)
        for image in x.float()
        for channel, plane in enumerate(image)
        for value in plane.flatten()
    )
    within = values[23:-23] if quantizer == "percentile" else values
    assert float(low) == pytest.approx(within[0], rel=1e-6)
    assert float(high) == pytest.approx(within[-1], rel=1e-6)


def test_a_percentile_of_some_numbers_takes_the_slope_of_their_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minmax, "_SAMPLE", 20)
    slopes = torch.tensor([1.0, 0.5, 0.25, 0.125])
    x = (-1 / slopes).view(1, 4, 1, 1).expand(3, 4, 5, 5)
    low, high = PercentileQuantizer(8, True, False).extremes(x, slopes, float("inf"))
    assert (float(low), float(high)) == (-1, -1)

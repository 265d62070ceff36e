"""Integers that turn back, are drawn to the middle of their levels, or frozen: beside one weight by hand."""

import pytest
import torch
from lib.held_integers import HeldIntegers, HeldLsqQuantizer, Hold, Oscillation
from torch import Tensor, nn

from bitface.quant.student import QuantizedLinear

STEPS = 40


def layer_of(bits: int = 3, symmetric: bool = True) -> tuple[QuantizedLinear, HeldLsqQuantizer]:
    layer = QuantizedLinear(5, 4)
    quantizer = HeldLsqQuantizer(bits, True, symmetric, 4)
    quantizer.weights = True
    torch.manual_seed(0)
    nn.init.normal_(layer.weight, 0, 0.3)
    quantizer.set_range(layer.weight.detach().amin(1), layer.weight.detach().amax(1) * 0.8)
    layer.weight_quantizer = quantizer
    return layer, quantizer


def walk() -> list[Tensor]:
    """Integers of six weights that move by at most one from step to step."""
    generator = torch.Generator().manual_seed(1)
    moves = torch.randint(-1, 2, (STEPS, 6), generator=generator).float()
    return list(moves.cumsum(0))


def test_frequencies_are_those_of_each_weight_by_itself() -> None:
    path, m = walk(), 0.1
    oscillation = Oscillation(torch.zeros(6))
    for integers in path:
        oscillation.follow(integers, m)
    for place in range(6):
        before, last, frequency, mean = 0.0, 0.0, 0.0, 0.0
        for integers in path:
            now = integers[place].item()
            change = (now > before) - (now < before)
            turned = change != 0 and last != 0 and change != last
            frequency = m * turned + (1 - m) * frequency
            mean = m * now + (1 - m) * mean
            last, before = (change or last), now
        assert oscillation.frequency[place].item() == pytest.approx(frequency, abs=1e-6)
        assert oscillation.mean[place].item() == pytest.approx(mean, abs=1e-5)
    assert (oscillation.frequency > 0).any()


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_turns_back_too_often_stays_at_its_mean(symmetric: bool) -> None:
    layer, quantizer = layer_of(symmetric=symmetric)
    scale = quantizer.scale.detach()[0]
    layer.weight.data[0, :2] = 0.6 * scale
    held = HeldIntegers(layer, Hold(frequency=0.005))
    with torch.no_grad():
        layer.weight[0, 0] = 0.4 * scale
        for step in range(1, STEPS + 1):  # over the edge and back; three times of four it is above
            layer.weight[0, 1] = (0.6 if step % 4 else 0.4) * scale
            held.follow(step, STEPS)
            if step < STEPS / 4:
                assert quantizer.frozen is not None
                assert not quantizer.frozen.any()
    assert quantizer.frozen is not None
    assert quantizer.frozen.nonzero().tolist() == [[0, 1]]
    with torch.no_grad():
        layer.weight.zero_()
        quantizer.log_scale.add_(0.3)
    level = quantizer.scale[0].item()
    assert layer.quantized_weight()[0, 1].item() == pytest.approx(level)
    assert not layer.quantized_weight()[0, [0, 2, 3, 4]].any()


def test_a_mean_that_is_far_behind_counts_as_the_nearer_of_two() -> None:
    oscillation = Oscillation(torch.tensor([-4.0, -4.0, 3.0]))
    for integers in ([1.0, 2.0, 3.0], [0.0, 3.0, 3.0]):
        oscillation.follow(torch.tensor(integers), 0.01)
    assert oscillation.middle().tolist() == [0.0, 2.0, 3.0]


@pytest.mark.parametrize("symmetric", [True, False])
def test_frozen_integers_stay_and_scales_learn_by_them(symmetric: bool) -> None:
    layer, quantizer = layer_of(symmetric=symmetric)
    held = HeldIntegers(layer, Hold(last=0.25))
    for step in range(1, 31):
        held.follow(step, STEPS)
    with torch.no_grad():
        integers = quantizer.integers(layer.weight).clone()
        layer.weight += 1
        assert torch.equal(quantizer.integers(layer.weight), integers)
    pull = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    (layer.quantized_weight() * pull).sum().backward()
    assert layer.weight.grad is None or not layer.weight.grad.any()
    share = (5 * quantizer.limits[1]) ** -0.5
    for row in range(4):
        zero, scale = quantizer.zero_point[row].item(), quantizer.scale[row].item()
        by_scale = sum((integers[row, i].item() - zero) * pull[row, i].item() for i in range(5))
        assert quantizer.log_scale.grad is not None
        assert quantizer.log_scale.grad[row].item() == pytest.approx(by_scale * scale * share, rel=1e-4)
    settled, weight = quantizer.settled(), quantizer.transform(layer.weight).detach()
    assert torch.equal(settled.integers(weight), integers)
    assert torch.equal(settled(weight), layer.quantized_weight())


def test_dampening_is_the_gradient_of_the_distance_to_the_level() -> None:
    layer, quantizer = layer_of()
    held = HeldIntegers(layer, Hold(dampen=0.1))
    layer.weight.grad = torch.zeros_like(layer.weight)
    held.dampen(STEPS // 2, STEPS)
    scale = quantizer.scale.detach()[:, None]
    levels = layer.quantized_weight().detach()
    weight = layer.weight.detach().clone().requires_grad_()
    (0.05 * (levels - weight.clamp(-4 * scale, 3 * scale)).square().sum()).backward()
    assert weight.grad is not None
    assert (weight.grad == 0).any()  # outside the range
    torch.testing.assert_close(layer.weight.grad, weight.grad)
    layer.weight.grad.zero_()
    held.dampen(0, STEPS)
    assert not layer.weight.grad.any()

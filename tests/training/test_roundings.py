"""Integers that turn back, are drawn to the middle of their levels, or frozen: beside one weight by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bitface.errors import UsageError
from bitface.quant.quantizers import LsqQuantizer
from bitface.quant.student import QuantizedLinear
from bitface.training import Method, Training
from bitface.training.roundings import Oscillation, Roundings
from bitface.training.schedule import share_of_rate

STEPS = 40


def layer_of(bits: int = 3, symmetric: bool = True) -> tuple[QuantizedLinear, LsqQuantizer]:
    layer = QuantizedLinear(5, 4)
    quantizer = LsqQuantizer(bits, True, symmetric, 4)
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
    roundings = Roundings(layer, Training(freeze_oscillating=0.005))
    with torch.no_grad():
        layer.weight[0, 0] = 0.4 * scale
        for step in range(1, STEPS + 1):  # over the edge and back; three times of four it is above
            layer.weight[0, 1] = (0.6 if step % 4 else 0.4) * scale
            roundings.follow(step, STEPS)
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
    training = Training(freeze_integers=0.25)
    roundings = Roundings(layer, training)
    for step in range(1, 31):
        roundings.follow(step, STEPS)
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
    roundings = Roundings(layer, Training(dampen=0.1))
    layer.weight.grad = torch.zeros_like(layer.weight)
    roundings.dampen(STEPS // 2, STEPS)
    scale = quantizer.scale.detach()[:, None]
    levels = layer.quantized_weight().detach()
    weight = layer.weight.detach().clone().requires_grad_()
    (0.05 * (levels - weight.clamp(-4 * scale, 3 * scale)).square().sum()).backward()
    assert weight.grad is not None
    assert (weight.grad == 0).any()  # outside the range
    torch.testing.assert_close(layer.weight.grad, weight.grad)
    layer.weight.grad.zero_()
    roundings.dampen(0, STEPS)
    assert not layer.weight.grad.any()


def test_rates_begin_again_where_integers_are_frozen() -> None:
    training = Training(freeze_integers=0.2)
    shares = [share_of_rate(training, step, 100) for step in range(100)]
    whole = [share_of_rate(replace(training, freeze_integers=0), step, 80) for step in range(80)]
    assert shares[:80] == whole
    assert shares[80] == pytest.approx(0.1)
    assert shares[80:] == sorted(shares[80:], reverse=True)
    assert shares[99] < 0.002


def test_only_weights_with_a_scale_that_learns() -> None:
    with pytest.raises(UsageError, match="set 'weights: lsq'"):
        Method(Training(freeze_integers=0.1), weights="dorefa")
    with pytest.raises(UsageError, match="are for weights in integers"):
        Roundings(nn.Linear(2, 2), Training(dampen=0.1))
    assert not Roundings(nn.Linear(2, 2), Training()).layers

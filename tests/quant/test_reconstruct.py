"""Units, roundings that are learned, and what a reconstruction is worth."""

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.backbones import create
from bitface.errors import BitfaceError
from bitface.graph import from_module, passes
from bitface.quant import BitPlan, Calibration, Reconstruction, quantize
from bitface.quant.post_training import calibrated
from bitface.quant.quantizers import RoundingQuantizer, UniformQuantizer
from bitface.quant.reconstruct import _dropping, _mixed, _Work, reconstruct
from bitface.quant.student import Student, build
from bitface.quant.units import blocks_of, part, units_of
from support.quantized import Mixed, PreActivation, faces, network

SHORT = Reconstruction(steps=150, batch=16, tuning=60, rate=0.1, scale_rate=3e-3)
# In fewer steps what it gains hangs on the seed and on the CPU's arithmetic.
PLAIN = Reconstruction(**{**vars(SHORT), "drop": False, "weighted": False, "steps": 300, "tuning": 200})


def rounding(bits: int = 4, symmetric: bool = True, seed: int = 0) -> tuple[Tensor, RoundingQuantizer]:
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    like = UniformQuantizer(bits, True, symmetric, 5, narrow=bits == 8)
    like.set_range(weight.flatten(1).amin(1), weight.flatten(1).amax(1))
    return weight, RoundingQuantizer(weight, like)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_it_begins_with_the_weights_themselves(bits: int, symmetric: bool) -> None:
    weight, quantizer = rounding(bits, symmetric)
    scale = quantizer.scale.view(-1, 1, 1, 1)
    place = weight / scale + quantizer.zero_point.view(-1, 1, 1, 1)
    inside = (place >= quantizer.limits[0]) & (place <= quantizer.limits[1])
    assert inside.float().mean() > 0.5
    assert ((quantizer(weight) - weight).abs()[inside] < 1e-3 * scale.expand_as(weight)[inside]).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_hardened_weights_are_a_neighbour_on_the_grid_and_stay_it_when_settled(bits: int, symmetric: bool) -> None:
    weight, quantizer = rounding(bits, symmetric)
    before = quantizer.scale.detach()
    with torch.no_grad():
        quantizer.choice.add_(torch.randn(quantizer.choice.shape, generator=torch.Generator().manual_seed(1)) * 3)
        quantizer.log_scale.add_(0.05)  # learned afterwards: the integers don't move
    quantizer.harden()
    settled, found = quantizer.settled(), quantizer.transform(weight)
    integers = settled.integers(found)
    assert torch.equal(settled(found), found)
    zero = quantizer.zero_point.view(-1, 1, 1, 1)
    old = (weight / before.view(-1, 1, 1, 1) + zero).clamp(*quantizer.limits)
    assert ((integers - old).abs() < 1 + 1e-3).all()
    assert not torch.equal(integers, torch.round(old))


def test_without_learning_hardened_weights_are_the_nearest() -> None:
    weight, quantizer = rounding()
    quantizer.harden()
    fixed = quantizer.settled()
    assert torch.equal(fixed.integers(quantizer.transform(weight)), fixed.integers(weight))


def test_undecided_weights_are_counted_and_pushed_to_the_nearer_side() -> None:
    _, quantizer = rounding()
    share = quantizer.up().detach().double()
    assert quantizer.undecided(2).item() == pytest.approx(float((1 - (2 * share - 1).abs() ** 2).sum()), rel=1e-5)
    quantizer.undecided(2).backward()
    pushed = quantizer.choice.grad
    assert pushed is not None
    moving = pushed != 0
    assert moving.any()
    assert torch.equal(torch.sign(pushed[moving]), -torch.sign((share - 0.5)[moving]).float())
    quantizer.harden()
    assert quantizer.undecided(2).item() == 0


def graph_of(module: nn.Module, size: int) -> GraphModule:
    return passes.fold(network(module, size).graph)


@pytest.mark.parametrize(("module", "size"), [(Mixed(), 16), (PreActivation(), 8)])
@pytest.mark.parametrize("most", [1, 3, 100])
def test_units_follow_one_another_and_make_the_whole(module: nn.Module, size: int, most: int) -> None:
    folded = graph_of(module, size)
    student = build(folded, BitPlan())
    units = units_of(student.graph, most)
    assert [name for unit in units for name in unit.layers] == list(student.quantized_layers())
    assert all(before.result == after.source for before, after in pairwise(units))
    x = torch.rand(2, 3, size, size) * 2 - 1
    for graph in (student.graph, folded):
        with torch.no_grad():
            value = x
            for unit in units:
                value = part(graph, unit.source, unit.result)(value)
            assert torch.equal(value, graph(x))


def test_residual_blocks_stay_whole() -> None:
    student = build(graph_of(Mixed(), 16), BitPlan())
    assert [unit.layers for unit in units_of(student.graph, 1)] == [
        ("stem.0",),
        ("deep.0", "point"),
        ("wide.0",),
        ("fc",),
    ]


def test_scales_of_weights_learn_with_the_roundings() -> None:
    net, plan = network(Mixed(), 16), BitPlan.parse("w3a8").with_edges("plan", "plan")
    settings = Reconstruction(steps=5, batch=8, tuning=0, rate=1e-9, scale_rate=0.05, layers=100)  # a single unit
    ways = (None, replace(settings, scale_weights=False), settings)
    scales = []
    for way in ways:
        student = calibrated(net, faces(40, 16), plan, Calibration(reconstruction=way))
        scales.append([layer.weight_quantizer.scale for layer in student.quantized_layers().values()])
    for before, same, other in zip(*scales, strict=True):
        torch.testing.assert_close(same, before)
        moved = (other / before).log().abs()
        assert (moved > 1e-3).all()
        assert (moved < 5 * 0.05 + 1e-3).all()


def test_the_units_of_a_mobilefacenet() -> None:
    net = from_module(create("mobilefacenet", embedding_size=32).eval(), "rgb-127.5-127.5", size=(112, 112))
    student = build(passes.fold(net.graph), BitPlan())
    units = units_of(student.graph)
    assert sum(len(unit.layers) for unit in units) == len(student.quantized_layers())
    assert max(len(unit.layers) for unit in units) <= 4
    assert len(units) < 25


@pytest.mark.parametrize(
    ("name", "layers"), [("mobilenetv2", [1, 2, *[3] * 16, 1, 1]), ("iresnet18", [1, 3, 2, 3, 2, 3, 2, 3, 2, 1])]
)
def test_blocks_are_bottlenecks_and_residual_blocks(name: str, layers: list[int]) -> None:
    net = from_module(create(name, embedding_size=32).eval(), "rgb-127.5-127.5", size=(112, 112))
    student = build(passes.fold(net.graph), BitPlan())
    blocks = blocks_of(student.graph)
    assert [len(block.layers) for block in blocks] == layers
    assert [layer for block in blocks for layer in block.layers] == list(student.quantized_layers())
    assert all(before.result == after.source for before, after in pairwise(blocks))


def similarity(graph: GraphModule, other: GraphModule, images: np.ndarray) -> float:
    preprocess = network(Mixed(), 16).preprocess
    assert preprocess is not None
    x = torch.from_numpy(preprocess(images))
    with torch.no_grad():
        return nn.functional.cosine_similarity(graph(x), other(x)).mean().item()


@pytest.mark.parametrize("settings", [SHORT, PLAIN])
@pytest.mark.parametrize("bits", ["w3a4", "w2a8"])
def test_a_reconstructed_network_is_more_like_its_teacher(bits: str, settings: Reconstruction) -> None:
    net, plan = network(Mixed(), 16), BitPlan.parse(bits).with_edges("plan", "plan")
    fast, _ = quantize(net, faces(400, 16), plan)
    slow, _ = quantize(net, faces(400, 16), plan, Calibration(reconstruction=settings))
    fresh = faces(64, 16, seed=9)
    before, after = similarity(net.graph, fast.graph, fresh), similarity(net.graph, slow.graph, fresh)
    assert 1 - after < 0.9 * (1 - before)


def test_the_same_integers_every_time_and_the_teacher_is_left_alone() -> None:
    net, plan = network(Mixed(), 16), BitPlan.parse("w4a4")
    before = net.fingerprint()
    settings = Calibration(reconstruction=Reconstruction(steps=5, batch=8, tuning=3))
    torch.manual_seed(3)
    first, _ = quantize(net, faces(40, 16), plan, settings)
    torch.manual_seed(4)
    second, _ = quantize(net, faces(40, 16), plan, settings)
    assert first.fingerprint() == second.fingerprint()
    assert net.fingerprint() == before


def reconstructed(images: np.ndarray, settings: Reconstruction, bits: str = "w4a4") -> tuple[Student, Student]:
    """A calibrated student, and a copy of it after reconstruction."""
    net = network(Mixed(), 16)
    before = calibrated(net, images, BitPlan.parse(bits), Calibration(equalization=False))
    assert net.preprocess is not None
    after = copy.deepcopy(before)
    reconstruct(after, passes.fold(net.graph), torch.from_numpy(net.preprocess(images)), settings)
    return before, after


def test_every_quantizer_is_a_fixed_one_again_and_integers_move_one_step_at_most() -> None:
    before, after = reconstructed(faces(40, 16), Reconstruction(steps=20, batch=8, tuning=5, rate=0.3))
    moved = 0
    for name, layer in after.quantized_layers().items():
        old = before.quantized_layers()[name]
        assert type(layer.weight_quantizer) is UniformQuantizer
        difference = layer.weight_quantizer.integers(layer.weight) - old.weight_quantizer.integers(old.weight)
        assert difference.abs().max() <= 1
        moved += int(difference.abs().sum())
    assert moved
    assert all(type(quantizer) is UniformQuantizer for quantizer in after.activation_quantizers.values())


def test_weights_of_one_bit_stay_signs() -> None:
    net, plan = network(Mixed(), 16), BitPlan.parse("w1a8")
    settings = Calibration(reconstruction=Reconstruction(steps=3, batch=8, tuning=3))
    integer, _ = quantize(net, faces(40, 16), plan, settings)
    assert 1 in {getattr(module, "bits", 0) for module in integer.graph.modules()}


def test_too_few_faces_are_refused() -> None:
    with pytest.raises(BitfaceError, match="31 faces are too few to reconstruct from; give 32 or more"):
        reconstructed(faces(31, 16), SHORT)


def test_fewer_faces_where_memory_is_short() -> None:
    net = network(Mixed(), 16)
    student = build(passes.fold(net.graph), BitPlan())
    # The largest tensor between units: 3 x 16 x 16 floats of the image, three times.
    settings = Reconstruction(batch=8, memory=3 * 4 * 768 * 20)
    assert _Work(student, passes.fold(net.graph), torch.zeros(50, 3, 16, 16), settings, None)._affordable() == 20


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_half_of_the_values_are_mixed_in(form: torch.memory_format) -> None:
    zeros = torch.zeros(4, 6, 9, 9).contiguous(memory_format=form)
    mixed = _mixed(zeros, torch.ones_like(zeros), np.random.default_rng(0))
    assert set(mixed.unique().tolist()) == {0.0, 1.0}
    assert float(mixed.mean()) == pytest.approx(0.5, abs=0.05)
    assert mixed.stride() == zeros.stride()


def test_dropped_values_are_float_and_the_hooks_go_away() -> None:
    student = calibrated(network(Mixed(), 16), faces(8, 16), BitPlan.parse("w8a2"))
    x = torch.rand(2, 3, 16, 16)
    quantizer = next(iter(student.activation_quantizers.values()))
    with torch.no_grad():
        exact = quantizer(x)
        with _dropping(student.graph, np.random.default_rng(0)):
            some = quantizer(x)
        assert ((some == exact) | (some == x)).all()
        assert not torch.equal(some, exact)
        assert torch.equal(quantizer(x), exact)

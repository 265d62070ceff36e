from pathlib import Path

import pytest
import torch
import yaml

from bitface.analysis import sensitivity
from bitface.analysis.probe import Probe, prepare
from bitface.errors import UsageError
from bitface.graph import ops
from bitface.quant import BitPlan, Calibration, LayerBits, quantize
from bitface.quant.plan import Layer, escaped
from bitface.quant.post_training import calibrated
from bitface.search.trial import Trial, groups, plan_of
from support.quantized import Mixed, faces, network

LEARNING, HELD = faces(32, 16), faces(24, 16, seed=1)
# A plan is equalized for the width of each tensor, trials for one width.
PLAIN = Calibration(equalization=False)


@pytest.fixture(scope="module")
def probe() -> Probe:
    return prepare(network(Mixed(), 16), LEARNING, (8, 4, 2), (8, 4), PLAIN)


def test_a_trial_says_what_quantization_will_give(probe: Probe, tmp_path: Path) -> None:
    layers = [layer.name for layer in probe.student.layers]
    sizes = {s.name: s.module.weight.numel() for s in probe.walk.steps if isinstance(s.module, ops.LAYERS)}
    trial = Trial(probe, LEARNING)
    seen = []
    for turn in range(4):
        weights = {name: (8, 4, 2)[(number + turn) % 3] for number, name in enumerate(sizes)}
        activations = dict.fromkeys(probe.readers, 8 if turn % 2 else 4)
        found = trial.agreement(weights, activations, HELD, trial.expected(HELD))
        plan = plan_of(layers, weights, activations, probe.readers, sizes)
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(plan.to_json()))
        simulated = calibrated(probe.network, LEARNING, BitPlan.parse(path), PLAIN)
        student, planned = quantize(probe.network, LEARNING, BitPlan.parse(path), PLAIN)
        assert {layer.name: layer.bits.weight for layer in planned if layer.name in weights} == weights
        with torch.no_grad():
            teacher, exact, own = (one.graph(probe.inputs(HELD)) for one in (probe.network, simulated, student))
        assert 1 - found == pytest.approx(float(sensitivity.turned(teacher, exact).mean()), rel=1e-3)
        # Integer biases move numbers over the edges between levels, which counts on a network of a few channels.
        assert 1 - found == pytest.approx(float(sensitivity.turned(teacher, own).mean()), rel=0.2)
        seen.append(found)
    assert len(set(seen)) == 4
    again = trial.agreement(weights, activations, HELD, trial.expected(HELD))
    assert again == seen[-1], "a trial leaves nothing behind"


def test_sums_of_their_own_width_are_as_quantization_makes_them(tmp_path: Path) -> None:
    probe = prepare(network(Mixed(), 16), LEARNING, (8, 4), (4,), PLAIN, sums=8)
    (addition,) = [layer.name for layer in probe.student.layers if layer.kind == "Add"]
    assert len(probe.sums) == 2
    assert {one.bits for one in probe.sums.values()} == {8}
    assert addition not in {name for names in probe.readers.values() for name in names}
    assert all(len(group) == 1 for group in groups(probe.readers)), "no addition joins what layers read"
    layers = [layer.name for layer in probe.student.layers]
    sizes = {s.name: s.module.weight.numel() for s in probe.walk.steps if isinstance(s.module, ops.LAYERS)}
    weights, activations = dict.fromkeys(sizes, 4), dict.fromkeys(probe.readers, 4)
    trial = Trial(probe, LEARNING)
    found = trial.agreement(weights, activations, HELD, trial.expected(HELD))
    plan = plan_of(layers, weights, activations, probe.readers, sizes, 8)
    assert plan.word == "w4a4s8"
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan.to_json()))
    simulated = calibrated(probe.network, LEARNING, BitPlan.parse(path), PLAIN)
    assert {layer.name: str(layer.bits) for layer in simulated.layers}[addition] == "w8a8"
    with torch.no_grad():
        teacher, exact = (one.graph(probe.inputs(HELD)) for one in (probe.network, simulated))
    assert 1 - found == pytest.approx(float(sensitivity.turned(teacher, exact).mean()), rel=1e-3)
    strict = Trial(prepare(network(Mixed(), 16), LEARNING, (8, 4), (4,), PLAIN), LEARNING)
    every = dict.fromkeys(strict.probe.readers, 4)
    assert strict.agreement(weights, every, HELD, strict.expected(HELD)) < found


@pytest.mark.parametrize(("equalized", "bits", "near"), [(8, 8, 1e-3), (4, 4, 1e-3), (8, 4, 0.3)])
def test_a_trial_is_exact_at_the_bits_that_its_channels_are_equalized_for(
    equalized: int, bits: int, near: float, tmp_path: Path
) -> None:
    probe = prepare(network(Mixed(), 16), LEARNING, (8,), (8, 4), equalized=equalized)
    layers = [layer.name for layer in probe.student.layers]
    sizes = {s.name: s.module.weight.numel() for s in probe.walk.steps if isinstance(s.module, ops.LAYERS)}
    trial, weights = Trial(probe, LEARNING), dict.fromkeys(sizes, 8)
    activations = dict.fromkeys(probe.readers, bits)
    found = trial.agreement(weights, activations, HELD, trial.expected(HELD))
    path = tmp_path / f"{bits}.yaml"
    path.write_text(yaml.safe_dump(plan_of(layers, weights, activations, probe.readers, sizes).to_json()))
    simulated = calibrated(probe.network, LEARNING, BitPlan.parse(path))
    with torch.no_grad():
        teacher, exact = (one.graph(probe.inputs(HELD)) for one in (probe.network, simulated))
    assert 1 - found == pytest.approx(float(sensitivity.turned(teacher, exact).mean()), rel=near)


def test_what_is_added_has_one_width(probe: Probe) -> None:
    joined = groups(probe.readers)
    assert sorted(tensor for group in joined for tensor in group) == sorted(probe.readers)
    (addition,) = [layer.name for layer in probe.student.layers if layer.kind == "Add"]
    ends = {tensor for tensor, names in probe.readers.items() if addition in names}
    assert len(ends) == 2
    assert any(ends <= set(group) for group in joined)


def test_groups_are_closed_over_readers() -> None:
    joined = groups({"a": ["1"], "b": ["2", "3"], "c": ["3", "4"], "d": ["4", "1"], "e": ["5"]})
    assert sorted(map(sorted, joined)) == [["a", "b", "c", "d"], ["e"]]


def test_the_plans_own_bits_are_the_means() -> None:
    readers = {"image": ["a"], "x": ["b"]}
    plan = plan_of(["a", "b"], {"a": 8, "b": 2}, {"image": 8, "x": 4}, readers, {"a": 100, "b": 900})
    assert plan.bits == LayerBits(3, 6)
    assert dict(plan.layers) == {"a": LayerBits(8, 8), "b": LayerBits(2, 4)}


def test_names_with_the_signs_of_patterns() -> None:
    layers = [Layer("body[1].conv*", "Conv"), Layer("body1.convx", "Conv")]
    plan = BitPlan(layers=((escaped("body[1].conv*"), LayerBits(2, 8)),))
    assert [layer.bits.weight for layer in plan.resolve(layers)] == [2, 8]


def test_an_unknown_layer_names_the_nearest(probe: Probe) -> None:
    plan = BitPlan(layers=(("wide0", LayerBits(4, 8)),))
    with pytest.raises(UsageError, match=r"'wide0', which is no layer of this network; the nearest is 'wide\.0'"):
        quantize(probe.network, LEARNING, plan)

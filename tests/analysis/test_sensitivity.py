from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from bitface.analysis import sensitivity
from bitface.analysis.probe import ACTIVATIONS, WEIGHTS, Probe, ProbedUnit, prepare
from bitface.quant import BitPlan, Calibration, LayerBits
from bitface.quant.post_training import calibrated
from support.quantized import Mixed, PreActivation, faces, network
from support.rounded import CORRECTED, FLOAT, HELD, LEARNING, PLAIN


@cache
def probe(corrected: bool) -> Probe:
    return prepare(network(Mixed(), 16), LEARNING, (8, 4, 2), (8, 4), CORRECTED if corrected else PLAIN)


def swept(one: Probe, batch: int = 8, held: np.ndarray = HELD) -> torch.Tensor:
    found = torch.zeros(len(one.units) + 1, len(held))
    columns = [len(held[start : start + batch]) for start in range(0, len(held), batch)]
    sensitivity.sweep(
        one, lambda at: one.inputs(held[at * batch : (at + 1) * batch]), columns, sensitivity.turned, found
    )
    return found


def alone(one: Probe, layer: str, bits: LayerBits, calibration: Calibration) -> float:
    """The slow way: a student in which one layer alone has bits."""
    plan = BitPlan(FLOAT, None, None, ((layer, bits),))
    student = calibrated(one.network, LEARNING, plan, calibration)
    with torch.no_grad():
        return float(sensitivity.turned(one.embed(one.inputs(HELD)), student.graph(one.inputs(HELD))).mean())


def test_weights_cost_what_a_student_with_one_quantized_layer_loses() -> None:
    one = probe(True)
    costs = sensitivity.costs(one, swept(one))
    for unit in (unit for unit in one.units if unit.part == WEIGHTS):
        expected = alone(one, unit.name, LayerBits(unit.bits, 32), CORRECTED)
        assert costs[unit] == pytest.approx(expected, rel=2e-3, abs=1e-9), unit


def test_activations_cost_what_a_student_with_one_quantized_tensor_loses() -> None:
    one = probe(False)
    costs = sensitivity.costs(one, swept(one))
    assert {unit.name for unit in costs if unit.part == ACTIVATIONS} == set(one.readers)
    for unit in (unit for unit in one.units if unit.part == ACTIVATIONS):
        readers = one.readers[unit.name]
        if any(name.endswith("add") for name in readers):
            continue  # an addition has two inputs
        expected = alone(one, readers[0], LayerBits(32, unit.bits), PLAIN)
        assert costs[unit] == pytest.approx(expected, rel=2e-3, abs=1e-9), unit


def test_the_shift_of_an_activation_takes_the_mean_error_out_of_what_reads_it() -> None:
    one = probe(True)
    unit = next(unit for unit in one.units if unit.part == ACTIVATIONS and one.readers[unit.name] == ["wide.0"])
    layer, quantizer = one.student.graph.get_submodule("wide.0"), one.quantizers[unit]
    step = next(step for step in one.walk.steps if step.name == "wide.0")
    values: dict[Any, Any] = {}
    with torch.no_grad():
        for place, live in one.walk.live(one.inputs(LEARNING)):
            values = dict(live) if one.walk.steps[place] is step else values
        x = values[step.sources[0]]
        error = (layer(x) - layer(quantizer(x))).mean((0, 2, 3))
    assert torch.allclose(one.shifts[unit]["wide.0"], error, atol=1e-5)


def test_fewer_bits_cost_more() -> None:
    one = probe(True)
    costs = sensitivity.costs(one, swept(one))
    for name in {unit.name for unit in one.units if unit.part == WEIGHTS}:
        assert (
            costs[ProbedUnit(WEIGHTS, name, 8)]
            < costs[ProbedUnit(WEIGHTS, name, 4)]
            < costs[ProbedUnit(WEIGHTS, name, 2)]
        )


def test_a_sweep_that_goes_on_finds_the_same() -> None:
    one, batch = probe(True), 8
    whole = swept(one)
    columns = [8, 8, 4]
    for stop in (3, len(one.units), len(one.units) + 7, 2 * len(one.units) + 2):
        found = torch.zeros_like(whole)

        def told(done: int, _: int, stop: int = stop) -> None:
            if done >= stop:
                raise KeyboardInterrupt

        batches = lambda at: one.inputs(HELD[at * batch : (at + 1) * batch])  # noqa: E731
        with pytest.raises(KeyboardInterrupt):
            sensitivity.sweep(one, batches, columns, sensitivity.turned, found, progress=told)
        assert not torch.equal(found, whole)
        calls: list[int] = []
        sensitivity.sweep(
            one, batches, columns, sensitivity.turned, found, stop, lambda done, total, to=calls: to.append(done)
        )
        assert torch.equal(found, whole)
        assert calls[0] > stop


def test_a_network_with_an_unfoldable_batchnorm() -> None:
    small = network(PreActivation(), 8)
    one = prepare(small, faces(16, 8), (4,), (4,))
    found = swept(one, held=faces(8, 8, seed=1))
    assert torch.isfinite(found).all()
    assert (found[:-1].mean(1) > 0).all()


def test_what_is_not_finite_is_named() -> None:
    one = probe(True)
    broken = ProbedUnit(WEIGHTS, "fc", 8)
    quantizers = dict(one.quantizers)
    quantizers[broken] = type(quantizers[broken])(8, True, True)
    quantizers[broken].set_numbers(torch.tensor([float("nan")]), torch.zeros(1))
    with pytest.raises(Exception, match="fc"):
        swept(replace(one, quantizers=quantizers))


def test_rank_correlation() -> None:
    units = [ProbedUnit(WEIGHTS, str(number), 4) for number in range(5)]
    exact = dict(zip(units, [1.0, 2.0, 3.0, 4.0, 5.0], strict=True))
    assert sensitivity.rank_correlation({u: v**3 for u, v in exact.items()}, exact, units) == pytest.approx(1)
    assert sensitivity.rank_correlation({u: -v for u, v in exact.items()}, exact, units) == pytest.approx(-1)
    assert sensitivity.rank_correlation(dict.fromkeys(units, 1.0), exact, units) is None
    assert sensitivity.rank_correlation(exact, exact, units[:2]) is None

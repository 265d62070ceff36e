import pytest
import torch

from bitface.analysis import proxies, sensitivity
from bitface.analysis.probe import ACTIVATIONS, WEIGHTS, Probe, ProbedUnit, prepare
from bitface.quant import Calibration
from support.quantized import Mixed, faces, network

HELD = faces(6, 16, seed=1)


@pytest.fixture(scope="module")
def probe() -> Probe:
    return prepare(network(Mixed(), 16), faces(24, 16), (8, 4), (8,), Calibration(bias_correction=False))


@pytest.fixture(scope="module")
def estimated(probe: Probe) -> dict[str, dict[ProbedUnit, float]]:
    return proxies.estimate(probe, HELD, sketches=300)


def jacobian(probe: Probe, layer: str, face: torch.Tensor) -> torch.Tensor:
    """Of the unit embedding of one face by a layer's weights, `[D, weights]`, one backward pass for each row."""
    weight = probe.student.graph.get_parameter(f"{layer}.weight")
    unit = torch.nn.functional.normalize(probe.student.graph(face))[0]
    rows = [torch.autograd.grad(value, weight, retain_graph=True)[0].flatten() for value in unit]
    return torch.stack(rows)


@pytest.mark.parametrize("layer", ["stem.0", "deep.0", "wide.0", "fc"])
def test_weights_against_the_whole_jacobian(
    probe: Probe, estimated: dict[str, dict[ProbedUnit, float]], layer: str
) -> None:
    unit = ProbedUnit(WEIGHTS, layer, 4)
    weight = probe.student.graph.get_parameter(f"{layer}.weight").detach()
    change = (probe.quantizers[unit](weight) - weight).flatten()
    all_faces = probe.inputs(HELD)
    whole = diagonal = 0.0
    for number in range(len(HELD)):
        by_weight = jacobian(probe, layer, all_faces[number : number + 1])
        whole += 0.5 * float((by_weight @ change).square().sum()) / len(HELD)
        diagonal += 0.5 * float((by_weight.square() @ change.square()).sum()) / len(HELD)
    # The mean of 300 x 6 squares of normal variables: its noise is about 3.3 %, more where faces are unlike.
    assert estimated["jacobian"][unit] == pytest.approx(whole, rel=0.25)
    assert estimated["fisher"][unit] == pytest.approx(diagonal, rel=0.25)


def test_small_changes_cost_what_the_jacobian_says(probe: Probe, estimated: dict[str, dict[ProbedUnit, float]]) -> None:
    found = torch.zeros(len(probe.units) + 1, len(HELD))
    sensitivity.sweep(probe, lambda _: probe.inputs(HELD), [len(HELD)], sensitivity.turned, found)
    costs = sensitivity.costs(probe, found)
    for unit in (unit for unit in probe.units if unit.bits == 8):
        # Clipped outliers of an activation are no small change.
        allowed = 0.15 if unit.part == WEIGHTS else 0.5
        assert estimated["jacobian"][unit] == pytest.approx(costs[unit], rel=allowed), unit


def test_local_is_the_noise_beside_the_signal(probe: Probe, estimated: dict[str, dict[ProbedUnit, float]]) -> None:
    unit = ProbedUnit(ACTIVATIONS, "image", 8)
    images = probe.inputs(HELD)
    noise = (probe.quantizers[unit](images) - images).square().flatten(1).sum(1)
    expected = float((noise / images.square().flatten(1).sum(1)).mean())
    assert estimated["local"][unit] == pytest.approx(expected, rel=1e-4)


def test_the_same_seed_gives_the_same(probe: Probe) -> None:
    first, again, other = (proxies.estimate(probe, HELD, 1, seed) for seed in (3, 3, 4))
    assert first == again
    assert first["jacobian"] != other["jacobian"]
    assert first["local"] == other["local"]

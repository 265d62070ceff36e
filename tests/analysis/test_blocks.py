from functools import cache

import pytest
import torch
from torch import nn

from bitface.analysis import proxies, sensitivity
from bitface.analysis.blocks import BlockProbe, by_block
from bitface.analysis.probe import ACTIVATIONS, WEIGHTS, Probe, ProbedUnit, prepare
from bitface.backbones import create
from bitface.graph import from_module
from bitface.quant import BitPlan, Calibration, LayerBits
from bitface.quant.post_training import calibrated
from bitface.quant.student import Student
from support.quantized import Mixed, PreActivation, faces, network, settle
from support.rounded import CORRECTED, FLOAT, HELD, LEARNING, PLAIN


@cache
def probe(corrected: bool) -> BlockProbe:
    calibration = CORRECTED if corrected else PLAIN
    return by_block(prepare(network(Mixed(), 16), LEARNING, (8, 4, 2), (8, 4), calibration), LEARNING, calibration)


def swept(one: Probe, columns: tuple[int, ...] = (8, 8, 4), done: int = 0) -> torch.Tensor:
    found = torch.zeros(len(one.units) + 1, sum(columns))
    sensitivity.sweep(one, lambda at: one.inputs(HELD[at * 8 : at * 8 + 8]), columns, sensitivity.turned, found, done)
    return found


def student_of(one: BlockProbe, unit: ProbedUnit, calibration: Calibration) -> Student:
    """The slow way: a student in which the tensors of one block have bits."""
    block = one.blocks[unit.name]
    if unit.part == WEIGHTS:
        names, bits = set(block.tensors[WEIGHTS]), LayerBits(unit.bits, 32)
    else:
        names, bits = (
            {name for read in block.tensors[ACTIVATIONS] for name in one.readers[read]},
            LayerBits(32, unit.bits),
        )
    plan = BitPlan(FLOAT, None, None, tuple((name, bits) for name in names))
    return calibrated(one.network, LEARNING, plan, calibration)


def cost(one: BlockProbe, student: Student) -> float:
    with torch.no_grad():
        return float(sensitivity.turned(one.embed(one.inputs(HELD)), student.graph(one.inputs(HELD))).mean())


def test_every_tensor_is_in_one_block() -> None:
    one = probe(False)
    assert {block.name: block.tensors[WEIGHTS] for block in one.blocks.values()} == {
        "stem.0": ("stem.0",),
        "deep.0..point": ("deep.0", "point"),
        "wide.0": ("wide.0",),
        "fc": ("fc",),
    }
    read = [name for block in one.blocks.values() for name in block.tensors[ACTIVATIONS]]
    assert sorted(read) == sorted(one.readers)
    assert len(one.blocks["deep.0..point"].tensors[ACTIVATIONS]) == 3, "the stream, and both inputs of the last two"


@pytest.mark.parametrize(("part", "corrected"), [(WEIGHTS, True), (ACTIVATIONS, False)])
def test_a_unit_costs_what_a_student_with_one_quantized_block_loses(part: str, corrected: bool) -> None:
    one = probe(corrected)
    costs = sensitivity.costs(one, swept(one))
    for unit in (unit for unit in one.units if unit.part == part):
        expected = cost(one, student_of(one, unit, CORRECTED if corrected else PLAIN))
        assert costs[unit] == pytest.approx(expected, rel=2e-3, abs=1e-9), unit


def means(graph: nn.Module, layer: str, images: torch.Tensor) -> torch.Tensor:
    """Of each channel of a layer's output."""
    seen: list[torch.Tensor] = []
    hook = graph.get_submodule(layer).register_forward_hook(lambda module, given, y: seen.append(y))
    with torch.no_grad():
        graph(images)
    hook.remove()
    return seen[0].movedim(1, 0).flatten(1).mean(1)


def test_activations_are_corrected_layer_by_layer() -> None:
    one = probe(True)
    costs = sensitivity.costs(one, swept(one))
    images = one.inputs(LEARNING)
    for unit in (unit for unit in one.units if unit.part == ACTIVATIONS):
        student = student_of(one, unit, PLAIN)
        for layer in one.blocks[unit.name].tensors[WEIGHTS]:
            shift = means(one.student.graph, layer, images) - means(student.graph, layer, images)
            module = student.graph.get_submodule(layer)
            module.bias = nn.Parameter(shift if module.bias is None else module.bias + shift)
        assert costs[unit] == pytest.approx(cost(one, student), rel=2e-3, abs=1e-9), unit


def test_a_block_of_one_layer_costs_what_its_layer_does() -> None:
    one = probe(True)
    alone = prepare(one.network, LEARNING, (8, 4, 2), (8, 4), CORRECTED)
    by_layer, found = sensitivity.costs(alone, swept(alone)), sensitivity.costs(one, swept(one))
    for name in ("stem.0", "wide.0", "fc"):
        for bits in (8, 4, 2):
            assert found[ProbedUnit(WEIGHTS, name, bits)] == pytest.approx(
                by_layer[ProbedUnit(WEIGHTS, name, bits)], rel=1e-3
            )


def test_a_sweep_that_goes_on_finds_the_same() -> None:
    one = probe(True)
    whole, rows = swept(one), len(one.units) + 1
    for done in (3, rows - 1, rows + 7):
        rest = swept(one, done=done)
        batch, row = divmod(done, rows)
        assert torch.equal(rest[:, (batch + 1) * 8 :], whole[:, (batch + 1) * 8 :])
        assert torch.equal(rest[row:, batch * 8 : batch * 8 + 8], whole[row:, batch * 8 : batch * 8 + 8])
        assert not rest[:row, batch * 8 : batch * 8 + 8].any()


def test_what_small_changes_of_a_block_cost_is_what_the_jacobian_says() -> None:
    one = probe(True)
    costs = sensitivity.costs(one, swept(one))
    estimated = proxies.estimate(one, HELD, sketches=100)
    assert set(estimated["jacobian"]) == set(estimated["fisher"]) == set(one.units)
    for unit in (unit for unit in one.units if unit.part == WEIGHTS and unit.bits == 8):
        assert estimated["jacobian"][unit] == pytest.approx(costs[unit], rel=0.2), unit


def test_the_sums_of_fisher_and_local_are_those_of_the_tensors() -> None:
    one = probe(True)
    alone = prepare(one.network, LEARNING, (8, 4, 2), (8, 4), CORRECTED)
    together, single = (proxies.estimate(which, HELD, sketches=2) for which in (one, alone))
    for name in ("fisher", "local"):
        for unit, value in together[name].items():
            members = one.blocks[unit.name].tensors[unit.part]
            expected = sum(single[name][ProbedUnit(unit.part, member, unit.bits)] for member in members)
            assert value == pytest.approx(expected, rel=1e-4), unit


def test_a_network_with_an_unfoldable_batchnorm() -> None:
    learning, held = faces(16, 8), faces(8, 8, seed=1)
    one = by_block(prepare(network(PreActivation(), 8), learning, (4,), (4,)), learning)
    found = torch.zeros(len(one.units) + 1, 8)
    sensitivity.sweep(one, lambda _: one.inputs(held), [8], sensitivity.turned, found)
    assert torch.isfinite(found).all()
    assert (found[:-1].mean(1) > 0).all()


def test_the_blocks_of_a_mobilefacenet_are_those_of_the_paper() -> None:
    net = settle(create("mobilefacenet:0.25", embedding_size=16), 112)
    learning = faces(2, 112)
    one = by_block(
        prepare(from_module(net, "rgb-127.5-128", size=(112, 112)), learning, (4,), (8,), PLAIN), learning, PLAIN
    )
    sizes = [len(block.tensors[WEIGHTS]) for block in one.blocks.values()]
    # QMobileFaceNet, table I: rows 3 to 7 are 5, 1, 6, 1 and 2 bottlenecks, the others single layers.
    assert sizes == [1, 1, *[3] * 15, 1, 1, 1]

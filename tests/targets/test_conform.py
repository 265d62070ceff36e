"""Unsigned activations as signed ones, for targets that have no others."""

import numpy as np
import pytest
import torch

from bitface.graph import Network
from bitface.graph.integer import INTEGER_LAYERS, QuantizeDequantize
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets.base import Holds
from bitface.targets.conform import coarser, conformed
from support.quantized import Mixed, faces, network

SIGNED = Holds(unsigned=False)


@pytest.fixture(scope="module")
def student() -> Network:
    return quantize(network(Mixed(), 16), faces(16, 16), BitPlan(), Calibration("minmax", bias_correction=False))[0]


def embeddings(net: Network) -> np.ndarray:
    assert net.preprocess is not None
    with torch.no_grad():
        rows: np.ndarray = net.graph(torch.from_numpy(net.preprocess(faces(8, 16, seed=2)))).numpy()
    return rows


def test_they_become_signed_and_the_biases_keep_their_values(student: Network) -> None:
    unsigned = [one for one in student.graph.modules() if isinstance(one, QuantizeDequantize) and not one.signed]
    assert coarser(student.graph, SIGNED) == len(unsigned) > 0
    result = conformed(student, SIGNED)
    assert SIGNED.obstacle(student.graph) is not None
    assert SIGNED.obstacle(result.graph) is None
    before, after = dict(student.graph.named_modules()), dict(result.graph.named_modules())
    for name, layer in before.items():
        other = after[name]
        if isinstance(layer, QuantizeDequantize) and not layer.signed:
            assert isinstance(other, QuantizeDequantize)
            assert other.scale * 127 == pytest.approx(layer.scale * 255)
        if isinstance(layer, INTEGER_LAYERS) and layer.bias is not None:
            assert isinstance(other, INTEGER_LAYERS)
            step = (other.bias_scale() / 2).max().item()
            plain, moved = layer.float_bias(), other.float_bias()
            assert plain is not None
            assert moved is not None
            torch.testing.assert_close(plain, moved, rtol=0, atol=1.01 * step)
    rows, others = embeddings(student), embeddings(result)
    cosines = (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)
    assert cosines.min() > 0.999
    assert not np.array_equal(rows, others)


def test_what_a_target_holds_stays_as_it_is(student: Network) -> None:
    assert conformed(student, Holds()) is student
    assert coarser(student.graph, Holds()) == 0
    plan = BitPlan.from_json({"activations": "signed"})
    signed = quantize(network(Mixed(), 16), faces(8, 16), plan, Calibration("minmax", bias_correction=False))[0]
    assert conformed(signed, SIGNED) is signed


def test_zero_points_are_not_taken_away() -> None:
    plan = BitPlan.from_json({"activations": "asymmetric"})
    student = quantize(network(Mixed(), 16), faces(8, 16), plan, Calibration("minmax", bias_correction=False))[0]
    obstacle = SIGNED.obstacle(conformed(student, SIGNED).graph)
    assert obstacle is not None
    assert "gives unsigned integers" in obstacle

"""The simulation of integers in torch, held bit for bit against the arithmetic that is written down."""

import numpy as np
import pytest
import torch

from bitface.graph.integer import INTEGER_LAYERS
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets.arithmetic import ExactLayer, exact, exponential
from bitface.targets.start import start
from support.c_oracle import run as oracle
from support.integers import NETWORKS, images
from support.quantized import Mixed, PreActivation, faces, network


def embeddings(graph: torch.fx.GraphModule, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        rows: np.ndarray = graph(torch.from_numpy(x)).numpy()
    return rows.view(np.int32)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operator(name: str) -> None:
    net = NETWORKS[name]()
    x = images(net)
    np.testing.assert_array_equal(embeddings(exact(net.graph), x), oracle(net.graph, x).view(np.int32))


PLANS = {
    "w8a8": BitPlan(),
    "w4a4": BitPlan.parse("w4a4"),
    "w1a3": BitPlan.parse("w1a3"),
    "with zero points": BitPlan(weights_symmetric=False, activations="asymmetric"),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_what_an_image_gives_depends_on_no_other(plan: BitPlan) -> None:
    for module, size in ((Mixed(), 16), (PreActivation(), 8)):
        net = network(module, size)
        student = quantize(net, faces(8, size), plan, Calibration("minmax", bias_correction=False))[0]
        run, x = start("torch", student), images(student, 16)
        np.testing.assert_array_equal(run(x), np.concatenate([run(x[i : i + 1]) for i in range(16)]))


def test_sums_beyond_what_a_float32_counts() -> None:
    net = NETWORKS["wide"]()
    for layer in net.graph.modules():
        if isinstance(layer, INTEGER_LAYERS):
            assert layer.bias is not None
            layer.bias[0] = 2**24 + 1
    layers = [layer for layer in exact(net.graph).modules() if isinstance(layer, ExactLayer)]
    assert all(layer.weight.dtype == torch.float64 for layer in layers)
    x = images(net)
    np.testing.assert_array_equal(embeddings(exact(net.graph), x), oracle(net.graph, x).view(np.int32))


def test_an_exponential_of_its_own() -> None:
    x = np.concatenate([np.linspace(-87, 88, 200_001), np.linspace(-1, 1, 100_001), [-1e9, 1e9]]).astype(np.float32)
    result = exponential(torch.from_numpy(x)).numpy()
    expected = np.exp(np.clip(x, -87, 88).astype(np.float64))
    assert (np.abs(result - expected) / np.spacing(expected.astype(np.float32))).max() < 1.1


def test_floats_are_left_as_they_are() -> None:
    net = network(Mixed(), 16)
    assert exact(net.graph) is net.graph

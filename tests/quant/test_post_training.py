"""The whole way from a network to its integers."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bitface.errors import BitfaceError, UsageError
from bitface.graph.integer import INTEGER_LAYERS
from bitface.quant import BitPlan, Calibration, LayerBits, quantize
from support.quantized import Mixed, faces, network

IMAGES = faces(10, 16)


def similarity(a: Tensor, b: Tensor) -> float:
    return nn.functional.cosine_similarity(a, b).mean().item()


def run(graph: torch.fx.GraphModule) -> Tensor:
    inputs = network(Mixed(), 16).preprocess
    assert inputs is not None
    with torch.no_grad():
        return graph(torch.from_numpy(inputs(IMAGES)))


def fingerprint(word: str = "w4a8") -> str:
    return quantize(network(Mixed(), 16), IMAGES, BitPlan.parse(word))[0].fingerprint()


def test_the_same_integers_every_time_and_in_a_fresh_process() -> None:
    code = "from quant.test_post_training import fingerprint; print(fingerprint())"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    fresh = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert fingerprint() == fingerprint() == fresh.stdout.strip()


@pytest.mark.parametrize(("word", "least"), [("w8a8", 0.995), ("w6a6", 0.99), ("w4a8", 0.95), ("w8a32", 0.999)])
def test_the_integer_network_is_like_the_float_one(word: str, least: float) -> None:
    net = network(Mixed(), 16)
    before = net.fingerprint()
    integer, layers = quantize(net, IMAGES, BitPlan.parse(word))
    assert net.fingerprint() == before
    assert (integer.preprocess, integer.name, integer.size) == (net.preprocess, net.name, net.size)
    assert similarity(run(net.graph), run(integer.graph)) > least
    found = {name for name, module in integer.graph.named_modules() if isinstance(module, INTEGER_LAYERS)}
    assert found == {layer.name for layer in layers if layer.kind != "Add"}


@pytest.mark.parametrize("observer", ["minmax", "moving-average", "percentile", "mse"])
@pytest.mark.parametrize(("equalization", "correction"), [(True, False), (False, True)])
def test_every_way_of_calibrating(observer: str, equalization: bool, correction: bool) -> None:
    net, steps = network(Mixed(), 16), list[tuple[int, int]]()
    calibration = Calibration(observer, equalization, correction, bias_images=4, batch=3)
    integer, _ = quantize(net, IMAGES, BitPlan(), calibration, lambda *step: steps.append(step))
    assert similarity(run(net.graph), run(integer.graph)) > 0.99
    assert steps[-1][0] == steps[-1][1]
    assert steps == sorted(steps)


class Overflowing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.fc = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.second(self.first(x)), 1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_before_a_depthwise_layer_is_named_at_few_bits_too(value: float) -> None:
    net = network(nn.Sequential(nn.Conv2d(3, 6, 1), nn.PReLU(6), nn.Conv2d(6, 6, 3, groups=6), nn.Flatten()), 8)
    net.graph.get_parameter("0.weight").data[2] = value
    with pytest.raises(BitfaceError, match="is NaN or infinite"):
        quantize(net, faces(3, 8), BitPlan.parse("w4a4"))


@pytest.mark.parametrize(("word", "named"), [("w8a8", "second_a8"), ("w8a32", "second")])
def test_an_activation_that_is_no_number_is_named(word: str, named: str) -> None:
    net = network(Overflowing(), 8)
    for name in ("first", "second"):
        net.graph.get_parameter(f"{name}.weight").data *= 1e30
    with pytest.raises(BitfaceError, match=f"'{named}' is NaN or infinite"):
        quantize(net, faces(3, 8), BitPlan.parse(word))


def test_requests_that_can_not_be_met() -> None:
    net = network(Mixed(), 16)
    with pytest.raises(UsageError, match="names 'conv9'"):
        quantize(net, IMAGES, BitPlan(layers=(("conv9", LayerBits(4, 4)),)))
    with pytest.raises(ValueError, match="no calibration images"):
        quantize(net, IMAGES[:0], BitPlan())
    with pytest.raises(ValueError, match="faces must be uint8"):
        quantize(net, IMAGES[:, :8], BitPlan())
    with pytest.raises(ValueError, match="no preprocessing"):
        quantize(replace(net, preprocess=None), IMAGES, BitPlan())


@pytest.mark.parametrize(("word", "signed"), [("rgb-raw", False), ("rgb-0-255", False), ("rgb-127.5-127.5", True)])
def test_pixels_that_are_never_negative_use_every_level(word: str, signed: bool) -> None:
    integer, _ = quantize(network(Mixed(), 16, word), IMAGES, BitPlan(), Calibration("minmax"))
    image = integer.graph.get_submodule("image_a8")
    assert image.signed is signed
    if word == "rgb-raw":
        assert image.scale == np.float32(IMAGES.max() / 255)

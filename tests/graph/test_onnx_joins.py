"""Concatenations in integer files: OpenVINO moves the rounding of a pair through one, and computes other numbers."""

import numpy as np
import openvino
import pytest
import torch
from torch import Tensor, nn

from bitface.graph import from_module, to_onnx
from bitface.quant import BitPlan, Calibration, quantize
from support.forms import FORMS

# Sums of such weights fit wherever two products are added in 16 bits: OpenVINO is exact on every CPU.
SEVEN = BitPlan.from_json({"bits": "w7a8", "first": "w7a8", "last": "w7a8"})


class Branches(nn.Module):
    """Two convolutions joined, their channels perhaps shuffled, read by a third."""

    def __init__(self, activation: nn.Module, shuffled: bool) -> None:
        super().__init__()
        self.shuffled = shuffled
        self.stem, self.activation = nn.Conv2d(3, 16, 3, 2, 1), activation
        self.a, self.b, self.c = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(32, 16, 3, 2, 1)
        self.fc = nn.Linear(16 * 16, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.stem(x))
        x = torch.cat([self.activation(self.a(x)), self.activation(self.b(x))], 1)
        if self.shuffled:
            x = x.view(-1, 2, 16, 8, 8).transpose(1, 2).reshape(-1, 32, 8, 8)
        return self.fc(torch.flatten(self.c(x), 1))


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.PReLU(16), nn.Identity()])
def test_openvino_computes_what_reads_a_join(activation: nn.Module, shuffled: bool) -> None:
    torch.manual_seed(0)
    net = from_module(Branches(activation, shuffled).eval(), "rgb-127.5-127.5", "branches", (16, 16))
    images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    integer, _ = quantize(net, images[:16], SEVEN, Calibration("minmax", bias_correction=False))
    assert net.preprocess is not None
    x = net.preprocess(images[16:])
    model = openvino.Core().read_model(to_onnx(integer.graph, FORMS["openvino"]).SerializeToString())
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.no_grad():
        expected = integer.graph(torch.from_numpy(x)).numpy()
    # With the rounding lost, the difference is as large as the largest number.
    assert np.abs(compiled(x)[0] - expected).max() < 0.05 * np.abs(expected).max()

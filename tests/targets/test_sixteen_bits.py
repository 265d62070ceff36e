"""Activations of 16 bits: the same numbers wherever they are held, and a refusal where they aren't."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bitface import artifact
from bitface.errors import BitfaceError
from bitface.graph import Network
from bitface.graph.integer import QuantizeDequantize
from bitface.quant import BitPlan, Calibration, quantize
from bitface.runtime import Model
from bitface.runtime.exact import default_engine, passed_over
from bitface.runtime.quantized import artifact_of
from bitface.targets import Settings
from bitface.targets.start import start
from bitface.targets.write import write
from support.quantized import Mixed, faces, network

PLAN = BitPlan.parse("w8a16")


class Means(nn.Module):
    """An operator whose axes became an input in the opset that pairs of 16 bits need."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.prelu, self.fc = nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.fc(self.prelu(self.conv(x)).mean((2, 3)))
        return result


@pytest.fixture(scope="module", params=[Mixed, Means])
def student(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(0)
    net = network(request.param(), 16)
    return quantize(net, faces(16, 16), PLAN, Calibration("minmax", bias_correction=False))[0]


def images(student: Network) -> np.ndarray:
    assert student.preprocess is not None
    return student.preprocess(faces(6, 16, seed=1))


def test_onnxruntime_gives_the_simulated_numbers(student: Network, tmp_path: Path) -> None:
    widths = [module.bits for module in student.graph.modules() if isinstance(module, QuantizeDequantize)]
    assert set(widths) == {16}
    simulated = start("torch", student)(images(student))
    write("onnxruntime", student, {}, tmp_path / "net.onnx")
    file = onnx.load(tmp_path / "net.onnx")
    assert [entry.version for entry in file.opset_import] == [21]
    assert {one.data_type for one in file.graph.initializer} >= {onnx.TensorProto.UINT16, onnx.TensorProto.INT8}
    rows = start("onnxruntime", tmp_path / "net.onnx", Settings())(images(student))
    # A number next to a rounding's border may fall on its other side.
    np.testing.assert_allclose(rows, simulated, atol=2e-4 * np.abs(simulated).max())


def test_the_artifact_holds_them(student: Network, tmp_path: Path) -> None:
    path = tmp_path / "net.bitface"
    artifact.write(path, artifact_of(student, student, PLAN, {"kind": "noise", "images": 16}, {}))
    again = artifact.read(path).network
    np.testing.assert_array_equal(start("torch", again)(images(student)), start("torch", student)(images(student)))


def test_an_engine_without_them_refuses_and_is_nobodys_default(student: Network) -> None:
    with pytest.raises(BitfaceError, match="rounds to 16 bits, the widest are 8"):
        start("openvino", student)
    model = Model(Path("net.bitface"), "artifact", student)
    assert default_engine(model) == "onnxruntime"
    assert passed_over(model, "onnxruntime") is None, "it is no matter of this CPU's sums"

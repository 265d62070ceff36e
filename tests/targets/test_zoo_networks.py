"""Networks as model zoos have them, the whole way: read, quantized, stored, and run as both engines' files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitface.graph import ops
from bitface.graph.store import dump, load
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets import Settings
from bitface.targets.start import start
from bitface.targets.write import write
from support.quantized import faces, network

SIZE = 16
# Sums of such weights fit wherever two products are added in 16 bits: OpenVINO is exact on every CPU.
SEVEN = BitPlan.from_json({"bits": "w7a8", "first": "w7a8", "last": "w7a8"})


def block(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def halves(x: Tensor) -> Tensor:
    """The max-feature-map of LightCNN."""
    parts = torch.split(x, x.shape[1] // 2, 1)
    return torch.max(parts[0], parts[1])


def rectified(x: Tensor) -> Tensor:
    slope = torch.linspace(-0.1, 0.4, 8).view(8, 1, 1)
    return F.relu(x) - slope * F.relu(-x)


class Gated(nn.Module):
    """Squeeze and excitation with a hard gate, as GhostNet has it."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(F.relu(self.down(x.mean((2, 3), keepdim=True))))
        return x * (F.relu6(gate + 3) / 6)


class Chain(nn.Module):
    """Parts, one after the other, and a linear layer; `[N, 8, 4, 4]` before it."""

    def __init__(self, *parts: nn.Module | Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.parts = parts
        self.modules_of_parts = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))
        self.fc = nn.Linear(128, 12)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return self.fc(torch.flatten(x, 1))


class Padded(nn.Module):
    """The shortcut of dlib's ResNet: averaged, and padded by channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(3, 4, 2), block(4, 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        narrow = F.avg_pool2d(x, 2)
        zeros = torch.zeros(narrow.size(0), 4, narrow.size(2), narrow.size(3))
        return F.relu(self.second(x) + torch.cat((narrow, zeros), 1))


# Name → the network, and operators that it must have after import.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "mfm": (lambda: Chain(block(3, 16, 2), halves, block(8, 16, 2), halves), {"Max": 2, "Slice": 4}),
    "prelu in parts": (lambda: Chain(block(3, 8, 2), rectified, block(8, 8, 2), rectified), {"PRelu": 2}),
    "se": (lambda: Chain(block(3, 8, 2), nn.PReLU(8), Gated(), block(8, 8, 2)), {"HardSigmoid": 1, "Mul": 1}),
    "hard-swish": (
        lambda: Chain(block(3, 8, 2), lambda x: x * F.relu6(x + 3) / 6, block(8, 8, 2, 8), nn.Hardswish()),
        {"HardSwish": 2},
    ),
    "depth to space": (
        lambda: Chain(block(3, 8, 2), nn.PixelShuffle(2), nn.ReLU(), block(2, 8, 4)), {"Transpose": 1}
    ),
    "padded shortcut": (lambda: Chain(Padded()), {"Pad": 1, "Add": 1}),
    "curves": (lambda: Chain(block(3, 8, 2), nn.Mish(), block(8, 8, 2), nn.ELU()), {"Mish": 1, "Elu": 1}),
    "group norm": (
        lambda: Chain(nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU(), block(8, 8, 2)), {"GroupNorm": 1}
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "operators"), NETWORKS.values(), ids=NETWORKS)
def test_the_whole_way(make: Callable[[], nn.Module], operators: dict[str, int], tmp_path: Path) -> None:
    net = network(make(), SIZE)
    kinds = [ops.op_name(module) for module in net.graph.modules()]
    assert {name: kinds.count(name) for name in operators} == operators
    assert net.preprocess is not None
    images = net.preprocess(faces(6, SIZE, seed=1))
    with torch.no_grad():
        expected = net.graph(torch.from_numpy(images)).numpy()
    for target, plan in (("openvino", SEVEN), ("onnxruntime", BitPlan())):
        student = quantize(net, faces(24, SIZE), plan, Calibration("minmax"))[0]
        with torch.no_grad():
            stored = load(*dump(student.graph))(torch.from_numpy(images)).numpy()
        assert cosines(stored, expected).min() > 0.995
        path = tmp_path / f"{target}.onnx"
        write(target, student, {"bitface.profile": target}, path)
        assert cosines(start(target, path, Settings(batch=6, threads=1))(images), stored).min() > 0.998


@pytest.mark.parametrize("name", ["mfm", "hard-swish"])
def test_convolutions_run_in_integers_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    """It wants a pair behind each, which a maximum or a curve, computed in float, leaves away."""
    net = network(NETWORKS[name][0](), SIZE)
    student = quantize(net, faces(24, SIZE), BitPlan(), Calibration("minmax"))[0]
    path = tmp_path / "model.onnx"
    write("onnxruntime", student, {"bitface.profile": "onnxruntime"}, path)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 2
    assert "Conv" not in kinds


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    products: np.ndarray = (rows * others).sum(1)
    return products / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)

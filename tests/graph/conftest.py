from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn


@pytest.fixture
def save(tmp_path: Path) -> Callable[[onnx.ModelProto], Path]:
    """Writes a model to a file and gives its path."""

    def write(model: onnx.ModelProto) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture(scope="session")
def scramble() -> Callable[[nn.Module], nn.Module]:
    """Gives every norm, bias and slope of a network values of its own, so that mix-ups show."""

    def fill(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(7)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.uniform_(-0.3, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            if isinstance(module, nn.PReLU):
                nn.init.uniform_(module.weight, -0.4, 0.4, generator=generator)
            if isinstance(getattr(module, "bias", None), nn.Parameter):
                nn.init.uniform_(module.bias, -0.4, 0.4, generator=generator)
        return network.eval()

    return fill

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[onnx.ModelProto], Path]]:
    """Writes a model to a file and gives its path; the next one takes its place."""
    path = tmp_path_factory.mktemp("models") / "model.onnx"

    def write(model: onnx.ModelProto) -> Path:
        path.write_bytes(model.SerializeToString())
        return path

    yield write
    path.unlink(missing_ok=True)  # some are large


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
            bias = getattr(module, "bias", None)
            if isinstance(bias, nn.Parameter):
                nn.init.uniform_(bias, -0.4, 0.4, generator=generator)
        return network.eval()

    return fill

from collections.abc import Callable

import pytest
import torch
from torch import nn


def _scramble(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(7)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "bn.weight", "bn1.weight", "bn2.weight", "bn3.weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(("running_mean", ".bias", "prelu.weight", "act.weight")):
            tensor.uniform_(-0.4, 0.4, generator=generator)
    return network


@pytest.fixture(scope="session")
def scramble() -> Callable[[nn.Module], nn.Module]:
    """Gives every BatchNorm, bias and PReLU of a fresh network values of its own, so that mix-ups show."""
    return _scramble

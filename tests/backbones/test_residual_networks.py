"""The two residual families against a plain reading of their blocks, from the state dict alone."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bitface import backbones

Weights = dict[str, torch.Tensor]


def norm(x: torch.Tensor, w: Weights, key: str) -> torch.Tensor:
    mean, variance, weight, bias = (w[f"{key}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=1e-5)


def stages(x: torch.Tensor, w: Weights, block: Callable[..., torch.Tensor]) -> torch.Tensor:
    for stage in range(1, 5):
        for number in range(2):
            key, stride = f"layer{stage}.{number}", 2 if number == 0 else 1
            shortcut = x
            if stride == 2:
                shortcut = F.conv2d(x, w[f"{key}.downsample.0.weight"], stride=2)
                shortcut = norm(shortcut, w, f"{key}.downsample.1")
            x = block(x, shortcut, w, key, stride)
    return x


def iresnet_block(x: torch.Tensor, shortcut: torch.Tensor, w: Weights, key: str, stride: int) -> torch.Tensor:
    x = F.conv2d(norm(x, w, f"{key}.bn1"), w[f"{key}.conv1.weight"], padding=1)
    x = F.prelu(norm(x, w, f"{key}.bn2"), w[f"{key}.prelu.weight"])
    return norm(F.conv2d(x, w[f"{key}.conv2.weight"], stride=stride, padding=1), w, f"{key}.bn3") + shortcut


def resnet_block(x: torch.Tensor, shortcut: torch.Tensor, w: Weights, key: str, stride: int) -> torch.Tensor:
    x = F.relu(norm(F.conv2d(x, w[f"{key}.conv1.weight"], stride=stride, padding=1), w, f"{key}.bn1"))
    return F.relu(norm(F.conv2d(x, w[f"{key}.conv2.weight"], padding=1), w, f"{key}.bn2") + shortcut)


@pytest.mark.parametrize("name", ["iresnet18", "resnet18"])
def test_forward_equals_the_definition(name: str, scramble: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    network = scramble(backbones.create(name, input_size=48)).eval()
    w, faces = network.state_dict(), torch.randn(2, 3, 48, 48)
    x = norm(F.conv2d(faces, w["conv1.weight"], padding=1), w, "bn1")
    if name == "iresnet18":
        x = stages(F.prelu(x, w["prelu.weight"]), w, iresnet_block)
        x = F.linear(norm(x, w, "bn2").flatten(1), w["fc.weight"], w["fc.bias"])
        expected = norm(x, w, "features")
    else:
        x = stages(F.relu(x), w, resnet_block)
        x = F.linear(norm(x, w, "head.bn").flatten(1), w["head.fc.weight"], w["head.fc.bias"])
        expected = norm(x, w, "head.features")
    with torch.no_grad():
        torch.testing.assert_close(network(faces), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())

"""The quantizers' mathematics on devices other than the CPU, held against the CPU's kernels."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bitface.quant.kernels import Grid, compiled, fake_quantize, plain

GRIDS = (Grid((0, 15)), Grid((-8, 7), inner=0.0), Grid((0, 255), sharpness=3.0))


def case(grid: Grid, channels: int, slopes: int) -> tuple[Tensor, ...]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(6, 8, 7, 5, generator=random).contiguous(memory_format=torch.channels_last)
    scale = torch.rand(channels, generator=random) * 0.1 + 0.05
    zero = torch.full((channels,), float(grid.limits[1] // 3))
    slope = torch.rand(slopes, generator=random) if slopes else None
    return x, scale, zero, slope, torch.randn(x.shape, generator=random)


@pytest.mark.skipif(not compiled(), reason="there is no C++ compiler")
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("channels", "slopes"), [(1, 0), (1, 1), (1, 8), (6, 0)])
def test_gradients_are_the_kernels(grid: Grid, channels: int, slopes: int) -> None:
    x, scale, zero, slope, g = case(grid, channels, slopes)
    inputs = [part.clone().requires_grad_(True) for part in (x, scale, zero, slope) if part is not None]
    expected = fake_quantize(inputs[0], inputs[1], inputs[2], grid, inputs[3] if slopes else None)
    expected.backward(g)
    rest = (scale, zero, slope, float("inf"), grid.limits)
    torch.testing.assert_close(plain.forward(x, *rest), expected.detach(), rtol=1e-6, atol=1e-6)
    gradients = plain.backward(g, x, *rest, (grid.inner, grid.sharpness))
    for ours, leaf in zip((one for one in gradients if one is not None), inputs, strict=True):
        torch.testing.assert_close(ours, leaf.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not compiled(), reason="there is no C++ compiler")
def test_compiled_by_torch_they_are_the_same() -> None:
    forward, backward = plain.compiled()
    for channels, slopes in ((1, 0), (1, 8), (6, 0)):
        x, scale, zero, slope, g = case(GRIDS[0], channels, slopes)
        rest = (scale, zero, slope, 4.0, GRIDS[0].limits)
        torch.testing.assert_close(forward(x, *rest), plain.forward(x, *rest), rtol=1e-5, atol=1e-5)
        for ours, theirs in zip(
            backward(g, x, *rest, (1.0, 0.0)), plain.backward(g, x, *rest, (1.0, 0.0)), strict=True
        ):
            assert ours is theirs is None or torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4) is None


@pytest.mark.slow
def test_every_tensor_of_a_step_is_on_its_device() -> None:
    """On a device that computes nothing, but refuses whatever lies elsewhere; in a process of its own, as it stays."""
    script = Path(__file__).parents[1] / "support" / "absent_gpu.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["feature", "relational", "softmax", "arcface", "step"]

"""The compiled kernels against whole-tensor operations."""

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bitface.compiler import cpp_compiler
from bitface.quant.kernels import Grid, compiled, depthwise, depthwise_fits, fake_quantize, native

needs_compiler = pytest.mark.skipif(not compiled(), reason="no C++ compiler")

SHAPES = [(1, 1, 1, 1), (2, 3, 5, 7), (3, 17, 4, 4), (5, 6), (1, 4), (2, 5, 3), (4, 64, 9, 9)]
SLOPES: dict[str, Callable[[int], Tensor | None]] = {
    "none": lambda channels: None,
    "relu": lambda channels: torch.zeros(1),
    "one": lambda channels: torch.tensor([0.3]),
    "per channel": lambda channels: torch.linspace(-0.2, 0.9, channels),
}


def both(monkeypatch: pytest.MonkeyPatch, run: Callable[[], list[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """What the compiled kernels give, and what whole-tensor operations do."""
    quick = run()
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["bitface.quant.kernels.fake_quantize"], "library", lambda: None)
        return quick, run()


def gradients(
    x: Tensor, upstream: Tensor, scale: Tensor, zero: Tensor, grid: Grid, slope: Tensor | None, cap: float
) -> list[Tensor]:
    leaves = [value.clone().requires_grad_() for value in (x, scale, zero) + (() if slope is None else (slope,))]
    y = fake_quantize(leaves[0], leaves[1], leaves[2], grid, leaves[3] if slope is not None else None, cap)
    y.backward(upstream)
    return [y.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@needs_compiler
@pytest.mark.parametrize("cap", [float("inf"), 0.8])
@pytest.mark.parametrize("sharpness", [0.0, 1.4])
@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize(("shape", "half"), [*product(SHAPES, (False,)), *product(SHAPES, (True,))])
def test_activations(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], half: bool, slope: str, sharpness: float, cap: float
) -> None:
    generator = torch.Generator().manual_seed(len(shape))
    kind = torch.bfloat16 if half else torch.float32
    x, upstream = (torch.randn(shape, generator=generator).to(kind) for _ in range(2))
    slopes = SLOPES[slope](shape[1])
    if len(shape) == 4:
        x = x.contiguous(memory_format=torch.channels_last)  # and the gradient comes in another order
    elif len(shape) == 3 and slopes is not None and len(slopes) > 1:
        pytest.skip("slopes for each channel come with images or vectors")
    grid = Grid((0, 15), 1.0, sharpness)
    quick, slow = both(
        monkeypatch,
        lambda: gradients(x, upstream, torch.tensor([0.13]), torch.tensor([4.0]), grid, slopes, cap),
    )
    torch.testing.assert_close(quick[0], slow[0], rtol=0, atol=0)
    size = float(upstream.abs().sum())
    for one, two in zip(quick[1:], slow[1:], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-2 if half else 1e-5, atol=1e-6 * size + (1e-2 if half else 0))


@needs_compiler
@pytest.mark.parametrize("sharpness", [0.0, 1.4])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2, 3, 3), (17, 40_000), (5, 7)])
@pytest.mark.parametrize("per_row", [True, False])
def test_weights(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], per_row: bool, sharpness: float) -> None:
    generator = torch.Generator().manual_seed(7)
    x, upstream = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    count = shape[0] if per_row else 1
    scale, zero = torch.linspace(0.05, 0.4, count), torch.arange(count).float() % 3
    grid = Grid((-8, 7), 0.5, sharpness)
    quick, slow = both(monkeypatch, lambda: gradients(x, upstream, scale, zero, grid, None, float("inf")))
    assert torch.equal(quick[0], slow[0])
    for one, two in zip(quick[1:], slow[1:], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=2e-5 * float(upstream.abs().sum()) ** 0.5)


@needs_compiler
def test_threads_change_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    x, upstream = (torch.randn(4, 48, 40, 40, generator=generator) for _ in range(2))
    slope, grid = torch.linspace(0, 1, 48), Grid((0, 255))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(gradients(x, upstream, torch.tensor([0.02]), torch.tensor([9.0]), grid, slope, 6.0))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@needs_compiler
@pytest.mark.parametrize("slope", [None, torch.zeros(1)])
def test_nan_stays_nan(slope: Tensor | None) -> None:
    x = torch.tensor([[0.0, float("nan"), 1.0]])
    y = fake_quantize(x, torch.tensor([0.1]), torch.zeros(1), Grid((0, 15)), slope)
    assert torch.equal(y.isnan(), x.isnan())


def test_empty() -> None:
    assert fake_quantize(torch.zeros(0, 3, 2, 2), torch.ones(1), torch.zeros(1), Grid((0, 15))).shape == (0, 3, 2, 2)


@needs_compiler
def test_compiles_without_openmp(tmp_path: Path) -> None:
    compiler = cpp_compiler()
    assert compiler
    subprocess.run([compiler, *native.FLAGS, *map(str, native.SOURCES), "-o", str(tmp_path / "k.so")], check=True)


def compilers(folder: Path) -> dict[str, tuple[dict[str, str], str]]:
    """Name → the environment of a program, and why it has no kernels."""
    broken = folder / "c++"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "k.cpp:7: error: no such header" >&2; exit 1\n')
    broken.chmod(0o755)
    (folder / "empty").mkdir()
    return {
        "off": ({"BITFACE_KERNELS": "0"}, "BITFACE_KERNELS=0 switches them off; leave it out"),
        "none": (
            {"PATH": str(folder / "empty")},
            "there is no C++ compiler to make them with; install one, such as g++",
        ),
        "missing": ({"CXX": "/no/such/compiler"}, "/no/such/compiler doesn't make them (No such file or directory)"),
        "broken": ({"CXX": str(broken)}, f"{broken} doesn't make them (k.cpp:7: error: no such header); install one"),
        "odd": ({"CXX": "/bin/true"}, "/bin/true doesn't make them ("),
    }


@pytest.mark.parametrize("name", ["off", "none", "missing", "broken", "odd"])
def test_without_a_compiler_it_goes_on_and_says_why(name: str, tmp_path: Path) -> None:
    settings, reason = compilers(tmp_path)[name]
    code = "from bitface.quant.kernels import *; import torch; assert not compiled(); print(fake_quantize(torch.ones(1)"
    code += ", torch.ones(1), torch.zeros(1), Grid((0, 3))).item()); print(missing())"
    plain = {key: value for key, value in os.environ.items() if key not in ("CXX", "BITFACE_KERNELS")}
    environment = {**plain, **settings, "BITFACE_CACHE": str(tmp_path / "cache")}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    value, said = run.stdout.splitlines()
    assert value == "1.0"
    assert reason in said
    assert run.stderr == ""


@needs_compiler
def test_nothing_is_missing_where_they_are_compiled() -> None:
    assert native.missing() == ""


@needs_compiler
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "dilation"),
    [
        ((2, 3, 7, 5), (3, 3), (2, 2), (1, 1), (1, 1)),
        ((3, 33, 8, 8), (3, 3), (1, 1), (1, 1), (1, 1)),
        ((2, 64, 7, 7), (7, 7), (1, 1), (0, 0), (1, 1)),
        ((2, 4, 9, 10), (3, 2), (2, 1), (1, 2), (2, 1)),
        ((1, 1, 4, 4), (1, 1), (3, 3), (0, 0), (1, 1)),
    ],
)
def test_depthwise(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...],
    dilation: tuple[int, ...], bias: bool, half: bool,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    kind = torch.bfloat16 if half else torch.float32
    x = torch.randn(shape, generator=generator).to(kind)
    weight = torch.randn(shape[1], 1, *kernel, generator=generator)
    offset = torch.randn(shape[1], generator=generator) if bias else None

    def run(convolve: Callable[..., Tensor], *values: Tensor | None) -> list[Tensor]:
        leaves = [value.clone().requires_grad_() for value in values if value is not None]
        y = convolve(*leaves[:2], leaves[2] if bias else None)
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape).to(y.dtype))
        return [y.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    quick = run(lambda a, w, b: depthwise(a, w, b, stride, padding, dilation), x, weight, offset)
    exact = [value.double() if value is not None else None for value in (x, weight, offset)]
    slow = run(lambda a, w, b: torch.nn.functional.conv2d(a, w, b, stride, padding, dilation, shape[1]), *exact)
    assert quick[0].dtype == quick[1].dtype == kind
    for one, two in zip(quick, slow, strict=True):
        # Sums are of float32; what is written as bfloat16 is rounded once.
        coarse = one.dtype == torch.bfloat16 or half
        torch.testing.assert_close(one.double(), two, rtol=2e-2 if coarse else 1e-5, atol=5e-2 if coarse else 1e-4)


@needs_compiler
def test_threads_change_nothing_in_depthwise_layers() -> None:
    generator = torch.Generator().manual_seed(4)
    x, weight = torch.randn(5, 40, 12, 12, generator=generator), torch.randn(40, 1, 3, 3, generator=generator)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
            depthwise(a, w, None, (2, 2), (1, 1), (1, 1)).square().sum().backward()
            found.append((a.grad, w.grad))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_a_depthwise_layer_is_the_same_with_and_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(2, 6, 9, 9), torch.randn(6, 1, 3, 3)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["bitface.quant.kernels.depthwise"], "library", lambda: None)
        assert not depthwise_fits(x, weight, 6)
    assert depthwise_fits(x, weight, 6) == compiled()
    assert not depthwise_fits(x, torch.randn(12, 1, 3, 3), 6)  # two filters for each channel
    assert not depthwise_fits(x, torch.randn(6, 6, 3, 3), 1)

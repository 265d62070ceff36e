"""OpenVINO computes every operator as torch does; and in a process that handles signals, or has little memory."""

import ctypes
import itertools
import mmap
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bitface.errors import BitfaceError, lacks_memory
from bitface.graph import Network
from bitface.graph.builder import Builder
from bitface.targets import Settings
from bitface.targets.openvino import _SignalStack
from bitface.targets.start import start
from support.onnx_models import Model
from support.operator_modules import EXAMPLES, SHAPE, chain, graph_of
from support.quantized import Mixed, network

# No networks on their own.
INTEGER = ("QuantizeDequantize", "IntegerConv", "IntegerLinear")


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in INTEGER])
def test_operators(name: str) -> None:
    torch.manual_seed(0)
    images = torch.rand(3, *SHAPE) * 2 - 1
    for example in EXAMPLES[name]:
        graph = graph_of(*chain(example))
        with torch.no_grad():
            expected = graph(images).numpy()
        result = start("openvino", Network(graph, name), Settings(batch=3, threads=1))(images.numpy())
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_windows_that_reach_beyond_the_padding() -> None:
    """Their sizes, and what they divide by, are those of torch."""
    torch.manual_seed(0)
    windows: Any = itertools.product((2, (3, 2), 3, 5), (1, 2, 3, (2, 4)), (0, 1, (1, 0)), (False, True))
    modules: list[nn.Module] = []
    for kernel, stride, padding, counts in windows:
        modules += [nn.AvgPool2d(kernel, stride, padding, True, counts)]
        modules += [nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)] if counts else []
    for module in modules:
        for sides in ((8, 8), (7, 6)):
            builder, images = Builder((2, *sides)), torch.randn(1, 2, *sides)
            graph = builder.finish(builder.add("pool", module, builder.input))
            result = start("openvino", Network(graph, "net"), Settings(threads=1))(images.numpy())
            np.testing.assert_allclose(result, graph(images).numpy(), rtol=1e-4, atol=1e-5, err_msg=f"{module} {sides}")


def test_an_older_file_with_an_l1_norm(tmp_path: Path) -> None:
    """Whose axes OpenVINO doesn't see."""
    model, path = Model(), tmp_path / "l1.onnx"
    onnx.save(model.finish(model.add("ReduceL1", "image", axes=[1], keepdims=0)), path)
    with pytest.raises(
        BitfaceError, match=r"'ReduceL1_0' is a ReduceL1, which OpenVINO computes over all axes; export"
    ):
        start("openvino", path, Settings())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such stacks")
def test_signal_handlers_keep_their_stack() -> None:
    """Networks that bring their own would leave that of one that has gone, where the next signal kills the process."""
    own = ctypes.create_string_buffer(1 << 16)
    libc, before = ctypes.CDLL(None), _SignalStack()
    ours = _SignalStack(ctypes.addressof(own), 0, len(own))
    assert libc.sigaltstack(ctypes.byref(ours), ctypes.byref(before)) == 0
    try:
        networks = []
        for _ in range(3):
            networks.append(start("openvino", network(Mixed(), 16), Settings(streams=2)))
            networks[-1](np.zeros((1, 3, 16, 16), np.float32))
        while networks:  # the first one ends first
            networks.pop(0)
            now = _SignalStack()
            libc.sigaltstack(None, ctypes.byref(now))
            assert (now.address, now.size) == (ours.address, ours.size)
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


@pytest.mark.usefixtures("small_memory")
def test_a_lack_of_memory_is_said_where_openvino_would_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "openvino", raising=False)  # as in a process that hasn't started it yet
    with mmap.mmap(-1, 100 << 20), pytest.raises(BitfaceError, match="can't load it: it takes 256 MB") as caught:
        start("openvino", network(Mixed(), 16), Settings())
    assert lacks_memory(caught.value)

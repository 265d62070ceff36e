"""OpenVINO in a process that handles signals, or has little memory."""

import ctypes
import mmap
import sys

import numpy as np
import pytest

from bitface.errors import BitfaceError, lacks_memory
from bitface.targets import Settings
from bitface.targets.openvino import _SignalStack
from bitface.targets.start import start
from support.quantized import Mixed, network


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

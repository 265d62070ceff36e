"""OpenVINO: the fastest on x86 CPUs, with QDQ pairs where the graph has its quantizers and PReLU as one operator."""

import ctypes
import mmap
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bitface.errors import BitfaceError
from bitface.graph import Network
from bitface.graph.onnx_form import OnnxForm
from bitface.targets.base import Holds, Run, Settings, Target
from bitface.targets.onnx_file import content, emitter
from bitface.targets.registry import TARGETS
from bitface.telemetry import silenced

FORM = OnnxForm()
# Runs that the times of layers are the mean of.
_RUNS = 60
# Bytes of addresses; a small MobileFaceNet on one thread never did with less, and mostly with 400 MB.
_ROOM = 256 << 20
# What it calls a layer whose bias it adds apart.
_SPLIT = "/WithoutBiases"


def start(source: Network | Path, settings: Settings) -> Run:
    """OpenVINO on the CPU. On CPUs with AMX its own default would be bf16, so the precision is always said."""
    model = content(source, FORM)
    if isinstance(source, Path):
        _refuse_l1(model)
    return OpenVINO(model, settings)


def _refuse_l1(model: bytes) -> None:
    """Raises BitfaceError for a file with a ReduceL1, as older ones have: OpenVINO reduces it over all axes."""
    if b"ReduceL1" in model:  # or in a name
        import onnx

        for node in onnx.load_from_string(model).graph.node:
            if node.op_type == "ReduceL1":
                raise BitfaceError(
                    f"'{node.name}' is a ReduceL1, which OpenVINO computes over all axes; export the .bitface file anew"
                )


def _ask_for_room() -> None:
    """Raises MemoryError where the process may not have what even a small network takes: OpenVINO itself would end the
    process then, or wait for ever, at places of its own.
    """
    try:
        mmap.mmap(-1, _ROOM, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise MemoryError(f"it takes {_ROOM >> 20} MB of memory, which aren't there") from error


class OpenVINO:
    """A network compiled for one call at a time, and, when calls first meet, for several of them.

    Streams are threads, which a forked process doesn't have: it computes its calls one after the other, on what was
    compiled for one, where the calling thread does the work.

    Args:
        model: an ONNX file's bytes, or the path of any file that OpenVINO reads.
    """

    def __init__(self, model: bytes | str, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._one = self._compiled(1)
        self._alone = deque([self._one])
        self._several: _Requests | None = None
        self._process, self._lock = os.getpid(), threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if self._settings.streams == 1 or os.getpid() != self._process:
            return self._one(images)
        try:
            one = self._alone.pop()
        except IndexError:  # another thread has it
            return self._of_several()(images)
        try:
            return one(images)
        finally:
            self._alone.append(one)

    def _of_several(self) -> "_Requests":
        with self._lock:
            self._several = self._several or self._compiled(self._settings.streams)
        return self._several

    def _compiled(self, streams: int) -> "_Requests":
        if "openvino" not in sys.modules:  # its libraries are what takes most
            _ask_for_room()
        with silenced():
            import openvino as ov

        core = ov.Core()
        network = core.read_model(self._model)
        network.reshape([self._settings.batch, *list(network.input(0).partial_shape)[1:]])
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self._settings.precision,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": streams,
        }
        if self._settings.threads:
            options["INFERENCE_NUM_THREADS"] = max(1, self._settings.threads * streams // self._settings.streams)
        with _signal_stack_restored():
            return _Requests(core.compile_model(network, "CPU", options))


class _SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def _signal_stack_restored() -> Iterator[None]:
    """Gives this thread the stack of its signal handlers back that it had.

    A compiled network brings one of its own and puts back at its end what it found at its beginning. Where networks
    don't end in the opposite order of their beginnings that is the stack of one that has gone, and the next signal that
    Python handles (Ctrl-C, or a child that ended) kills the process.
    """
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _SignalStack()
    known = libc.sigaltstack(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if known:
            libc.sigaltstack(ctypes.byref(before), None)


class _Requests:
    """The requests of a compiled network. One holds a single call's tensors: shared by two threads, it gives one of
    them the other's embedding.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: deque[Any] = deque()  # its ends need no lock, which a fork could find closed

    def __call__(self, images: np.ndarray) -> np.ndarray:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            result: np.ndarray = request.infer({0: images}, share_inputs=True)[0].copy()
            return result
        finally:
            self._idle.append(request)


def layer_times(network: Network, names: Iterable[str], threads: int = 1) -> tuple[dict[str, float], float]:
    """The mean milliseconds of each named layer with what OpenVINO fused into it, and of everything else together, by
    its own counters, for one image.

    Raises:
        BitfaceError: the engine's counters name none of the layers.
    """
    with silenced():
        import openvino as ov

    core = ov.Core()
    model = core.read_model(content(network, FORM))
    model.reshape([1, *list(model.input(0).partial_shape)[1:]])
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERF_COUNT": True,
    }
    with _signal_stack_restored():
        compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    image = np.random.default_rng(0).standard_normal(tuple(model.input(0).shape), dtype=np.float32)
    for _ in range(_RUNS):
        request.infer({0: image}, share_inputs=True)
    times, rest = dict.fromkeys(names, 0.0), 0.0
    for operator in compiled.get_runtime_model().get_ordered_ops():
        facts = operator.get_rt_info()
        took = str(_value(facts, "execTimeMcs"))
        if not took.isdigit():
            continue
        layers = [name.removesuffix(_SPLIT) for name in str(_value(facts, "originalLayersNames")).split(",")]
        if owners := [name for name in layers if name in times]:
            times[owners[0]] += int(took) / 1e3
        else:
            rest += int(took) / 1e3
    if not any(times.values()):
        raise BitfaceError("OpenVINO's counters name no layer of this network; use a budget of bytes or bits")
    return times, rest


def _value(facts: dict[str, Any], key: str) -> object:
    fact = facts[key] if key in facts else ""  # noqa: SIM401, OpenVINO's own mapping has no get
    return getattr(fact, "value", fact)


_USAGE = """```python
import openvino as ov

model = ov.Core().compile_model("model.onnx", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
embedding = model(image)[0]  # image: float32 {image}
```

```cpp
ov::Core core;
auto model = core.compile_model("model.onnx", "CPU", ov::hint::inference_precision(ov::element::f32));
ov::InferRequest request = model.create_infer_request();
request.set_input_tensor(ov::Tensor(ov::element::f32, {{{shape}}}, image));
request.infer();
const float *embedding = request.get_output_tensor().data<float>();
```

Without the precision, CPUs with AMX compute what is left in floating point in bfloat16.

Imported in Python, OpenVINO tells Google Analytics, unless its script `opt_in_out` was told once not to, or the package
`openvino-telemetry` isn't installed."""


def usage(network: Network) -> str:
    shape = [1, network.channels, *network.size]
    return _USAGE.format(image=shape, shape=", ".join(map(str, shape)))


TARGETS.register("openvino")(
    Target(
        title="OpenVINO",
        holds=Holds(prelu="fused into the layer before it, on its sums"),
        rounds="Operators that it fuses keep float32 between them: with 8 bits it leaves out the rounding of a tensor "
        "that an addition alone reads.",
        suffix=".onnx",
        emit=emitter(FORM),
        start=start,
        layer_times=layer_times,
        precisions=("f32", "bf16"),
        package="openvino",
        usage=usage,
    )
)

"""The engines behind one call: a float32 batch `[B, 3, H, W]` in, embeddings `[B, D]` out.

Every call may come from several threads at once, and from a process that was forked after the engine was started.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from bitface.errors import BitfaceError
from bitface.runtime.model import Model

Engine = Literal["openvino", "onnxruntime", "torch"]
# The fastest first.
ENGINES: tuple[Engine, ...] = ("openvino", "onnxruntime", "torch")
# The graph itself, which every engine is held against.
SIMULATION: Engine = "torch"
NAMES: dict[str, str] = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "torch": "torch (simulation)"}
Run = Callable[[np.ndarray], np.ndarray]


def start(
    model: Model, engine: str, batch: int, threads: int | None = None, precision: str = "f32", streams: int = 1
) -> Run:
    """Loads a model into an engine for batches of one size.

    Args:
        threads: in all; None: one for each core.
        precision: of what is left in floating point, `f32` or `bf16` (OpenVINO only).
        streams: how many calls share the threads at the same time. Where there are several, ONNX Runtime computes
            every call in the thread that it comes from; torch always does.

    Raises:
        BitfaceError: the engine refuses the model.
    """
    if engine == SIMULATION:
        return _torch(model)
    try:
        if engine == "openvino":
            return openvino(model.onnx_for("openvino"), batch, threads, precision, streams)
        return onnxruntime(model.onnx_for("onnxruntime"), threads if streams == 1 else 1)
    except BitfaceError:
        raise
    except Exception as error:  # engines raise RuntimeError and their own kinds
        raise BitfaceError(f"{model.path}: {engine} can't load it: {str(error).strip().splitlines()[0]}") from error


def openvino(model: bytes, batch: int, threads: int | None = None, precision: str = "f32", streams: int = 1) -> Run:
    """OpenVINO on the CPU. On CPUs with AMX its own default would be bf16, so the precision is always said."""
    return _OpenVINO(model, batch, threads, precision, streams)


class _OpenVINO:
    """A network compiled for one call at a time, and, when calls first meet, for several of them.

    Streams are threads, which a forked process doesn't have: it computes its calls one after the other, on what was
    compiled for one, where the calling thread does the work.
    """

    def __init__(self, model: bytes, batch: int, threads: int | None, precision: str, streams: int) -> None:
        self._model, self._batch, self._precision = model, batch, precision
        self._threads, self._streams = threads, streams
        self._one = self._compiled(1)
        self._alone = deque([self._one])
        self._several: _Requests | None = None
        self._process, self._lock = os.getpid(), threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if self._streams == 1 or os.getpid() != self._process:
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
            self._several = self._several or self._compiled(self._streams)
        return self._several

    def _compiled(self, streams: int) -> "_Requests":
        import openvino as ov

        core = ov.Core()
        network = core.read_model(self._model)
        network.reshape([self._batch, *list(network.input(0).partial_shape)[1:]])
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": streams,
        }
        if self._threads:
            options["INFERENCE_NUM_THREADS"] = max(1, self._threads * streams // self._streams)
        return _Requests(core.compile_model(network, "CPU", options))


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
            return request.infer({0: images}, share_inputs=True)[0].copy()
        finally:
            self._idle.append(request)


def onnxruntime(model: bytes, threads: int | None = None) -> Run:
    """ONNX Runtime on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Exact sums on x86 CPUs without VNNI, where the fast ones saturate; elsewhere it does nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if threads:
        options.intra_op_num_threads = threads
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _torch(model: Model) -> Run:
    """The graph itself: float, or the simulation of the integers.

    A call computes on the thread that it comes from: torch's last digits depend on the number of threads, and a forked
    process has none of OpenMP's.
    """

    def run(images: np.ndarray) -> np.ndarray:
        before = torch.get_num_threads()
        try:
            if before != 1:
                torch.set_num_threads(1)
            with torch.inference_mode():
                return model.network.graph(torch.from_numpy(images)).numpy()
        finally:
            if before != 1:
                torch.set_num_threads(before)

    return run

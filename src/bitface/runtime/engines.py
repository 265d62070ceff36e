"""The engines behind one call: a float32 batch `[B, 3, H, W]` in, embeddings `[B, D]` out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bitface import cpu
from bitface.errors import BitfaceError
from bitface.graph.summary import tensor_table
from bitface.runtime.model import Model

Run = Callable[[np.ndarray], np.ndarray]


def start(model: Model, engine: str, batch: int, threads: int | None = None, precision: str = "f32") -> Run:
    """Loads a model into an engine for batches of one size.

    Raises:
        BitfaceError: the engine refuses the model.
    """
    if engine == "torch":
        return _torch(model, threads)
    try:
        if engine == "openvino":
            return openvino(model.onnx_for("openvino"), batch, threads, precision)
        return onnxruntime(model.onnx_for("onnxruntime"), threads)
    except BitfaceError:
        raise
    except Exception as error:  # engines raise RuntimeError and their own kinds
        raise BitfaceError(f"{model.path}: {engine} can't load it: {str(error).strip().splitlines()[0]}") from error


def overflow(model: Model, engine: str) -> str | None:
    """What to tell of an integer model that OpenVINO, which has no exact kernels for it, doesn't compute exactly here.

    Two products of a weight of 8 bits and an activation of 8 bits don't fit into the 16 bits in which x86 CPUs without
    VNNI add them; with weights of 7 bits they do. Activations below 8 bits were measured to deviate there as well.
    """
    if engine != "openvino" or not model.integer or not cpu.sums_overflow():
        return None
    tensors = {(row["role"], row["bits"]) for row in tensor_table(model.network)[0]}
    if not tensors & {("weight", 8), *(("activation", bits) for bits in range(2, 8))}:
        return None
    return (
        "openvino: this CPU has no VNNI instructions, and OpenVINO's sums with weights of 8 bits or activations below "
        "8 bits aren't exact on it; use onnxruntime here, or --bits w7a8 --first w7a8 --last w7a8"
    )


def openvino(model: bytes, batch: int, threads: int | None = None, precision: str = "f32") -> Run:
    """OpenVINO on the CPU. On CPUs with AMX its own default would be bf16, so the precision is always said."""
    import openvino as ov

    core = ov.Core()
    network = core.read_model(model)
    network.reshape([batch, *list(network.input(0).partial_shape)[1:]])
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    request = core.compile_model(network, "CPU", options).create_infer_request()
    return lambda images: request.infer({0: images}, share_inputs=True)[0].copy()


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


def _torch(model: Model, threads: int | None) -> Run:
    """The graph itself: float, or the simulation of the integers."""
    if threads:
        torch.set_num_threads(threads)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model.network.graph(torch.from_numpy(images)).numpy()

    return run

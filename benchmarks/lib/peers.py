"""The same job done by the peers: functions from a float network and calibration faces to an embedding function.

NNCF and ONNX Runtime quantize to 8 bits with their default settings (ONNX Runtime: QDQ, per channel, entropy left at
MinMax as it is by default) and run in their own engines. Brevitas has no integer engine: its 4 bits are simulated in
torch, with its own MSE ranges of weights, percentiles of activations and bias correction, on the inputs and weights
of the same layers as ours, first and last in 8 bits.
"""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bitface.graph import Network, passes, to_onnx
from bitface.telemetry import silenced

Embed = Callable[[np.ndarray], np.ndarray]
_BATCH = 16


def in_batches(network: Network, run: Callable[[np.ndarray], np.ndarray], batch: int = _BATCH) -> Embed:
    """Faces, uint8 RGB `[N, H, W, 3]`, to embeddings."""
    assert network.preprocess is not None
    inputs = network.preprocess

    def embed(faces: np.ndarray) -> np.ndarray:
        starts = range(0, len(faces), batch)
        return np.concatenate([run(inputs(faces[start : start + batch])) for start in starts])

    return embed


def nncf(network: Network, faces: np.ndarray) -> tuple[Embed, Callable[[np.ndarray], np.ndarray]]:
    """NNCF's post-training quantization in OpenVINO; the second function takes one preprocessed image at a time."""
    with silenced():
        import nncf as library
        import openvino as ov

    assert network.preprocess is not None
    core, inputs = ov.Core(), network.preprocess(faces)
    model = core.read_model(to_onnx(passes.fold(network.graph)).SerializeToString())
    model.reshape([-1, *inputs.shape[1:]])
    made = library.quantize(model, library.Dataset([one[None] for one in inputs]), subset_size=len(inputs))
    compiled = core.compile_model(made, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    made.reshape([1, *inputs.shape[1:]])
    single = core.compile_model(
        made, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    )
    return in_batches(network, lambda x: compiled(x)[0]), lambda x: single(x)[0]


def onnxruntime(network: Network, faces: np.ndarray) -> Embed:
    """ONNX Runtime's static quantization in ONNX Runtime."""
    with silenced():
        import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    assert network.preprocess is not None
    inputs = network.preprocess(faces)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.rows = iter([{name: one[None]} for one in inputs])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, ready, made = (Path(folder) / f"{name}.onnx" for name in ("plain", "ready", "made"))
        model = to_onnx(passes.fold(network.graph))
        plain.write_bytes(model.SerializeToString())
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        reader = Reader(model.graph.input[0].name)
        quantize_static(str(ready), str(made), reader, quant_format=QuantFormat.QDQ, per_channel=True)
        session = ort.InferenceSession(str(made), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return in_batches(network, lambda x: session.run(None, {name: x})[0])


def brevitas(network: Network, faces: np.ndarray, bits: int = 4) -> Embed:
    """Brevitas' post-training quantization, simulated."""
    from brevitas import nn as qnn
    from brevitas.graph.calibrate import bias_correction_mode, calibration_mode
    from brevitas.quant.scaled_int import Int8WeightPerChannelFloatMSE
    from brevitas.quant.shifted_scaled_int import ShiftedUint8ActPerTensorFloat

    assert network.preprocess is not None
    graph = copy.deepcopy(passes.fold(network.graph))
    layers = [(name, one) for name, one in graph.named_modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    for place, (name, layer) in enumerate(layers):
        width = 8 if place in (0, len(layers) - 1) else bits
        options = {
            "bias": layer.bias is not None,
            "weight_quant": Int8WeightPerChannelFloatMSE,
            "weight_bit_width": width,
            "input_quant": ShiftedUint8ActPerTensorFloat,
            "input_bit_width": width,
        }
        if isinstance(layer, nn.Conv2d):
            made: nn.Module = qnn.QuantConv2d(
                layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
                layer.dilation, layer.groups, **options,
            )  # fmt: skip
        else:
            made = qnn.QuantLinear(layer.in_features, layer.out_features, **options)
        made.load_state_dict(layer.state_dict(), strict=False)
        holder, _, leaf = name.rpartition(".")
        setattr(graph.get_submodule(holder), leaf, made)
    graph.eval()
    inputs = torch.from_numpy(network.preprocess(faces))
    with torch.no_grad():
        for mode in (calibration_mode, bias_correction_mode):
            with mode(graph):
                for part in inputs.split(_BATCH):
                    graph(part)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return graph(torch.from_numpy(x)).numpy()

    return in_batches(network, run)

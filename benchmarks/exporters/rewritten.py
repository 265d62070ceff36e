"""What other tools make of the files of `from_torch.py`: 16-bit floats, integers, other opsets, simplified graphs.

    python benchmarks/exporters/rewritten.py FOLDER

Needs onnx, onnxruntime, onnxconverter-common, onnxslim (`exporters/requirements-torch.txt`).
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxslim
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnxconverter_common import float16
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

SOURCE = "torch_legacy"
FAMILIES = (
    "mobilefacenet_prelu",
    "mobilefacenet_relu6",
    "iresnet_se",
    "resnet_relu",
    "mobilenetv3",
    "shufflenetv2",
    "facenet",
    "dlib_pad",
    "lightcnn_grey",
    "vit_flat",
    "edgeface",
)


class Images(CalibrationDataReader):
    def __init__(self, model: onnx.ModelProto):
        shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
        random = np.random.default_rng(0)
        self.rows = iter([{"image": random.uniform(-1, 1, shape).astype(np.float32)} for _ in range(8)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rows, None)


def static(
    form: QuantFormat, activations: QuantType, weights: QuantType, channels: bool
) -> Callable[[Path, Path], None]:
    def write(source: Path, path: Path) -> None:
        quantize_static(
            source,
            path,
            Images(onnx.load(source)),
            quant_format=form,
            activation_type=activations,
            weight_type=weights,
            per_channel=channels,
            extra_options={"ActivationSymmetric": activations == QuantType.QInt8},
        )

    return write


def on_model(change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> Callable[[Path, Path], None]:
    return lambda source, path: onnx.save(change(onnx.load(source)), path)


def bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights in bfloat16, each with a Cast to float."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            name, values = tensor.name, numpy_helper.to_array(tensor)
            tensor.CopyFrom(helper.make_tensor(f"{name}_bf16", TensorProto.BFLOAT16, values.shape, values.flatten()))
            casts.append(helper.make_node("Cast", [f"{name}_bf16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights listed as inputs, as before IR 4."""
    model.graph.input.extend(
        helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in model.graph.initializer
    )
    return model


def external(source: Path, path: Path) -> None:
    onnx.save(onnx.load(source), path, save_as_external_data=True, location=f"{path.stem}.data", size_threshold=0)


TOOLS: dict[str, Callable[[Path, Path], None]] = {
    "fp16": on_model(float16.convert_float_to_float16),
    "fp16 inside": on_model(lambda model: float16.convert_float_to_float16(model, keep_io_types=True)),
    "bf16 weights": on_model(bfloat16),
    "QDQ s8": static(QuantFormat.QDQ, QuantType.QInt8, QuantType.QInt8, True),
    "QDQ u8": static(QuantFormat.QDQ, QuantType.QUInt8, QuantType.QInt8, False),
    "QDQ u16": static(QuantFormat.QDQ, QuantType.QUInt16, QuantType.QInt8, True),
    "QOperator u8": static(QuantFormat.QOperator, QuantType.QUInt8, QuantType.QUInt8, False),
    "QOperator s8": static(QuantFormat.QOperator, QuantType.QInt8, QuantType.QInt8, True),
    "dynamic": lambda source, path: quantize_dynamic(source, path),
    "simplified": on_model(onnxslim.slim),
    "newest opset": on_model(lambda model: version_converter.convert_version(model, 22)),
    "weights as inputs": on_model(as_inputs),
    "external data": external,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for tool, write in TOOLS.items():
        for name in FAMILIES:
            path = options.folder / tool.replace(" ", "_") / f"{name}.onnx"
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                continue
            failure = ""
            try:
                write(options.folder / SOURCE / f"{name}.onnx", path)
            except Exception as error:
                path.unlink(missing_ok=True)
                failure = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"
            print(f"{tool:26s} {name:24s} {failure or 'ok'}", flush=True)


if __name__ == "__main__":
    main()

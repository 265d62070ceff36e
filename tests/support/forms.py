"""The forms that the targets write ONNX files in, by their names."""

from bitface.graph.onnx_form import OnnxForm
from bitface.targets import onnxruntime, openvino

FORMS: dict[str, OnnxForm] = {"openvino": openvino.FORM, "onnxruntime": onnxruntime.FORM}

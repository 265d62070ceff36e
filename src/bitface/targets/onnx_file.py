"""Targets that read ONNX files: the forms of one writer."""

from collections.abc import Mapping
from pathlib import Path

from bitface.files import write_bytes
from bitface.graph import Network, to_onnx
from bitface.graph.onnx_form import OnnxForm
from bitface.targets.base import Emit, Simulate


def emitter(form: OnnxForm, rewrite: Simulate = lambda graph: graph) -> Emit:
    """Writes the ONNX file of a form.

    Args:
        rewrite: gives the graph that is written.
    """

    def emit(network: Network, facts: Mapping[str, str], path: Path) -> None:
        write_bytes(path, to_onnx(rewrite(network.graph), form, dict(facts)).SerializeToString())

    return emit


def content(source: Network | Path, form: OnnxForm) -> bytes:
    """The ONNX model that an engine loads: a network in its form, or a file as it is."""
    return source.read_bytes() if isinstance(source, Path) else to_onnx(source.graph, form).SerializeToString()

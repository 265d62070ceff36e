"""Targets that read ONNX files: the forms of one writer."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from bitface.files import write_bytes
from bitface.graph.onnx_form import OnnxForm
from bitface.targets.base import FACTS_KEY, GRAPH_KEY, Emit, Simulate

if TYPE_CHECKING:
    from bitface.graph import Network

# For guides beside files that ONNX Runtime runs in programs of their own.
RUNTIME_TELLS = """\
ONNX Runtime 1.29 and newer tells Microsoft of each session, with the model's name, unless the process's environment
says `ORT_DISABLE_TELEMETRY=1`."""


def emitter(form: OnnxForm, rewrite: Simulate = lambda graph: graph) -> Emit:
    """Writes the ONNX file of a form.

    Args:
        rewrite: gives the graph that is written.
    """

    def emit(network: "Network", facts: Mapping[str, str], path: Path) -> None:
        from bitface.graph import to_onnx

        model = to_onnx(rewrite(network.graph), form, dict(facts))
        if FACTS_KEY in facts:
            model.metadata_props.add(key=GRAPH_KEY, value=sha256(model.graph.SerializeToString()).hexdigest())
        write_bytes(path, model.SerializeToString())

    return emit


def content(source: "Network | Path", form: OnnxForm) -> bytes:
    """The ONNX model that an engine loads: a network in its form, or a file as it is."""
    if isinstance(source, Path):
        return source.read_bytes()
    from bitface.graph import to_onnx

    serialized: bytes = to_onnx(source.graph, form).SerializeToString()
    return serialized

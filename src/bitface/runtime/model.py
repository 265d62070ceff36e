"""Any model file as the runtime needs it: a network, or an exported ONNX file that is run as it is."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from bitface import artifact
from bitface.errors import BitfaceError
from bitface.graph import Network, load_network, passes, to_onnx
from bitface.graph.onnx_writer import PROFILES, Profile
from bitface.preprocess import Preprocess, parse

PROFILE_KEY = "bitface.profile"
TEACHER_KEY = "bitface.teacher"
PREPROCESS_KEY = "bitface.preprocess"


@dataclass(frozen=True)
class Model:
    """A model file.

    Attributes:
        path: where it lies.
        kind: `float`, `artifact` (.bitface) or `exported` (an ONNX file written by bitface).
        network: its graph; of an exported file the simulation that its QDQ pairs describe.
        profile: the engine that an exported file was written for.
        details: the artifact, where it is one.
    """

    path: Path
    kind: str
    network: Network
    profile: Profile | None = None
    details: artifact.Artifact | None = None

    @property
    def integer(self) -> bool:
        return self.kind != "float"

    @property
    def preprocess(self) -> Preprocess | None:
        return self.network.preprocess

    def with_preprocess(self, preprocess: Preprocess) -> "Model":
        return replace(self, network=self.network.with_preprocess(preprocess))

    def onnx_for(self, engine: Profile) -> bytes:
        """The ONNX model that an engine runs: of a float network its fastest float graph.

        Raises:
            BitfaceError: the file was exported for the other engine.
        """
        if self.profile is None:
            graph = self.network.graph if self.integer else passes.fold(self.network.graph)
            return to_onnx(graph, engine).SerializeToString()
        if self.profile != engine:
            raise BitfaceError(f"{self.path}: was exported for {self.profile}, not for {engine}; run the .bitface file")
        return self.path.read_bytes()


def open_model(path: Path, preprocess: str | None = None) -> Model:
    """Opens a network file, an artifact or an exported file.

    Args:
        preprocess: see `load_network`; refused where the file carries its own and it differs.

    Raises:
        BitfaceError: no model, or a damaged one.
    """
    path = Path(path)
    if path.suffix.lower() == ".bitface":
        details = artifact.read(path)
        _same(path, preprocess, details.network)
        return Model(path, "artifact", details.network, details=details)
    network = load_network(path, None)
    profile = network.metadata.get(PROFILE_KEY)
    if profile is None:
        return Model(path, "float", load_network(path, preprocess) if preprocess else network)
    if profile not in PROFILES:
        raise BitfaceError(f"{path}: was exported for '{profile}', an engine this bitface doesn't know")
    _same(path, preprocess, network)
    return Model(path, "exported", network, profile=profile)


def open_float(path: Path, preprocess: str | None = None) -> Network:
    """Opens a network to be quantized, changed, or learned from: whatever bitface quantized itself is refused.

    A file that another program quantized is taken, as its float network may be lost; `Network.warnings` say so.

    Raises:
        BitfaceError: no network, a damaged one, or one that bitface quantized.
    """
    model = open_model(path, preprocess)
    if not model.integer:
        return model.network
    teacher = model.details.teacher if model.details else _teacher(model.network.metadata)
    name = teacher.get("name")
    raise BitfaceError(
        f"{path}: is a network that bitface has quantized{f' (made from {name!r})' if name else ''}; a float network "
        "is wanted here: give the file that it was made from"
    )


def _teacher(metadata: dict[str, str]) -> dict[str, Any]:
    """What an exported file says of its teacher."""
    try:
        said = json.loads(metadata.get(TEACHER_KEY, ""))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def export_metadata(network: Network, profile: Profile, teacher: dict[str, Any]) -> dict[str, str]:
    """What an exported ONNX file says about itself."""
    assert network.preprocess is not None
    return {
        PREPROCESS_KEY: network.preprocess.name,
        PROFILE_KEY: profile,
        TEACHER_KEY: json.dumps(teacher),
    }


def export(details: artifact.Artifact, profile: Profile) -> onnx.ModelProto:
    """The ONNX model of an artifact for one engine, with everything it needs to be run again."""
    return to_onnx(details.network.graph, profile, export_metadata(details.network, profile, details.teacher))


def _same(path: Path, word: str | None, network: Network) -> None:
    if word and network.preprocess and parse(word, network.size) != network.preprocess:
        raise BitfaceError(
            f"{path}: was made with the preprocessing {network.preprocess.name}, so '{word}' would be wrong; leave "
            "--preprocess out"
        )

"""Any model file as the runtime needs it: a network, or an exported ONNX file that is run as it is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from onnx.numpy_helper import to_array

from bitface import artifact
from bitface.errors import BitfaceError, UsageError, option
from bitface.graph import ASSUMED, ChooseSize, FreeSize, Network, load_network, passes
from bitface.graph.image_size import check_size
from bitface.graph.integer import INTEGER_LAYERS
from bitface.graph.network import one_output
from bitface.preprocess import Preprocess, Size, parse
from bitface.targets.base import NAME_KEY, Run, Settings
from bitface.targets.registry import TARGETS
from bitface.targets.start import start
from bitface.targets.write import write

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
        profile: the target that an exported file was written for.
        details: the artifact, where it is one.
    """

    path: Path
    kind: str
    network: Network
    profile: str | None = None
    details: artifact.Artifact | None = None

    @staticmethod
    def of(network: Network) -> "Model":
        """A network in memory, with or without integers, as if it had been read from a file of its name."""
        integer = any(isinstance(layer, INTEGER_LAYERS) for layer in network.graph.modules())
        return Model(Path(network.name), "artifact" if integer else "float", network)

    @property
    def integer(self) -> bool:
        return self.kind != "float"

    @property
    def preprocess(self) -> Preprocess | None:
        return self.network.preprocess

    @property
    def weight_bits(self) -> int:
        """The width of the widest integer weights, of an exported file by their values; 0 where all are floats."""
        if self.profile is None:
            layers = (layer for layer in self.network.graph.modules() if isinstance(layer, INTEGER_LAYERS))
            return max((layer.bits for layer in layers), default=0)
        tensors = onnx.load(self.path).graph.initializer
        weights = [to_array(one) for one in tensors if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1]
        # In two's complement: -64 has 7 bits as 63 has.
        largest = max((max(int(weight.max()), -1 - int(weight.min())) for weight in weights), default=None)
        return 0 if largest is None else largest.bit_length() + 1

    def with_preprocess(self, preprocess: Preprocess) -> "Model":
        return replace(self, network=self.network.with_preprocess(preprocess))

    def start(self, engine: str, settings: Settings = Settings()) -> Run:
        """Loads the model into the engine of a target; see `targets.start`.

        Raises:
            UsageError: an unknown engine, or one that doesn't run here.
            BitfaceError: the file was exported for another one, or the engine refuses it.
        """
        if self.profile is not None and self.profile != engine and TARGETS[engine].emit:
            raise BitfaceError(f"{self.path}: was exported for {self.profile}, not for {engine}; run the .bitface file")
        source: Network | Path = self.path
        if self.profile != engine:  # what isn't written runs the graph as it is
            source = self._as_written() if TARGETS[engine].emit else self.network
        return start(engine, source, settings, self.path)

    def export(self, target: str, path: Path, name: str | None = None) -> int:
        """Writes the model as a target's file (or folder), with everything it needs to be run again; gives its bytes.

        Args:
            name: of what is called in it; see `Target.named`.

        Raises:
            UsageError: an unknown target, or one that isn't written, or in which nothing has such a name.
            BitfaceError: it is an exported file already, or can't be written; see `targets.write`.
        """
        if self.kind == "exported":
            raise BitfaceError(f"{self.path}: is an exported file already; export the .bitface file")
        facts = {PREPROCESS_KEY: self.preprocess.name} if self.preprocess else {}
        if self.details is not None:
            facts |= {PROFILE_KEY: target, TEACHER_KEY: json.dumps(self.details.teacher)}
        if name is not None:
            if not TARGETS[target].named:
                raise UsageError(f"{option('name')} is for code, and {TARGETS[target].title} isn't; leave it out")
            facts[NAME_KEY] = name
        return write(target, self._as_written(), facts, path)

    def _as_written(self) -> Network:
        """With its integers; of a float network, with its fastest float graph."""
        return self.network if self.integer else replace(self.network, graph=passes.fold(self.network.graph))


@dataclass(frozen=True)
class ModelFile:
    """A model's file, and what it doesn't say itself; see `load_network`."""

    path: Path
    preprocess: str | None = None
    size: Size | None = None
    output: str | None = None


def open_model(
    path: Path | ModelFile,
    preprocess: str | None = None,
    size: Size | None = None,
    choose: ChooseSize = lambda: ASSUMED,
    output: str | None = None,
) -> Model:
    """Opens a network file, an artifact or an exported file.

    Args:
        preprocess, size, choose: see `load_network`; refused where the file carries its own and it differs.
        output: see `load_network`; an artifact has one alone.

    Raises:
        BitfaceError: no model, or a damaged one.
    """
    if isinstance(path, ModelFile):
        return open_model(path.path, path.preprocess, path.size, choose, path.output)
    path = Path(path)
    if path.suffix.lower() == ".bitface":
        details = artifact.read(path)
        _same(path, preprocess, details.network)
        try:
            check_size(size or details.network.size, *details.network.size)
        except BitfaceError as error:
            raise BitfaceError(f"{path}: {error}") from error
        network = details.network
        network = replace(network, notes=(*network.notes, one_output(path))) if output else network
        return Model(path, "artifact", network, details=details)
    network = load_network(path, None, size, choose, output)
    profile = network.metadata.get(PROFILE_KEY)
    if profile is None:
        network = network.with_preprocess(parse(preprocess, network.size)) if preprocess else network
        return Model(path, "float", network)
    if profile not in TARGETS or TARGETS[profile].emit is None:
        raise BitfaceError(f"{path}: was exported for '{profile}', an engine this bitface doesn't know")
    _same(path, preprocess, network)
    return Model(path, "exported", network, profile=profile)


def open_models(
    paths: Sequence[Path], preprocess: str | None = None, size: Size | None = None, output: str | None = None
) -> list[Model]:
    """Float networks and what was made of them, at one size: a free one is that of the artifacts among them.

    Args:
        preprocess, output: of the networks, as artifacts say their own.

    Raises:
        BitfaceError: as `open_model`.
    """
    artifacts = {path: open_model(path, None, size) for path in paths if path.suffix.lower() == ".bitface"}
    sizes = {model.network.size for model in artifacts.values()}
    free_size = FreeSize(sizes.pop(), "the size of the artifact") if len(sizes) == 1 else ASSUMED
    return [artifacts.get(path) or open_model(path, preprocess, size, lambda: free_size, output) for path in paths]


def open_float(
    path: Path | ModelFile,
    preprocess: str | None = None,
    size: Size | None = None,
    choose: ChooseSize = lambda: ASSUMED,
    output: str | None = None,
) -> Network:
    """Opens a network to be quantized, changed, or learned from: whatever bitface quantized itself is refused.

    A file that another program quantized is taken, as its float network may be lost; `Network.warnings` say so.

    Args:
        preprocess, size, choose, output: see `load_network`.

    Raises:
        BitfaceError: no network, a damaged one, or one that bitface quantized.
    """
    model = open_model(path, preprocess, size, choose, output)
    if not model.integer:
        return model.network
    teacher = model.details.teacher if model.details else _teacher(model.network.metadata)
    name = teacher.get("name")
    origin = f" (made from {name!r})" if name else ""
    raise BitfaceError(
        f"{model.path}: is a network that bitface has quantized{origin}; a float network is wanted here: give the file "
        "that it was made from"
    )


def _teacher(metadata: dict[str, str]) -> dict[str, Any]:
    """What an exported file says of its teacher."""
    try:
        teacher = json.loads(metadata.get(TEACHER_KEY, ""))
    except ValueError:
        return {}
    return teacher if isinstance(teacher, dict) else {}


def _same(path: Path, word: str | None, network: Network) -> None:
    if word and network.preprocess and parse(word, network.size) != network.preprocess:
        raise BitfaceError(
            f"{path}: was made with the preprocessing {network.preprocess.name}, so '{word}' would be wrong; leave "
            f"{option('preprocess')} out"
        )

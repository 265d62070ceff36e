"""Any model file as the runtime needs it: a network, or an exported ONNX file that is run as it is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitface.errors import BitfaceError, UsageError, missing, option
from bitface.preprocess import Preprocess, Size, parse
from bitface.runtime.facts import Facts, exported_facts, facts_in_onnx, facts_of
from bitface.targets.base import FACTS_KEY, NAME_KEY, SCRATCH_KEY, Run, Settings, Unread
from bitface.targets.registry import NATIVE, PORTABLE, TARGETS
from bitface.targets.start import start

if TYPE_CHECKING:
    from bitface.artifact import Artifact
    from bitface.graph import ChooseSize, Network

PROFILE_KEY = "bitface.profile"
TEACHER_KEY = "bitface.teacher"
PREPROCESS_KEY = "bitface.preprocess"


class Model:
    """A model file.

    Attributes:
        path: where it lies.
        kind: `float`, `artifact` (.bitface) or `exported` (an ONNX file written by bitface).
        profile: the target that an exported file was written for.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        network: "Network | None" = None,
        profile: str | None = None,
        details: "Artifact | None" = None,
        facts: Facts | None = None,
    ) -> None:
        """Args:
        network: its graph; of an exported file the simulation that its QDQ pairs describe. None: it is read from the
            file when somebody asks for it.
        details: the artifact, where it is one.
        facts: of an artifact's file, whose network needn't be read then, or of one that was exported from it.
        """
        self.path, self.kind, self.profile = path, kind, profile
        self._network, self._details, self._facts = network, details, facts

    @staticmethod
    def of(network: "Network") -> "Model":
        """A network in memory, with or without integers, as if it had been read from a file of its name."""
        from bitface.graph.integer import INTEGER_LAYERS

        integer = any(isinstance(layer, INTEGER_LAYERS) for layer in network.graph.modules())
        return Model(Path(network.name), "artifact" if integer else "float", network)

    @property
    def integer(self) -> bool:
        return self.kind != "float"

    @property
    def known(self) -> "Network | Facts":
        """What is known of the network without its graph being read: its name, size, preprocessing, fingerprint, …"""
        return self._facts or self.network

    @property
    def network(self) -> "Network":
        """Raises BitfaceError where the file can't be read any more, or is another one since it was opened."""
        return self._network or self._artifact.network

    @property
    def details(self) -> "Artifact | None":
        """The artifact, where it is one. Raises BitfaceError as `network`."""
        return self._artifact if self._facts and self.kind == "artifact" else self._details

    @cached_property
    def _artifact(self) -> "Artifact":
        assert self._facts is not None
        if self.kind == "exported":
            raise BitfaceError(f"{self.path}: can only be run as it is; for this, give the .bitface file")
        content = self._details or _read(self.path, self._facts.sha256)
        return replace(content, network=replace(content.network, notes=self._facts.notes))

    @property
    def thresholds(self) -> list[dict[str, Any]] | None:
        """Those of an artifact, or that it had when it was exported; None: the file keeps none."""
        described = self._facts or self._details
        return described.thresholds if described else None

    @property
    def teacher(self) -> dict[str, Any]:
        """Name, fingerprint and embedding size of the float network that a quantized one was made from."""
        if described := self._facts or self._details:
            return described.teacher
        try:
            teacher = json.loads(self.network.metadata.get(TEACHER_KEY, ""))
        except ValueError:
            return {}
        return teacher if isinstance(teacher, dict) else {}

    @property
    def preprocess(self) -> Preprocess | None:
        return self.known.preprocess

    @cached_property
    def fingerprint(self) -> str:
        """See `Network.fingerprint`."""
        return self.known.fingerprint()

    @property
    def weight_bits(self) -> int:
        """The width of the widest integer weights, of an exported file by their values; 0 where all are floats."""
        if self._facts:
            return self._facts.weight_bits
        if self.profile is None:
            from bitface.graph.integer import INTEGER_LAYERS

            layers = (layer for layer in self.network.graph.modules() if isinstance(layer, INTEGER_LAYERS))
            return max((layer.bits for layer in layers), default=0)
        import onnx
        from onnx.numpy_helper import to_array

        tensors = onnx.load(self.path).graph.initializer
        weights = [to_array(one) for one in tensors if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1]
        # In two's complement: -64 has 7 bits as 63 has.
        largest = max((max(int(weight.max()), -1 - int(weight.min())) for weight in weights), default=None)
        return 0 if largest is None else largest.bit_length() + 1

    @property
    def multiplies_activations(self) -> bool:
        """Whether two tensors are multiplied by each other."""
        if self._facts:
            return self._facts.multiplies_activations
        from bitface.graph import ops

        return any(isinstance(module, ops.MatMul) for module in self.network.graph.modules())

    def with_preprocess(self, preprocess: Preprocess) -> "Model":
        network = self.network.with_preprocess(preprocess)
        return Model(self.path, self.kind, network, self.profile, self.details)

    def start(self, engine: str, settings: Settings = Settings()) -> Run:
        """Loads the model into the engine of a target; see `targets.start`.

        Raises:
            UsageError: an unknown engine, or one that doesn't run here.
            BitfaceError: the file was exported for another one, or the engine refuses it.
        """
        if self.profile is not None and self.profile != engine and TARGETS[engine].emit:
            raise BitfaceError(f"{self.path}: was exported for {self.profile}, not for {engine}; run the .bitface file")
        source: Path | Unread | Network = self.path
        if self.kind == "artifact" and TARGETS[engine].start_unread:
            source = Unread(self.known.name, self.fingerprint, lambda: self.network)
        elif self.profile != engine:  # what isn't written runs the graph as it is
            source = self._as_written() if TARGETS[engine].emit else self.network
        return start(engine, source, settings, self.path)

    def export(self, target: str, path: Path, name: str | None = None, scratch: int | None = None) -> int:
        """Writes the model as a target's file (or folder), with everything it needs to be run again; gives its bytes.

        Args:
            name: of what is called in it; see `Target.named`.
            scratch: the most bytes that what is called may work in.

        Raises:
            UsageError: an unknown target, or one that isn't written, or isn't code, which has a name and a scratch.
            BitfaceError: it is an exported file already, or can't be written; see `targets.write`.
        """
        from bitface.targets.write import write

        if self.kind == "exported":
            raise BitfaceError(f"{self.path}: is an exported file already; export the .bitface file")
        facts = {PREPROCESS_KEY: self.preprocess.name} if self.preprocess else {}
        if self.details is not None:
            facts |= {PROFILE_KEY: target, TEACHER_KEY: json.dumps(self.details.teacher)}
        for word, key, value in (("name", NAME_KEY, name), ("scratch", SCRATCH_KEY, scratch)):
            if value is not None:
                if not TARGETS[target].named:
                    raise UsageError(f"{option(word)} is for code, and {TARGETS[target].title} isn't; leave it out")
                facts[key] = str(value)
        if self.details is not None and target in (NATIVE, PORTABLE):
            facts[FACTS_KEY] = Facts.of(self.details).text
        return write(target, self._as_written(), facts, path)

    def _as_written(self) -> "Network":
        """With its integers; of a float network, with its fastest float graph."""
        if self.integer:
            return self.network
        from bitface.graph import passes

        return replace(self.network, graph=passes.fold(self.network.graph))


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
    choose: "ChooseSize | None" = None,
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
        return _open_artifact(path, preprocess, size, output)
    if facts := exported_facts(path):
        _same(path, preprocess, facts)
        return Model(path, "exported", profile=NATIVE, facts=facts)
    if path.suffix.lower() == ".onnx" and find_spec("torch") is None and (facts := facts_in_onnx(path)):
        _same(path, preprocess, facts)
        return Model(path, "exported", profile=PORTABLE, facts=facts)
    from bitface.graph import ASSUMED, load_network

    network = load_network(path, None, size, choose or (lambda: ASSUMED), output)
    profile = network.metadata.get(PROFILE_KEY)
    if profile is None:
        network = network.with_preprocess(parse(preprocess, network.size)) if preprocess else network
        return Model(path, "float", network)
    if profile not in TARGETS or TARGETS[profile].emit is None:
        raise BitfaceError(f"{path}: was exported for '{profile}', an engine this bitface doesn't know")
    # What it is stays the same where there is no torch to read its graph: a gallery goes from one place to the other.
    facts = facts_in_onnx(path) if FACTS_KEY in network.metadata else None
    facts = facts and replace(facts, notes=network.notes, warnings=network.warnings)
    _same(path, preprocess, facts or network)
    return Model(path, "exported", network, profile=profile, facts=facts)


def _open_artifact(path: Path, preprocess: str | None, size: Size | None, output: str | None) -> Model:
    contents: list[Artifact] = []

    def read(sha256: str) -> "Artifact":
        contents.append(_read(path, sha256))
        return contents[0]

    facts = facts_of(path, read)
    _same(path, preprocess, facts)
    if size and size != facts.size:
        from bitface.graph.image_size import check_size

        try:
            check_size(size, *facts.size)
        except BitfaceError as error:
            raise BitfaceError(f"{path}: {error}") from error
    if output:
        from bitface.graph.network import one_output

        facts = facts.with_notes(one_output(path))
    return Model(path, "artifact", details=contents[0] if contents else None, facts=facts)


def _read(path: Path, sha256: str) -> "Artifact":
    try:
        from bitface import artifact
    except ModuleNotFoundError as error:
        if missing(error) is None:
            raise
        raise BitfaceError(
            f"{path}: isn't compiled on this machine yet, which needs torch: pip install 'bitface[quantize]'; or run "
            "what `bitface export --target onnxruntime`, or c, writes where torch is"
        ) from error
    return artifact.read(path, sha256)


def open_models(
    paths: Sequence[Path], preprocess: str | None = None, size: Size | None = None, output: str | None = None
) -> list[Model]:
    """Float networks and what was made of them, at one size: a free one is that of the artifacts among them.

    Args:
        preprocess, output: of the networks, as artifacts say their own.

    Raises:
        BitfaceError: as `open_model`.
    """
    fixed = [path for path in paths if path.suffix.lower() == ".bitface" or path.is_dir()]
    artifacts = {path: open_model(path, None, size) for path in fixed}
    if len(artifacts) == len(set(paths)):
        return [artifacts[path] for path in paths]
    from bitface.graph import ASSUMED, FreeSize

    sizes = {model.known.size for model in artifacts.values()}
    free_size = FreeSize(sizes.pop(), "the size of the artifact") if len(sizes) == 1 else ASSUMED
    return [artifacts.get(path) or open_model(path, preprocess, size, lambda: free_size, output) for path in paths]


def open_float(
    path: Path | ModelFile,
    preprocess: str | None = None,
    size: Size | None = None,
    choose: "ChooseSize | None" = None,
    output: str | None = None,
) -> "Network":
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
    name = model.teacher.get("name")
    origin = f" (made from {name!r})" if name else ""
    raise BitfaceError(
        f"{model.path}: is a network that bitface has quantized{origin}; a float network is wanted here: give the file "
        "that it was made from"
    )


def _same(path: Path, word: str | None, network: "Network | Facts") -> None:
    if word and network.preprocess and parse(word, network.size) != network.preprocess:
        raise BitfaceError(
            f"{path}: was made with the preprocessing {network.preprocess.name}, so '{word}' would be wrong; leave "
            f"{option('preprocess')} out"
        )

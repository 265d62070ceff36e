"""What is known of an artifact without its graph, kept for the file's content so that nothing has to build it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitface.errors import BitfaceError
from bitface.files import sha256_of
from bitface.limits import LARGEST_FILE
from bitface.preprocess import Preprocess, Size
from bitface.runtime.onnx_properties import read_properties
from bitface.store import Form, key_of, remembered, written_by
from bitface.targets.base import FACTS_FILE, FACTS_KEY, GRAPH_KEY

if TYPE_CHECKING:
    from bitface.artifact import Artifact

# What decides between the content of a file and these facts.
_ROOMS = ("artifact", "graph")


@dataclass(frozen=True)
class Facts:
    """Of an artifact; what it shares with `Network` has the same name.

    Attributes:
        sha256: of the file.
        weight_bits: the width of the widest integer weights.
        multiplies_activations: whether two tensors are multiplied by each other.
        thresholds, teacher: see `artifact.Artifact`.
    """

    sha256: str
    name: str
    preprocess: Preprocess
    embedding_size: int
    identity: str
    weight_bits: int
    multiplies_activations: bool
    thresholds: list[dict[str, Any]]
    teacher: dict[str, Any]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    free = None

    @property
    def size(self) -> Size:
        """Height and width of the image."""
        return Size(*self.preprocess.size)

    @property
    def channels(self) -> int:
        """Of the image: 3, or 1 of grey."""
        return self.preprocess.channels

    def fingerprint(self) -> str:
        """See `Network.fingerprint`."""
        return self.identity

    @staticmethod
    def of(artifact: "Artifact", sha256: str = "") -> "Facts":
        from bitface.graph import ops
        from bitface.graph.integer import INTEGER_LAYERS

        network, modules = artifact.network, list(artifact.network.graph.modules())
        assert network.preprocess is not None
        return Facts(
            sha256,
            network.name,
            network.preprocess,
            network.embedding_size,
            network.fingerprint(),
            max((one.bits for one in modules if isinstance(one, INTEGER_LAYERS)), default=0),
            any(isinstance(one, ops.MatMul) for one in modules),
            artifact.thresholds,
            artifact.teacher,
        )

    def with_notes(self, *notes: str) -> "Facts":
        return replace(self, notes=(*self.notes, *notes))

    @property
    def text(self) -> str:
        """JSON, which `parse` reads."""
        return json.dumps({**asdict(self), "preprocess": self.preprocess.to_json()}, indent=1)

    @staticmethod
    def parse(text: str) -> "Facts":
        """Raises ValueError, KeyError or TypeError on anything but `text`."""
        content = json.loads(text)
        fields = {**content, "preprocess": Preprocess.from_json(content["preprocess"]), "notes": (), "warnings": ()}
        return Facts(**fields)


_FORM: Form[Facts] = Form(
    ".json",
    lambda path: Facts.parse(path.read_text(encoding="utf-8")),
    lambda facts, path: path.write_text(facts.text, encoding="utf-8"),
)


def facts_of(path: Path, read: Callable[[str], "Artifact"]) -> Facts:
    """The facts of a file, which `read` reads, by its SHA-256, where nothing is known of this content.

    Raises:
        BitfaceError: the file can't be read; and whatever `read` raises.
    """
    try:
        sha256 = sha256_of(path) if path.stat().st_size <= LARGEST_FILE else ""
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror})") from error
    key = key_of(("facts", sha256, written_by(*_ROOMS)))
    return remembered("models", key, _FORM, lambda: Facts.of(read(sha256), sha256))


def exported_facts(folder: Path) -> Facts | None:
    """What lies beside the C of an artifact; None: it is no folder of that.

    Raises:
        BitfaceError: it can't be read.
    """
    file = folder / FACTS_FILE
    if not file.is_file():
        return None
    try:
        return Facts.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BitfaceError(f"{file}: damaged ({error}); export the .bitface file again") from error


def facts_in_onnx(path: Path) -> Facts | None:
    """What an artifact's ONNX file says of the artifact; None: it says nothing, as other files don't.

    Raises:
        BitfaceError: it can't be read, what it says is damaged, or its graph isn't the one that was exported.
    """
    try:
        properties, graph = read_properties(path)
    except (OSError, ValueError) as error:
        raise BitfaceError(f"{path}: can't be read as an ONNX file ({error})") from error
    text = properties.get(FACTS_KEY)
    if text is None:
        return None
    try:
        facts = Facts.parse(text)
    except (ValueError, KeyError, TypeError) as error:
        raise BitfaceError(f"{path}: its {FACTS_KEY} is damaged ({error}); export the .bitface file again") from error
    if properties.get(GRAPH_KEY) != graph:
        raise BitfaceError(
            f"{path}: was changed after it was exported, so what it says of thresholds and galleries isn't true of it; "
            f"export the .bitface file again, or take {FACTS_KEY} out of its properties"
        )
    return facts

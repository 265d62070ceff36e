"""The protocols by the key that names each one where a person writes of it: in a suite, or a file for `--protocol`.

A file of this folder registers what may be written of its protocol as a frozen dataclass: the fields are the keys, with
their types; one of them is the name it is registered by. Another package names its own as entry points of the group
`bitface.protocols`; see `docs/extend/protocol.md`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitface.data.faces import FaceFile
from bitface.evaluation.protocols.base import FaceProtocol
from bitface.registry import Registry


@dataclass(frozen=True)
class Opened:
    """A protocol, its images in the order of its paths, and what is odd about its files."""

    protocol: FaceProtocol
    files: list[FaceFile]
    notes: tuple[str, ...] = ()


class Description(ABC):
    """What a person writes of a protocol. Its fields are the keys: `str`, `bool`, `int`, and the types of
    `bitface.config` for paths (`FilePath`, `FilePaths`, `FilesByName`), which the reader makes whole; or any of them or
    None.
    """

    @abstractmethod
    def open(self, name: str) -> Opened:
        """Reads the protocol's files; `name` is what tables call it.

        Raises:
            BitfaceError, UsageError: they can't be read.
        """


PROTOCOLS: Registry[type[Description]] = Registry("protocol", "bitface.protocols", "bitface.evaluation.protocols")


def files_of(root: Path, paths: Sequence[str]) -> list[FaceFile]:
    """Images of a protocol below their folder."""
    return [FaceFile(root, path) for path in paths]

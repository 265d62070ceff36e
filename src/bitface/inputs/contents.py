"""What a test says, as a fact for what is kept of it: by a path alone, an older test's figures pass for a new one's."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from os import urandom
from pathlib import Path
from typing import Any

import numpy as np

from bitface.evaluation.protocols.registry import Opened
from bitface.inputs.embeddings import file_facts
from bitface.store import key_of

_PLAIN = (str, bytes, bool, int, float, complex, type(None), Path, np.generic)


def state_of(opened: Opened) -> str:
    """Names a test by all that its figures depend on: what the protocol has read from its files, which may say
    something else tomorrow, and path, size and time of every image.
    """
    protocol = opened.protocol
    said = protocol if is_dataclass(protocol) else vars(protocol)
    return key_of(type(protocol).__qualname__, *_told(said), *file_facts(opened.files))


def _told(value: Any) -> Iterator[bytes | np.ndarray]:
    """Everything that a value holds; `repr` would leave out the middle of an array."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield repr((value.dtype.str, value.shape)).encode()
        yield value if value.dtype.kind in "biuf" else value.tobytes()
    elif isinstance(value, _PLAIN):
        yield repr(value).encode("utf-8", "surrogateescape")
    elif isinstance(value, Mapping):
        yield from _told([part for item in value.items() for part in item])
    elif isinstance(value, list | tuple):
        yield f"{len(value)}:".encode()
        for item in value:
            yield from _told(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _told({item.name: getattr(value, item.name) for item in fields(value)})
    else:  # of another package's protocol: what can't be told apart from another is computed anew
        yield urandom(16)

"""Reads tensors out of a checkpoint whose pickle also names classes and functions, without calling any of them.

A pickle builds its objects by calling what it names. Here a name never becomes the thing that it names: tensors become
records of where their numbers lie, and whatever else is named becomes a class of its own, made for this one reading,
that takes anything and does nothing. Names of the standard library that do something are refused, as nothing but an
attack needs them. The numbers are read afterwards, by the records. Both of torch's formats are known: zip archives, and
the older row of pickles.
"""

import io
import math
import pickle
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from bitface.backbones.nests import leaves

_LARGEST_PICKLE = 64 << 20
_OLD_MAGIC = 0x1950A86A20F9469CFC6C
# Of the standard library, what training programs put into checkpoints.
_HARMLESS = {
    "_codecs", "argparse", "collections", "copy_reg", "copyreg", "datetime", "decimal", "enum", "fractions",
    "functools", "logging", "numbers", "pathlib", "random", "types", "typing", "uuid", "zoneinfo",
}  # fmt: skip
_HARMLESS_BUILTINS = {
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "getattr", "int", "list", "long", "object",
    "range", "set", "slice", "str", "tuple", "type", "unicode",
}  # fmt: skip
_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


class Refused(Exception):
    """A name that nothing but an attack needs."""


class Inert(dict[Any, Any]):
    """What stands for an object of any class: it takes everything and does nothing; items are those of a dictionary.

    A module's items are its parameters, buffers and modules.
    """

    place = ""

    def __new__(cls, *values: Any, **names: Any) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *values: Any, **names: Any) -> None:
        super().__init__()

    def __call__(self, *values: Any, **names: Any) -> "Inert":
        return Inert()

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __setstate__(self, state: Any) -> None:
        for part in ("_parameters", "_buffers", "_modules"):
            if isinstance(state, dict) and isinstance(state.get(part), dict):
                self.update(state[part])

    def ignore(self, *values: Any) -> None:
        pass

    append = extend = add = ignore


class _Ordered(Inert):
    """For ordered dictionaries, which old pickles fill by their constructor."""

    def __init__(self, *values: Any) -> None:
        super().__init__()
        for pair in values[-1] if values and isinstance(values[-1], list) else ():
            self[pair[0]] = pair[1]


class _Tensor(Inert):
    """Where a tensor's numbers lie: torch rebuilds one by a call with storage, offset, size and stride."""

    def __init__(self, *values: Any) -> None:
        super().__init__()
        self.values_of_call = values


class _Parameter(_Tensor):
    """A parameter, which is rebuilt from its tensor."""

    def __init__(self, *values: Any) -> None:
        tensor = values[0] if values else None
        super().__init__(*(tensor.values_of_call if isinstance(tensor, _Tensor) else ()))


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype


_KNOWN: Mapping[str, type[Inert]] = {
    "collections.OrderedDict": _Ordered,
    "torch._utils._rebuild_tensor": _Tensor,
    "torch._utils._rebuild_tensor_v2": _Tensor,
    "torch._utils._rebuild_parameter": _Parameter,
    "torch._utils._rebuild_parameter_with_state": _Parameter,
}


class _Unpickler(pickle._Unpickler):
    """Python's own that is written in Python; the one in C reserves memory for whatever number a file names."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, _Storage] = {}

    def load_bytearray8(self: Any) -> None:
        """Python's makes room for the length that the file names before it reads."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}

    def find_class(self, module: str, name: str) -> Any:
        place, first = f"{module}.{name}", module.partition(".")[0]
        if first in ("builtins", "__builtin__"):
            harmless = name in _HARMLESS_BUILTINS
        else:
            harmless = first in _HARMLESS or first not in (*sys.stdlib_module_names, "os2", "commands", "popen2")
        if not harmless:
            raise Refused(place)
        # A class of this reading alone, so that what a pickle does to it ends with it.
        return type("Inert", (_KNOWN.get(place, Inert),), {"place": place})

    def persistent_load(self, pid: Any) -> Any:
        """Of a storage: its type, key, device and length; in old files also what it is a view of, or None."""
        if pid[0] == "module":
            return pid[1]
        dtype = _STORAGES.get(getattr(pid[1], "place", "").rpartition(".")[2])
        if pid[0] != "storage" or dtype is None or any(view is not None for view in pid[5:]):
            return Inert()
        return self.storages.setdefault(str(pid[2]), _Storage(str(pid[2]), dtype))


class BoundedFile(io.BufferedReader):
    """A file that is never asked for more than it holds: room for what is asked for is made before it is read."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file's."""
        rest = max(self._size - self.tell(), 0)
        return super().read(rest if size is None or size < 0 else min(size, rest))


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by the keys that lead to them joined by dots.

    Raises:
        Refused: it names what would execute code.
        Exception: it is damaged; whatever Python's library raises.
    """
    with BoundedFile(path) as file:
        if zipfile.is_zipfile(file):
            return _from_zip(file, path.stat().st_size)
        file.seek(0)
        return _from_pickles(file)


def _from_zip(file: IO[bytes], size: int) -> dict[str, Tensor]:
    with zipfile.ZipFile(file) as archive:
        records = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if any(info.compress_type != zipfile.ZIP_STORED for info in records.values()):
            raise ValueError("has compressed records")
        if sum(info.file_size for info in records.values()) > size:
            raise ValueError("has records that overlap")
        if records["data.pkl"].file_size > _LARGEST_PICKLE or "constants.pkl" in records:
            raise ValueError("is no checkpoint of tensors")
        if "byteorder" in records and archive.read(records["byteorder"]) != b"little":
            raise ValueError("has numbers of another byte order")
        unpickler = _Unpickler(io.BytesIO(archive.read(records["data.pkl"])))
        content = leaves(unpickler.load(), _Tensor)
        numbers = {key: archive.read(records[f"data/{key}"]) for key in _keys(content)}
    return {name: _tensor(record, numbers) for name, record in content.items()}


def _from_pickles(file: IO[bytes]) -> dict[str, Tensor]:
    """A magic number, a version, facts of the machine, the content and the keys of its storages; then their numbers."""
    if _Unpickler(file).load() != _OLD_MAGIC:
        raise ValueError("is no file of torch's")
    for _ in range(2):
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    content = leaves(unpickler.load(), _Tensor)
    storage_keys, numbers = _keys(content), {}
    for key in map(str, _Unpickler(file).load()):
        length = int.from_bytes(file.read(8), "little") * unpickler.storages[key].dtype.itemsize
        if key in storage_keys:
            numbers[key] = file.read(length)
        else:
            file.seek(length, io.SEEK_CUR)
    return {name: _tensor(record, numbers) for name, record in content.items()}


def _keys(content: Mapping[str, _Tensor]) -> set[str]:
    firsts = (next(iter(record.values_of_call), None) for record in content.values())
    return {storage.key for storage in firsts if isinstance(storage, _Storage)}


def _tensor(record: _Tensor, numbers: Mapping[str, bytes]) -> Tensor:
    storage, offset, size, stride = record.values_of_call[:4]
    flat = torch.frombuffer(bytearray(numbers[storage.key]), dtype=storage.dtype)
    if math.prod(size) > len(flat):
        raise ValueError("has a tensor that repeats its numbers")
    return flat.as_strided(size, stride, offset)

"""`rec:FOLDER`: a set in InsightFace's form, `train.rec` with `train.idx` and `property`."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from bitface.data.dataset import FaceDataset, OpenFile
from bitface.data.images import ImageSkipped
from bitface.data.recordio import MAGIC, Record, labels_at, payload, record, unpacked
from bitface.data.sources import DATA_SETS, PackedFaces
from bitface.errors import BitfaceError
from bitface.store import Store, array, key_of

PROPERTY = "property"
# Records at which an index is tried before it is believed.
_TRIED = 64
_BLOCK = 1 << 24
# Labels are float32, which from here on hold only some of the whole numbers.
_TOLD_APART = 1 << 24


class RecordFaces(FaceDataset):
    """Images of a `.rec` file, by the offsets in its `.idx`: 8 bytes an image, 12 where labels are asked for.

    Where record 0 says so (it then has two labels and no image), records 1 to its first label are the images, and the
    others ranges of identities.
    """

    def __init__(self, path: Path) -> None:
        """Args:
            path: a folder with `train.rec` or a single other `.rec`, or that file.

        Raises:
            BitfaceError: a file is missing or can't be read, the `.idx` isn't of this `.rec`, or that is truncated.
        """
        self.root = _record_file(path)
        index = self.root.with_suffix(".idx")
        try:
            self._file = OpenFile(self.root)
            begins = _offsets(index)
        except OSError as error:
            raise BitfaceError(f"{error.filename or index}: can't be read ({error.strerror or error})") from error
        self._check(begins, index)
        self._begins = self._images(begins)
        if not len(self._begins):
            raise BitfaceError(f"{self.root}: no record holds an image")
        self.classes, self.notes = self._property(self.root.with_name(PROPERTY))

    def __len__(self) -> int:
        return len(self._begins)

    def record(self, index: int) -> Record:
        """A record with its labels. Raises ImageSkipped."""
        return record(self._file, int(self._begins[index]))

    def encoded(self, index: int) -> bytes:
        return self.record(index).image

    def name(self, index: int) -> str:
        return f"{index:09}.jpg"

    def index_bytes(self) -> Iterable[bytes]:
        yield self._begins.tobytes()
        yield str(self._file.size).encode()

    @property
    def labels(self) -> np.ndarray:
        """Raises BitfaceError: some are no whole numbers from 0 on, or not below the classes that `property` says."""
        return self._labels

    @cached_property
    def _labels(self) -> np.ndarray:
        key = key_of(self._file.facts(), self._begins)
        values = Store().value("indexes", key, array("labels"), lambda: labels_at(self._file, self._begins))
        good = np.isfinite(values)
        above = min(self.classes or _TOLD_APART, _TOLD_APART)
        wrong = np.flatnonzero(good & ~((values >= 0) & (values < above) & (values == np.floor(values))))
        if len(wrong):
            says = f"{PROPERTY} says" if self.classes else "records tell apart"
            raise BitfaceError(
                f"{self.root}: {len(wrong):,} of {len(self):,} labels are out of range, the first that of image "
                f"{wrong[0]}: {values[wrong[0]]:g} ({says} whole numbers from 0 to {above - 1})"
            )
        # A record that can't be read has no label, and nobody will see it.
        return np.where(good, values, values[good][0] if good.any() else 0).astype(np.int32)

    def _check(self, begins: np.ndarray, index: Path) -> None:
        if not len(begins):
            raise BitfaceError(f"{index}: lists no record")
        beyond = np.flatnonzero((begins < 0) | (begins + 8 > self._file.size))
        inside = np.delete(begins, beyond) if len(beyond) else begins
        tried = inside[np.unique(np.linspace(0, len(inside) - 1, _TRIED).astype(int))] if len(inside) else inside
        # A damaged record is one that is skipped; where most are, it is the index that is wrong.
        if 2 * sum(_begins_record(self._file, int(begin)) for begin in tried) <= len(tried):
            raise BitfaceError(
                f"{index}: is the index of another file than {self.root.name}: no record begins where it says; copy "
                "both again"
            )
        if len(beyond):
            raise BitfaceError(
                f"{self.root}: is truncated: it has {self._file.size:,} bytes, and {len(beyond):,} of the "
                f"{len(begins):,} records of {index.name} begin beyond; copy it again"
            )
        try:
            payload(self._file, int(begins.max()))
        except ImageSkipped as error:
            raise BitfaceError(
                f"{self.root}: is truncated in its last record ({error.reason}); copy it again"
            ) from None

    def _images(self, begins: np.ndarray) -> np.ndarray:
        """The offsets of images, by what record 0 says."""
        try:
            first = unpacked(payload(self._file, int(begins[0])), 0)
        except ImageSkipped:
            return begins
        if first.image or len(first.labels) < 2:
            return begins
        end = int(first.labels[0])
        if not 1 <= end <= len(begins):
            raise BitfaceError(
                f"{self.root}: record 0 says that images end at record {end:,}, and the index lists {len(begins):,}"
            )
        # Beyond 2 ** 24 the label's 32 bits don't hold every number.
        while end > (1 << 24) and end < len(begins) and self._holds_image(int(begins[end])):
            end += 1
        while end > (1 << 24) and not self._holds_image(int(begins[end - 1])):
            end -= 1
        return begins[1:end]

    def _holds_image(self, begin: int) -> bool:
        try:
            return bool(record(self._file, begin).image)
        except ImageSkipped:
            return True

    def _property(self, path: Path) -> tuple[int | None, list[str]]:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None, [f"{path}: isn't there, so that labels can't be held against the number of identities"]
        except (OSError, UnicodeDecodeError) as error:
            raise BitfaceError(f"{path}: can't be read ({getattr(error, 'strerror', None) or error})") from error
        classes = text.split(",")[0].strip()
        if not classes.isdigit() or int(classes) < 1:
            raise BitfaceError(f"{path}: should be IDENTITIES,HEIGHT,WIDTH and begins with '{text.strip()[:40]}'")
        return int(classes), []


def _record_file(path: Path) -> Path:
    if not path.exists():
        raise BitfaceError(f"{path}: no such folder; 'rec:' names the folder with train.rec and train.idx")
    if path.is_file():
        file = path.with_suffix(".rec")
    elif (path / "train.rec").is_file():
        file = path / "train.rec"
    else:
        files = sorted(path.glob("*.rec"))
        if len(files) != 1:
            what = "no .rec" if not files else f"{len(files)} .rec files"
            raise BitfaceError(f"{path}: holds {what}; 'rec:' names the folder with train.rec, or one .rec file")
        file = files[0]
    index = file.with_suffix(".idx")
    if not index.is_file():
        raise BitfaceError(f"{index}: isn't there; the index belongs to {file.name}, copy it too")
    return file


def _offsets(path: Path) -> np.ndarray:
    """Where records begin, int64 `[N]`, in the order of their keys. Raises BitfaceError and OSError."""
    blocks: list[np.ndarray] = []
    with open(path, "rb") as file:
        while text := file.read(_BLOCK):
            text += file.readline()
            try:
                values = np.array(text.split(), np.int64)
            except (ValueError, OverflowError):
                values = np.zeros(1, np.int64)
            if len(values) % 2 or len(values) != 2 * len(text.splitlines()):
                raise BitfaceError(f"{path}: should have a key and an offset in each line; copy it again")
            blocks.append(values.reshape(-1, 2))
    table = np.concatenate(blocks) if blocks else np.zeros((0, 2), np.int64)
    keys, begins = table[:, 0], np.ascontiguousarray(table[:, 1])
    steps = np.diff(keys)
    if (steps <= 0).any():
        order = np.argsort(keys, kind="stable")
        keys, begins = keys[order], begins[order]
        if (np.diff(keys) == 0).any():
            raise BitfaceError(f"{path}: lists the record {keys[:-1][np.diff(keys) == 0][0]} twice; copy it again")
    return begins


def _begins_record(file: OpenFile, begin: int) -> bool:
    return begin % 4 == 0 and file.read(begin, 4) == MAGIC


DATA_SETS.register("rec")(PackedFaces(RecordFaces))

"""Lists of verification pairs: a CSV file with the columns `a,b,same,fold` and a folder of images."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Ints

FOLDS = 10
_SAME = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, eq=False)
class PairList:
    """P pairs of N distinct images.

    Attributes:
        paths: the N distinct images, relative to the root, with forward slashes, sorted. Embeddings are
            given in this order.
        left, right: [P] int32, the two images of a pair as positions in `paths`.
        same: [P] bool, whether the pair is genuine (one person) or impostor (two).
        fold: [P] int64, the fold from 0 upwards.
    """

    paths: tuple[str, ...]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    same: Bools
    fold: Ints

    def __len__(self) -> int:
        return len(self.same)

    @property
    def genuine(self) -> int:
        """The number of genuine pairs."""
        return int(np.count_nonzero(self.same))

    @property
    def impostor(self) -> int:
        """The number of impostor pairs."""
        return len(self) - self.genuine


def identity_of(path: str) -> str:
    """The person an image shows, by the name of the folder it lies in: `Person/img.jpg` is `Person`.

    Folders further up don't count. An image that lies in no folder has the identity `""`.
    """
    return PurePosixPath(path).parent.name


def read_pairs(csv_path: Path | str, root: Path | str) -> PairList:
    """Reads a list of pairs, and makes sure that every image is there.

    The header names the columns `a`, `b` (image paths relative to `root`), `same` (0, 1, true or false) and
    `fold` (any label), in any order; other columns are ignored. Folds are numbered from 0 in the order of
    their labels, numerically if all are whole numbers. Without the column, genuine and impostor pairs are
    each cut into ten contiguous blocks in the order of the file (fewer if one kind has fewer than ten pairs).

    Raises:
        BitfaceError: the file can't be read or decoded, has no pairs, only one kind of pair or only one
            fold; a row is malformed (named by its line); a path leads out of `root`; images are missing.
    """
    csv_path, root = Path(csv_path), Path(root)
    if not root.is_dir():
        raise BitfaceError(f"{root}: no such folder; give the folder that the paths in {csv_path.name} start at")
    left, right, same, labels = [], [], [], []
    for a, b, is_same, label in _rows(csv_path):
        left.append(a)
        right.append(b)
        same.append(is_same)
        labels.append(label)
    if not same:
        raise BitfaceError(f"{csv_path}: holds no pairs; expected rows under the header a,b,same,fold")
    if all(same) or not any(same):
        kind = "genuine" if same[0] else "impostor"
        raise BitfaceError(f"{csv_path}: holds only {kind} pairs; verification needs both kinds")
    paths = tuple(sorted({*left, *right}))
    _require_files(paths, root, csv_path)
    position = {path: index for index, path in enumerate(paths)}
    genuine = np.array(same, dtype=bool)
    fold = _contiguous_folds(genuine) if labels[0] is None else _numbered([label or "" for label in labels])
    if fold.max() == 0:
        raise BitfaceError(f"{csv_path}: all pairs are in one fold; use at least two, or leave the column out")
    return PairList(
        paths=paths,
        left=np.array([position[path] for path in left], dtype=np.int32),
        right=np.array([position[path] for path in right], dtype=np.int32),
        same=genuine,
        fold=fold,
    )


def _rows(csv_path: Path) -> Iterator[tuple[str, str, bool, str | None]]:
    """Yields `(a, b, same, fold label)` of every row; the label is None where there is no such column."""
    try:
        with open(csv_path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            columns = _columns(header, csv_path)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                where = f"{csv_path}:{reader.line_num}"
                if len(cells) != len(header):
                    raise BitfaceError(f"{where}: {len(cells)} cells, but the header has {len(header)} columns")
                yield _row({name: cells[at].strip() for name, at in columns.items()}, where)
    except OSError as error:
        raise BitfaceError(f"{csv_path}: can't be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BitfaceError(f"{csv_path}: isn't UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise BitfaceError(f"{csv_path}:{reader.line_num}: not a CSV row ({error})") from error


def _columns(header: Sequence[str], csv_path: Path) -> dict[str, int]:
    if not any(header):
        raise BitfaceError(f"{csv_path}: is empty; expected the header a,b,same,fold and one pair per row")
    for name in ("a", "b", "same", "fold"):
        if header.count(name) > 1:
            raise BitfaceError(f"{csv_path}: the header names the column {name} {header.count(name)} times")
        if name not in header and name != "fold":
            raise BitfaceError(f"{csv_path}: the header has no column {name}; expected a,b,same,fold")
    return {name: header.index(name) for name in ("a", "b", "same", "fold") if name in header}


def _row(cells: dict[str, str], where: str) -> tuple[str, str, bool, str | None]:
    a, b = _relative(cells["a"], where), _relative(cells["b"], where)
    if a == b:
        raise BitfaceError(f"{where}: pairs {a} with itself; a pair needs two images")
    if cells["same"].lower() not in _SAME:
        raise BitfaceError(f"{where}: same is {cells['same']!r}; expected 0, 1, true or false")
    if cells.get("fold") == "":
        raise BitfaceError(f"{where}: fold is empty; give a label, or leave the whole column out")
    return a, b, _SAME[cells["same"].lower()], cells.get("fold")


def _relative(text: str, where: str) -> str:
    """The path with forward slashes. Lists from either family of systems are held to the rules of both."""
    if not text:
        raise BitfaceError(f"{where}: an image path is empty")
    windows, posix = PureWindowsPath(text), PurePosixPath(text.replace("\\", "/"))
    if windows.anchor or posix.is_absolute() or ".." in posix.parts or "\0" in text:
        raise BitfaceError(f"{where}: {text!r} leads out of the image folder; give paths relative to it")
    if not posix.parts:
        raise BitfaceError(f"{where}: {text!r} isn't an image path")
    return str(posix)


def _require_files(paths: Sequence[str], root: Path, csv_path: Path) -> None:
    missing = [path for path in paths if not os.path.isfile(root / path)]
    if missing:
        raise BitfaceError(
            f"{csv_path}: {len(missing)} of {len(paths)} images aren't in {root}, first {missing[0]}; "
            "check the image folder"
        )


def _contiguous_folds(same: Bools) -> Ints:
    genuine = int(np.count_nonzero(same))
    folds = max(2, min(FOLDS, genuine, len(same) - genuine))
    fold = np.empty(len(same), dtype=np.int64)
    for kind in (same, ~same):
        size = int(np.count_nonzero(kind))
        fold[kind] = np.arange(size) * folds // size
    return fold


def _numbered(labels: Sequence[str]) -> Ints:
    try:
        keys: list[int] | list[str] = [int(label) for label in labels]
    except ValueError:
        keys = list(labels)
    return np.unique(np.array(keys), return_inverse=True)[1].astype(np.int64)

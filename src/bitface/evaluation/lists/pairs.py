"""Lists of verification pairs and a folder of images; see `pair_formats` for the forms that lists have."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Ints, first_times
from bitface.evaluation.figures.operating import Distinct
from bitface.evaluation.lists.pair_formats import read_rows
from bitface.evaluation.lists.pair_rows import PairRow

FOLDS = 10


@dataclass(frozen=True, eq=False)
class PairList:
    """P pairs of N distinct images.

    Attributes:
        paths: the N distinct images, relative to the root, with forward slashes, sorted. Embeddings are
            given in this order.
        left, right: [P] int32, the two images of a pair as positions in `paths`.
        same: [P] bool, whether the pair is genuine (one person) or impostor (two).
        fold: [P] int64, the fold from 0 upwards.
        notes: what is odd about the list, and no error.
        people: [N], whom each image shows, where the list says so otherwise than by the images' folders.
    """

    paths: tuple[str, ...]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    same: Bools
    fold: Ints
    notes: tuple[str, ...] = ()
    people: tuple[str, ...] | None = None

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

    @cached_property
    def first(self) -> Bools:
        """[P], false where a pair repeats one before it, in either order."""
        return first_times(self.left, self.right)

    @property
    def distinct(self) -> Distinct:
        """The pairs of each kind that repeat no other."""
        return Distinct.of(self.same, self.first)

    @property
    def identities(self) -> tuple[str, ...]:
        """[N], the person of each image: by the list where it says so, else by the folder (see `identity_of`)."""
        return self.people or tuple(identity_of(path) for path in self.paths)

    @property
    def contradicting(self) -> Ints:
        """The places of pairs of which `identities` say something else than the list."""
        names = np.array(self.identities)
        return np.flatnonzero((names[self.left] == names[self.right]) != self.same)


def identity_of(path: str) -> str:
    """The person an image shows, by the name of the folder it lies in: `Person/img.jpg` is `Person`.

    Folders further up don't count. An image that lies in no folder has the identity `""`.
    """
    return PurePosixPath(path).parent.name


def read_pairs(path: Path | str, root: Path | str, part: str | None = None) -> PairList:
    """Reads a list of pairs in any of the forms that `pair_formats` knows, and makes sure that every image is there.

    They are a CSV with the columns `a`, `b`, `same` and perhaps `fold`; LFW's `pairs.txt` and View-1 lists; the lists
    of CALFW, CPLFW and SLLFW; lines `image image label`; flags in a `.npy` file; and the protocol folder of CFP. The
    content tells which it is. Folds are numbered from 0 in the order of their labels, numerically if all are whole
    numbers. Where a list has none, genuine and impostor pairs are each cut into ten contiguous blocks in the order of
    the list (fewer if one kind has fewer than ten pairs); for published lists of ten folds that is what they are.

    Args:
        path: the list; for CFP its folder.
        root: the folder that the images' paths start at.
        part: of CFP: `cfp-ff` or `cfp-fp`.

    Raises:
        BitfaceError: the list can't be read or recognised, has no pairs, only one kind of pair or only one
            fold; a row is malformed or contradicts another (named by their lines); a path leads out of `root`;
            images are missing.
        UsageError: the part is wrong.
    """
    path, root = Path(path), Path(root)
    if not root.is_dir():
        raise BitfaceError(f"{root}: no such folder; give the folder that the paths in {path.name} start at")
    return pair_list(read_rows(path, root, part), path, root)


def pair_list(rows: Sequence[PairRow], path: Path, root: Path) -> PairList:
    """The pairs of these rows. `path` is the list they are from, for messages. Raises BitfaceError as `read_pairs`."""
    if not rows:
        raise BitfaceError(f"{path}: holds no pairs; give a list with one pair at least of each kind")
    genuine = np.array([row.same for row in rows], dtype=bool)
    if genuine.all() or not genuine.any():
        kind = "genuine" if rows[0].same else "impostor"
        raise BitfaceError(f"{path}: holds only {kind} pairs; verification needs both kinds")
    paths = tuple(sorted({image for row in rows for image in (row.a, row.b)}))
    _require_files(paths, root, path, rows)
    position = {image: index for index, image in enumerate(paths)}
    left = np.array([position[row.a] for row in rows], dtype=np.int32)
    right = np.array([position[row.b] for row in rows], dtype=np.int32)
    notes = _repetitions(left, right, genuine, rows)
    labels = [row.fold for row in rows if row.fold is not None]
    fold = _numbered(labels) if labels else _contiguous_folds(genuine)
    if fold.max() == 0:
        raise BitfaceError(f"{path}: all pairs are in one fold; use at least two, or leave the column out")
    return PairList(paths, left, right, genuine, fold, notes, _people(rows, paths))


def _require_files(paths: Sequence[str], root: Path, list_path: Path, rows: Sequence[PairRow]) -> None:
    absent = {path for path in paths if not os.path.isfile(root / path)}
    if absent:
        where, first = next((row.where, path) for row in rows for path in (row.a, row.b) if path in absent)
        raise BitfaceError(
            f"{where}: {len(absent)} of {len(paths)} images aren't in {root}, first {first}; check the image folder"
        )


def _repetitions(
    left: NDArray[np.int32], right: NDArray[np.int32], same: Bools, rows: Sequence[PairRow]
) -> tuple[str, ...]:
    """A note on pairs that are listed again, in either order. Raises BitfaceError where the second says otherwise."""
    low, high = np.minimum(left, right).astype(np.int64), np.maximum(left, right).astype(np.int64)
    _, first, pair = np.unique(low * (high.max() + 1) + high, return_index=True, return_inverse=True)
    before = first[pair]
    wrong = np.flatnonzero(same != same[before])
    if len(wrong):
        row, other = rows[wrong[0]], rows[before[wrong[0]]]
        kinds = ("a genuine", "an impostor") if row.same else ("an impostor", "a genuine")
        raise BitfaceError(
            f"{row.where}: {row.a} and {row.b} are {kinds[0]} pair here and {kinds[1]} one in {other.where}"
        )
    again = np.flatnonzero(before != np.arange(len(rows)))
    if not len(again):
        return ()
    row, other = rows[again[0]], rows[before[again[0]]]
    count = f"{len(again)} pairs are" if len(again) > 1 else "1 pair is"
    return (
        f"{count} listed again, first {row.a} and {row.b} in {row.where} as in {other.where}; each time counts, though "
        "not as further evidence",
    )


def _people(rows: Sequence[PairRow], paths: Sequence[str]) -> tuple[str, ...] | None:
    people: dict[str, str] = {}
    for row in rows:
        if row.people is None:
            return None
        people[row.a], people[row.b] = row.people
    return tuple(people[path] for path in paths)


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

"""Lists of pairs of videos, as YouTube Faces publishes them, and the frames of the videos."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bitface.data.faces import EXTENSIONS
from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.arrays import Bools, Ints
from bitface.evaluation.lists.pair_rows import relative
from bitface.evaluation.lists.templates import Positions

_HEADER = "split number, pair number in split, first name, second name, is same:"
_SAME = {"1": True, "0": False}


@dataclass(frozen=True, eq=False)
class VideoPairs:
    """P pairs of V videos, made of N frames.

    Attributes:
        paths: the N frames, relative to the root folder, with forward slashes, video by video.
        video: [N], which video a frame is of, as a position in `videos`; ascending.
        videos: the V videos, `Person_Name/0`, sorted; some may be without frames.
        left, right: [P], the two videos of a pair; the left one is of the gallery.
        same: [P], whether both show one person.
        fold: [P], the split.
    """

    paths: tuple[str, ...]
    video: Positions
    videos: tuple[str, ...]
    left: Positions
    right: Positions
    same: Bools
    fold: Ints

    def __len__(self) -> int:
        return len(self.same)

    def chosen(self, selection: Bools) -> "VideoPairs":
        """Some of the pairs, `[P]`; the videos and their frames stay."""
        return replace(
            self,
            left=self.left[selection],
            right=self.right[selection],
            same=self.same[selection],
            fold=self.fold[selection],
        )


def read_video_pairs(splits: Path | str, root: Path | str, frames: int | None = None) -> VideoPairs:
    """Reads `splits.txt` of YouTube Faces, and finds the frames.

    The header names the columns, `split number, pair number in split, first name, second name, is same:`; others are
    ignored, and so are spaces around commas. The label is the last column whose name holds `same` or `correct`, which
    in the corrected list is the corrected one. Videos are named `Person_Name/0`, and their frames are the images in
    that folder below `root`, in the order of their numbers. A video without a folder, or without an image in it, stays
    in the list as one that can't be scored.

    Args:
        frames: the most frames of a video to use, evenly spaced; None: all.

    Raises:
        BitfaceError: the list can't be read, lacks a column, has no pairs, only one kind of pair or only one split; a
            row is malformed, is there twice or contradicts another (named by its line); no frame is found at all.
        UsageError: `frames` is below 1.
    """
    splits, root = Path(splits), Path(root)
    if frames is not None and frames < 1:
        raise UsageError(f"can't use {frames} frames of a video; give a number from 1 on")
    if not root.is_dir():
        raise BitfaceError(f"{root}: no such folder; give the folder that holds a folder for each person")
    rows = list(_rows(splits))
    if not rows:
        raise BitfaceError(f"{splits}: holds no pairs; expected rows under the header {_HEADER}")
    _consistent(rows)
    same = np.array([row.same for row in rows], dtype=bool)
    if same.all() or not same.any():
        raise BitfaceError(f"{splits}: holds only {'genuine' if same[0] else 'impostor'} pairs; both kinds are needed")
    fold = np.unique([row.split for row in rows], return_inverse=True)[1]
    if fold.max() == 0:
        raise BitfaceError(f"{splits}: all pairs are in one split; the threshold must come from others")
    videos = tuple(sorted({video for row in rows for video in (row.first, row.second)}))
    frame_paths = [_frames(root, video, frames) for video in videos]
    paths = tuple(path for each in frame_paths for path in each)
    if not paths:
        raise BitfaceError(f"{root}: has no frame of any of the {len(videos)} videos, {videos[0]} the first")
    position = {video: index for index, video in enumerate(videos)}
    return VideoPairs(
        paths=paths,
        video=np.repeat(np.arange(len(videos), dtype=np.int32), [len(each) for each in frame_paths]),
        videos=videos,
        left=np.array([position[row.first] for row in rows], dtype=np.int32),
        right=np.array([position[row.second] for row in rows], dtype=np.int32),
        same=same,
        fold=fold.astype(np.int64),
    )


def _frames(root: Path, video: str, most: int | None) -> list[str]:
    try:
        names = [name for name in os.listdir(root / video) if name.lower().endswith(EXTENSIONS) and name[0] != "."]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise BitfaceError(f"{root / video}: can't be read ({error.strerror}); mend its permissions") from error
    # Frame 9 comes before frame 10, whatever their names look like; equal numbers by name.
    names.sort(
        key=lambda name: ([int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)], name)
    )
    if most is not None and len(names) > most:
        # The middles of `most` equal stretches of the video.
        names = [names[(2 * index + 1) * len(names) // (2 * most)] for index in range(most)]
    return [f"{video}/{name}" for name in names]


@dataclass(frozen=True)
class _Row:
    """One line of the list. `number` is that of the pair within its split, empty where there is no such column."""

    where: str
    split: int
    number: str
    first: str
    second: str
    same: bool


def _rows(splits: Path) -> Iterator[_Row]:
    columns: dict[str, int] = {}
    width = 0
    try:
        with open(splits, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                cells = [cell.strip() for cell in line.split(",")]
                if not columns:
                    columns, width = _columns(cells, splits), len(cells)
                    continue
                where = f"{splits}:{number}"
                if len(cells) != width:
                    raise BitfaceError(f"{where}: {line.strip()[:80]!r} has {len(cells)} cells, the header {width}")
                yield _row({name: cells[at] for name, at in columns.items()}, where)
    except OSError as error:
        raise BitfaceError(f"{splits}: can't be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BitfaceError(f"{splits}: isn't UTF-8 text; use the file as it was published") from error


def _columns(header: Sequence[str], splits: Path) -> dict[str, int]:
    names = [" ".join(re.findall(r"[a-z0-9]+", name.lower())) for name in header]
    columns = {
        "split": [at for at, name in enumerate(names) if name.startswith(("split", "fold"))],
        "number": [at for at, name in enumerate(names) if name.startswith("pair")],
        "first": [at for at, name in enumerate(names) if name.startswith("first")],
        "second": [at for at, name in enumerate(names) if name.startswith("second")],
        "same": [at for at, name in enumerate(names) if "same" in name or "correct" in name][-1:],
    }
    for name, positions in columns.items():
        if len(positions) > 1 or (not positions and name != "number"):
            raise BitfaceError(
                f"{splits}: the header {', '.join(header)[:120]!r} has {len(positions) or 'no'} columns for the {name} "
                f"{'label' if name == 'same' else 'number' if name == 'split' else 'name'}; expected {_HEADER}"
            )
    return {name: positions[0] for name, positions in columns.items() if positions}


def _row(cells: dict[str, str], where: str) -> _Row:
    if not (cells["split"].isascii() and cells["split"].isdigit()):
        raise BitfaceError(f"{where}: the split is {cells['split'][:40]!r}; expected a number")
    if cells["same"] not in _SAME:
        raise BitfaceError(f"{where}: the label is {cells['same'][:40]!r}; expected 0 or 1")
    videos = [relative(cells[name], where) for name in ("first", "second")]
    for video in videos:
        if video.count("/") != 1:
            raise BitfaceError(f"{where}: {video!r} isn't a video; expected Person_Name/0")
    if videos[0] == videos[1]:
        raise BitfaceError(f"{where}: pairs {videos[0]} with itself; a pair needs two videos")
    return _Row(where, int(cells["split"]), cells.get("number", ""), videos[0], videos[1], _SAME[cells["same"]])


def _consistent(rows: Sequence[_Row]) -> None:
    labels: dict[frozenset[str], _Row] = {}
    numbered: dict[tuple[int, str], _Row] = {}
    for row in rows:
        other = labels.setdefault(frozenset((row.first, row.second)), row)
        if other.same != row.same:
            raise BitfaceError(f"{row.where}: contradicts {other.where} on {row.first} and {row.second}; correct one")
        # Without numbers, a pair that is listed again may be meant.
        other = numbered.setdefault((row.split, row.number or row.where), row)
        if other is not row:
            raise BitfaceError(f"{row.where}: pair {row.number} of split {row.split} is at {other.where} already")

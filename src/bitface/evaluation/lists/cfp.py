"""The protocol folder of Celebrities in Frontal-Profile in the Wild (Sengupta et al., WACV 2016).

Protocol/Pair_list_F.txt      lines "1 ../Data/Images/001/frontal/01.jpg": 5,000 frontal images
Protocol/Pair_list_P.txt      the same for 2,000 profile images
Protocol/Split/FP/01/same.txt lines "i,j": in FP, frontal image i and profile image j; in FF, two frontal ones
Protocol/Split/FP/01/diff.txt impostor pairs; ten folders, the folds, and 350 pairs of each kind in each
"""

from collections.abc import Iterator
from pathlib import Path

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.lists.pair_rows import PairRow, finder, read_text, relative, text_lines, two_images, whole

_LISTS = {"F": "Pair_list_F.txt", "P": "Pair_list_P.txt"}
_PARTS = ("FF", "FP")


def read_cfp(folder: Path, root: Path, part: str | None = None) -> list[PairRow]:
    """The pairs of one part, in the order of the folds, those of `same.txt` first.

    Args:
        folder: the release, its folder `Protocol`, or `Protocol/Split/FF` or `FP`.
        root: where the paths start: the release, or a folder of aligned images that keeps `001/frontal/01.jpg`, with
            or without `Data/Images` or `Images` in front and with any extension.
        part: `cfp-ff` or `cfp-fp` (`ff` and `fp` will do); may be left out where the folder holds one only.

    Raises:
        BitfaceError: this is no such folder, a file is missing or a line of it malformed.
        UsageError: the part is unknown, or there are two to choose from.
    """
    protocol, part = _chosen(folder, part)
    images = {side: _images(protocol, name) for side, name in _LISTS.items() if side in part}
    splits = _splits(protocol / "Split" / part)
    first, second = (images[side] for side in part)
    find = finder(root)
    rows = []
    for split in splits:
        for name, same in (("same.txt", True), ("diff.txt", False)):
            for where, i, j in _numbers(split / name):
                paths = []
                for number, side, listing in ((i, part[0], first), (j, part[1], second)):
                    if number not in listing:
                        raise BitfaceError(f"{where}: image {number} isn't in {_LISTS[side]}; take both of one release")
                    paths.append(listing[number])
                a, b = (find(_copies(path)) for path in paths)
                people = (paths[0].split("/")[-3], paths[1].split("/")[-3])
                rows.append(two_images(PairRow(a, b, same, split.name, where, people)))
    return rows


def _chosen(folder: Path, part: str | None) -> tuple[Path, str]:
    """The protocol's folder, and FF or FP."""
    candidates = [(folder, part), (folder / "Protocol", part), (folder.parent.parent, part or folder.name)]
    protocols = [pair for pair in candidates if (pair[0] / "Split").is_dir() and (pair[0] / _LISTS["F"]).is_file()]
    if not protocols:
        raise BitfaceError(
            f"{folder}: can't be read: a folder, and not that of the CFP protocol (with {_LISTS['F']} and Split in "
            "it); give a file that lists pairs"
        )
    protocol, word = protocols[0]
    there = [name for name in _PARTS if (protocol / "Split" / name).is_dir()]
    if word is None and len(there) != 1:
        raise UsageError(f"{folder}: holds {' and '.join(there) or 'neither FF nor FP'}; say cfp-ff or cfp-fp")
    part = there[0] if word is None else word.upper().removeprefix("CFP").strip("-_ ")
    if part not in _PARTS:
        raise UsageError(f"'{word}' is no part of CFP; say cfp-ff or cfp-fp")
    if part not in there:
        raise BitfaceError(f"{protocol}: has no folder Split/{part}; take the whole release")
    return protocol, part


def _splits(folder: Path) -> list[Path]:
    """The folders of the folds, in their order."""
    try:
        folds = sorted(
            (path for path in folder.iterdir() if whole(path.name) is not None), key=lambda path: int(path.name)
        )
    except OSError as error:
        raise BitfaceError(f"{folder}: can't be read ({error.strerror or error})") from error
    if not folds:
        raise BitfaceError(f"{folder}: holds no folds; expected folders 01 to 10")
    return folds


def _images(protocol: Path, name: str) -> dict[int, str]:
    """The images of a list by their numbers, relative to the release."""
    images: dict[int, str] = {}
    for where, words in text_lines(protocol / name, read_text(protocol / name)):
        number = whole(words[0])
        if len(words) != 2 or number is None:
            raise BitfaceError(f"{where}: {' '.join(words)!r}; expected a number and a path")
        # Paths start at the folder Protocol, and so with one step up.
        path = relative(words[1].removeprefix("../"), where)
        if path.count("/") < 2:
            raise BitfaceError(f"{where}: {words[1]!r}; expected a path such as ../Data/Images/001/frontal/01.jpg")
        if images.setdefault(number, path) != path:
            raise BitfaceError(f"{where}: image {number} has been {images[number]} before")
    return images


def _numbers(path: Path) -> Iterator[tuple[str, int, int]]:
    for where, words in text_lines(path, read_text(path)):
        numbers = [whole(number.strip()) for number in " ".join(words).split(",")]
        if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
            raise BitfaceError(f"{where}: {' '.join(words)!r}; expected the numbers of two images, such as 1,27")
        yield where, numbers[0], numbers[1]


def _copies(path: str) -> list[str]:
    """Where a copy of the image may lie: under its whole path, or with folders in front left out."""
    parts = path.split("/")
    return ["/".join(parts[skipped:]) for skipped in range(len(parts) - 2)]

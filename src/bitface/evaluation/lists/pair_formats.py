"""The forms in which people have verification pairs. The content of a file tells which of them it is."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from pathlib import Path

import numpy as np

from bitface.data.faces import EXTENSIONS
from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.lists.cfp import read_cfp
from bitface.evaluation.lists.pair_rows import PairRow, finder, read_text, relative, text_lines, two_images, whole

Lines = list[tuple[str, list[str]]]

_SAME = {"1": True, "true": True, "0": False, "false": False}
_LABELS = {**_SAME, "-1": False}
_KNOWN = (
    "the header a,b,same,fold of a CSV; LFW's pairs.txt; two lines 'image label' for each pair (CALFW, CPLFW); two "
    "lines 'Person/image' (SLLFW); or 'image image label'"
)


def read_rows(path: Path, root: Path, part: str | None = None) -> list[PairRow]:
    """The pairs of a list in any of the known forms, in its order.

    Args:
        path: the file; for CFP its folder, see `cfp`.
        root: the folder that the images' paths start at. Published lists name images of the release; here an image
            may also have another extension.
        part: which pairs of CFP, `cfp-ff` or `cfp-fp`.

    Raises:
        BitfaceError: the file can't be read, has none of the known forms, or a row is malformed (named by its line).
        UsageError: a part is asked for where there are none.
    """
    if path.is_dir():
        return read_cfp(path, root, part)
    if part is not None:
        raise UsageError(f"{path}: has no part '{part}': only the folder of the CFP protocol has parts")
    if _is_numpy(path):
        return _numbered(path, root)
    text = read_text(path)
    lines = text_lines(path, text)
    reader = None if not lines or "," in " ".join(lines[0][1]) else _form(*lines[0])
    return list(_csv(path, text)) if reader is None else reader(lines, path, root)


def _form(where: str, words: Sequence[str]) -> Callable[[Lines, Path, Path], list[PairRow]]:
    """The reader of a text file, by the words of its first line that isn't blank."""
    numbers = [whole(word) is not None for word in words]
    if len(words) <= 2 and all(numbers):
        return _lfw
    if numbers in ([False, True, True], [False, True, False, True]):
        return _lfw_without_header
    if numbers == [False, True]:
        return _image_lines
    if numbers == [False] and words[0].replace("\\", "/").count("/"):
        return _person_lines
    if len(words) in (3, 4):
        return _two_paths
    if numbers == [True, False]:
        raise BitfaceError(f"{where}: a number and a path, as in the image lists of CFP; give the folder Protocol")
    raise BitfaceError(f"{where}: {' '.join(words)[:80]!r} begins no list of pairs that is known: {_KNOWN}")


def _csv(path: Path, text: str) -> Iterator[PairRow]:
    """Columns `a`, `b`, `same` and, if there are folds, `fold`, named by a header in any order; others are ignored."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        columns = _columns(header, path)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{path}:{reader.line_num}"
            if len(cells) != len(header):
                raise BitfaceError(f"{where}: {len(cells)} cells, but the header has {len(header)} columns")
            row = {name: cells[at].strip() for name, at in columns.items()}
            if row.get("fold") == "":
                raise BitfaceError(f"{where}: fold is empty; give a label, or leave the whole column out")
            a, b = relative(row["a"], where), relative(row["b"], where)
            if row["same"].lower() not in _SAME:
                raise BitfaceError(f"{where}: same is {row['same']!r}; expected 0, 1, true or false")
            yield two_images(PairRow(a, b, _SAME[row["same"].lower()], row.get("fold"), where))
    except csv.Error as error:
        raise BitfaceError(f"{path}:{reader.line_num}: not a CSV row ({error})") from error


def _columns(header: Sequence[str], path: Path) -> dict[str, int]:
    if not any(header):
        raise BitfaceError(f"{path}: is empty; expected the header a,b,same,fold and one pair per row")
    for name in ("a", "b", "same", "fold"):
        if header.count(name) > 1:
            raise BitfaceError(f"{path}: the header names the column {name} {header.count(name)} times")
        if name not in header and name != "fold":
            raise BitfaceError(f"{path}: the header has no column {name}; expected a,b,same,fold")
    return {name: header.index(name) for name in ("a", "b", "same", "fold") if name in header}


def _lfw(lines: Lines, path: Path, root: Path) -> list[PairRow]:
    """LFW (Huang et al., 2007): a header of folds and pairs of each kind in a fold, or of pairs of each kind (View 1).

    Each fold lists its genuine pairs `Name n n`, then as many impostor pairs `Name n Name n`.
    """
    where, header = lines[0]
    sizes = [int(word) for word in header]
    folds, size = (1, *sizes) if len(sizes) == 1 else (sizes[0], sizes[1])
    rows = _lfw_without_header(lines[1:], path, root)
    if len(rows) != 2 * folds * size:
        raise BitfaceError(
            f"{where}: the header speaks of {folds} times {size} pairs of each kind, but {len(rows)} pairs follow; "
            "take the list as it was published"
        )
    for index, row in enumerate(rows):
        genuine = index % (2 * size) < size
        if row.same != genuine:
            kinds = ("a genuine", "an impostor") if row.same else ("an impostor", "a genuine")
            raise BitfaceError(
                f"{row.where}: {kinds[0]} pair where the header ({' '.join(header)}) puts {kinds[1]} one; take the "
                "list as it was published"
            )
    return rows if folds == 1 else [row._replace(fold=str(index // (2 * size))) for index, row in enumerate(rows)]


def _lfw_without_header(lines: Lines, path: Path, root: Path) -> list[PairRow]:
    find = finder(root)
    rows = []
    for where, words in lines:
        numbers = [whole(word) for word in words[1:]]
        if len(words) == 3 and None not in numbers:
            images = ((words[0], numbers[0]), (words[0], numbers[1]))
        elif len(words) == 4 and None not in (numbers[0], numbers[2]):
            images = ((words[0], numbers[0]), (words[2], numbers[2]))
            if words[0] == words[2]:
                raise BitfaceError(f"{where}: an impostor pair of {words[0]} with the same person")
        else:
            raise BitfaceError(f"{where}: {' '.join(words)[:80]!r}; expected 'Name n n' or 'Name n Name n'")
        a, b = (find([relative(f"{name}/{name}_{number:04}.jpg", where)]) for name, number in images)
        rows.append(two_images(PairRow(a, b, len(words) == 3, None, where)))
    return rows


def _image_lines(lines: Lines, path: Path, root: Path) -> list[PairRow]:
    """CALFW (Zheng et al., 2017) and CPLFW (2018): two lines `Name_0001.jpg label` make a pair.

    Label 0 is an impostor pair; a genuine one has the number of its fold, 1 to 10, or just 1. The published files
    list the genuine pairs of all folds first, and say nothing of the folds of impostors: they are cut into as many
    contiguous blocks, which also fits a file that lists fold by fold.
    """
    find = finder(root)
    rows = []
    for (first, a), (second, b) in _couples(lines):
        for where, words in ((first, a), (second, b)):
            if len(words) != 2 or whole(words[1]) is None:
                raise BitfaceError(
                    f"{where}: {' '.join(words)[:80]!r}; expected an image and a label, 'Name_0001.jpg 1'"
                )
        if whole(a[1]) != whole(b[1]):
            raise BitfaceError(f"{second}: label {b[1]}, but {a[1]} in the line before; both are one pair")
        images = [relative(words[0], where) for where, words in ((first, a), (second, b))]
        people = [os.path.splitext(image.split("/")[-1])[0].rpartition("_")[0] for image in images]
        paths = [find(_below(person, image)) for image, person in zip(images, people, strict=True)]
        row = PairRow(paths[0], paths[1], whole(a[1]) != 0, str(whole(a[1])), first, (people[0], people[1]))
        rows.append(two_images(row))
    folds = sorted({int(row.fold or 0) for row in rows if row.same})
    if len(folds) < 2:
        return [row._replace(fold=None) for row in rows]
    impostors = iter(np.arange(sum(not row.same for row in rows)) * len(folds) // sum(not row.same for row in rows))
    return [row if row.same else row._replace(fold=str(folds[next(impostors)])) for row in rows]


def _below(person: str, image: str) -> list[str]:
    """An image lies in one folder with all others, as published, or, as in LFW, in that of its person."""
    return [image, f"{person}/{image}"] if person.strip(".") and "/" not in image else [image]


def _person_lines(lines: Lines, path: Path, root: Path) -> list[PairRow]:
    """SLLFW (Deng et al., 2017): two lines `Person/image` make a pair, genuine where the person is the same.

    The published file holds ten folds, each 300 genuine and then 300 impostor pairs.
    """
    find = finder(root)
    rows = []
    for (first, a), (second, b) in _couples(lines):
        for where, words in ((first, a), (second, b)):
            if len(words) != 1 or "/" not in words[0].replace("\\", "/"):
                raise BitfaceError(f"{where}: {' '.join(words)[:80]!r}; expected one image, 'Person/image.jpg'")
        images = relative(a[0], first), relative(b[0], second)
        same = os.path.dirname(images[0]) == os.path.dirname(images[1])
        rows.append(two_images(PairRow(find([images[0]]), find([images[1]]), same, None, first)))
    return rows


def _couples(lines: Lines) -> Iterator[tuple[tuple[str, list[str]], tuple[str, list[str]]]]:
    if len(lines) % 2:
        raise BitfaceError(f"{lines[-1][0]}: the last image has no partner; two lines make a pair")
    return zip(lines[::2], lines[1::2], strict=True)


def _two_paths(lines: Lines, path: Path, root: Path) -> list[PairRow]:
    """Lines `image image label`, as evaluation code keeps AgeDB-30, CFP-FP and packs turned into files; or with a fold.

    The label is 1 for genuine pairs and 0 or -1 for impostors.
    """
    rows = []
    for where, words in lines:
        if len(words) != len(lines[0][1]):
            raise BitfaceError(f"{where}: {len(words)} columns, but {len(lines[0][1])} in the first line")
        if words[2].lower() not in _LABELS:
            raise BitfaceError(f"{where}: label is {words[2]!r}; expected 'image image label' with 1, 0 or -1")
        a, b = relative(words[0], where), relative(words[1], where)
        fold = words[3] if len(words) == 4 else None
        rows.append(two_images(PairRow(a, b, _LABELS[words[2].lower()], fold, where)))
    return rows


def _is_numpy(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(6) == b"\x93NUMPY"
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror or error})") from error


def _numbered(path: Path, root: Path) -> list[PairRow]:
    """face.evoLVe's `agedb_30_list.npy`: P flags, for the 2P images of a folder whose names are their numbers."""
    try:
        # Mapped, so that a header which speaks of more than the file holds is refused before memory is asked for.
        flags = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, OverflowError, MemoryError, EOFError) as error:
        raise BitfaceError(f"{path}: no .npy file of flags, one for each pair ({error})") from error
    if flags.ndim != 1 or not (flags.dtype == bool or (flags.dtype.kind in "iu" and np.isin(flags, (0, 1)).all())):
        raise BitfaceError(f"{path}: holds {flags.dtype} of the shape {flags.shape}; expected one flag for each pair")
    if (root / "__attrs__").is_file() or (root / "__rootdirs__").is_file():
        raise BitfaceError(f"{root}: a bcolz array, which isn't read; give the .bin pack that it was made from")
    stems = ((whole(stem), stem + extension) for stem, extension in map(os.path.splitext, os.listdir(root)))
    numbered = sorted(
        (number, name) for number, name in stems if number is not None and name.lower().endswith(EXTENSIONS)
    )
    names = [name for _, name in numbered]
    first = numbered[0][0] if numbered else 0
    if [number for number, _ in numbered] != list(range(first, first + 2 * len(flags))):
        raise BitfaceError(
            f"{path}: {len(flags)} pairs need {2 * len(flags)} images numbered without a gap, such as 0.jpg to "
            f"{2 * len(flags) - 1}.jpg; {root} holds {len(names)} images with numbers for names"
        )
    return [
        PairRow(names[2 * index], names[2 * index + 1], bool(flag), None, f"{path}: flag {index}")
        for index, flag in enumerate(flags)
    ]

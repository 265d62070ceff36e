"""How the files of template protocols are laid out; what they mean is `template_lists`' business."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bitface.errors import BitfaceError, UsageError, nearest
from bitface.evaluation.lists.pair_rows import relative

_BLOCK = 1 << 23
_LONGEST = 10
_LARGEST = 2**31 - 1
_MARK = b"\xef\xbb\xbf"
_MEDIA = ("MEDIA_ID", "SIGHTING_ID")

_OTHER, _SEPARATOR, _NEWLINE, _DIGIT = range(4)
_KINDS = np.full(256, _OTHER, dtype=np.uint8)
_KINDS[list(b" ,\t\r")] = _SEPARATOR
_KINDS[ord("\n")] = _NEWLINE
_KINDS[list(b"0123456789")] = _DIGIT


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """One row of a CSV file of templates: an image of one of them.

    Attributes:
        file, line: where it stands.
        template, subject: the number of the template, and whom it shows.
        path: of the crop, relative to the root folder.
        medium: what tells media apart, None where the file has no such column.
        digest: equal for rows whose cells are all equal.
    """

    file: Path
    line: int
    template: int
    subject: str
    path: str
    medium: str | None
    digest: int

    @property
    def where(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"

    @property
    def medium_key(self) -> str:
        """Equal for images of one medium. Without a column that says so, no two images are."""
        return self.where if self.medium is None else f"medium {self.medium}"


def lines_of(path: Path, columns: int, what: str) -> Iterator[tuple[str, list[str]]]:
    """Yields `file:line` and the cells of every line that isn't blank; cells are separated by spaces.

    The first cell is an image path, and comes back checked. Raises BitfaceError where the file can't be read or a
    line hasn't `columns` cells (`what` says which).
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                cells = line.split()
                if not cells:
                    continue
                where = f"{path}:{number}"
                if len(cells) != columns:
                    raise BitfaceError(f"{where}: {_shown(line)} has {len(cells)} columns; expected {columns}: {what}")
                yield where, [relative(cells[0], where), *cells[1:]]
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BitfaceError(f"{path}: isn't UTF-8 text; use the file as it was published") from error


def whole(text: str, what: str, where: str) -> int:
    """A whole number from 0 to 2^31 - 1. Raises BitfaceError with the line where it is something else."""
    if not text.isascii() or not text.isdigit() or int(text[: _LONGEST + 1]) > _LARGEST:
        raise BitfaceError(f"{where}: {what} is {text[:40]!r}; expected a whole number from 0 to {_LARGEST}")
    return int(text)


def _shown(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 80 else text[:80] + "...")


def template_rows(path: Path, image: str) -> Iterator[TemplateRow]:
    """Yields the rows of a CSV file of templates; see `template_lists.read_template_files`, also for what is raised."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip().upper() for name in next(reader, [])]
            layout = _Layout.of(header, image, path)
            for cells in reader:
                where = f"{path}:{reader.line_num}"
                texts = [cell.strip() for cell in cells]
                if not any(texts):
                    continue
                if len(texts) != len(header):
                    raise BitfaceError(
                        f"{where}: {_shown(','.join(cells))} has {len(cells)} cells, the header {len(header)} columns"
                    )
                yield layout.row(path, reader.line_num, texts)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BitfaceError(f"{path}: isn't UTF-8 text; use the file as it was published") from error
    except csv.Error as error:
        raise BitfaceError(f"{path}:{reader.line_num}: not a CSV row ({error})") from error


@dataclass(frozen=True)
class _Layout:
    """Where the columns are, and how a crop's path is made of them: literal text and names of columns in turn."""

    at: dict[str, int]
    medium: int | None
    image: tuple[str, ...]

    @staticmethod
    def of(header: list[str], image: str, path: Path) -> "_Layout":
        at = {name: index for index, name in enumerate(header)}
        if len(at) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise BitfaceError(f"{path}: the header has the column '{twice}' twice; use the file as it was published")
        if "FILE" in at:
            at.setdefault("FILENAME", at["FILE"])
        for name in ("TEMPLATE_ID", "SUBJECT_ID", "FILENAME"):
            if name not in at:
                raise BitfaceError(
                    f"{path}: the header {_shown(','.join(header))} has no column {name}; expected "
                    "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,..."
                )
        # Braces split the text into literals (even places) and names of columns (odd ones).
        parts = re.split(r"\{([^{}]*)\}", image)
        for name in parts[1::2]:
            if name not in at and name != "STEM":
                near = nearest(name, [*at, "STEM"])
                raise UsageError(f"the crops' path '{image}' names {{{name}}}, which is no column of {path}{near}")
        return _Layout(at, next((at[name] for name in _MEDIA if name in at), None), tuple(parts))

    def row(self, path: Path, line: int, cells: list[str]) -> TemplateRow:
        where = f"{path}:{line}"
        subject = cells[self.at["SUBJECT_ID"]]
        if not subject or subject.lower() == "nan":
            raise BitfaceError(f"{where}: SUBJECT_ID is '{subject}'; every template must show somebody known")
        medium = None if self.medium is None else cells[self.medium]
        if medium == "":
            raise BitfaceError(f"{where}: the medium (MEDIA_ID or SIGHTING_ID) is empty; use the file as published")
        file = relative(cells[self.at["FILENAME"]], where)
        values = {name: cells[index] for name, index in self.at.items()}
        values |= {"FILENAME": file, "STEM": str(PurePosixPath(file).with_suffix(""))}
        crop = "".join(values[part] if index % 2 else part for index, part in enumerate(self.image))
        return TemplateRow(
            file=path,
            line=line,
            template=whole(cells[self.at["TEMPLATE_ID"]], "TEMPLATE_ID", where),
            subject=subject,
            path=relative(crop, where),
            medium=medium,
            digest=hash(tuple(cells)),
        )


def number_columns(path: Path, columns: tuple[int, ...], what: str) -> list[NDArray[np.int32]]:
    """The columns of a file of whole numbers without a header, separated by spaces, tabs or commas.

    Blank lines are skipped. The file is read in blocks, so that it takes no memory beside the result.

    Args:
        columns: how many there may be; the first line decides.
        what: what they are.

    Raises:
        BitfaceError: the file can't be read or is empty, or a line is anything else (it is named and shown).
    """
    parts = []
    try:
        with open(path, "rb") as file:
            begin = len(_MARK) if file.read(len(_MARK)) == _MARK else 0
            file.seek(begin)
            width = len(_cells(next((line for line in file if line.strip()), b"")))
            if width == 0:
                raise BitfaceError(f"{path}: is empty; expected rows of {what}")
            file.seek(begin)
            rest = b""
            while block := file.read(_BLOCK):
                text, _, rest = (rest + block).rpartition(b"\n")
                parts.append(_numbers(text, width))
            parts.append(_numbers(rest, width))
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror or error})") from error
    if width not in columns or any(part is None for part in parts):
        raise _blame(path, width if width in columns else columns[-1], what)
    rows = np.concatenate([part for part in parts if part is not None])
    return [rows[:, column].copy() for column in range(width)]


def _numbers(text: bytes, width: int) -> NDArray[np.int32] | None:
    """The numbers of whole lines, `[lines, width]`; None where some line isn't made of `width` of them."""
    codes = np.frombuffer(text, dtype=np.uint8)
    kind = _KINDS[codes]
    digit = kind == _DIGIT
    begins = np.flatnonzero(np.diff(digit, prepend=False) & digit)
    lines = np.append(np.flatnonzero(kind == _NEWLINE), len(codes))
    cells = np.diff(np.searchsorted(begins, lines), prepend=0)
    commas = np.diff(np.searchsorted(np.flatnonzero(codes == ord(",")), lines), prepend=0)
    whole_lines = ((cells == 0) | (cells == width)) & ((commas == 0) | (commas == width - 1))
    if (kind == _OTHER).any() or not whole_lines.all():
        return None
    # A number too large for 64 bits comes back as the largest that isn't.
    values = np.fromstring(text.replace(b",", b" ").decode("ascii"), dtype=np.int64, sep=" ")
    return None if (values > _LARGEST).any() else values.astype(np.int32).reshape(-1, width)


def _blame(path: Path, width: int, what: str) -> BitfaceError:
    """The error about the first line that isn't as it should be."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if _numbers(line.removeprefix(_MARK).rstrip(b"\n"), width) is None:
                text = _shown(line[:200].decode("ascii", "replace"))
                return BitfaceError(f"{path}:{number}: {text} isn't {width} whole numbers: {what}")
    return BitfaceError(f"{path}: changed while it was read; read it again")


def line_of(path: Path, row: int) -> str:
    """`file:line: content` of a row of a file that `number_columns` has read, counted from 0."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            row -= bool(line.strip())
            if row < 0:
                return f"{path}:{number}: {_shown(line.decode('ascii', 'replace'))}"
    return str(path)


def _cells(line: bytes) -> list[bytes]:
    return line.replace(b",", b" ").split()

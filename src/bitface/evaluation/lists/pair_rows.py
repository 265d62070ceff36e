"""What the readers of pair lists share: rows with the place they came from, text files, paths and images."""

import os
from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from bitface.data.faces import EXTENSIONS
from bitface.errors import BitfaceError

_HEAD = 1 << 16


class PairRow(NamedTuple):
    """One pair of a list.

    Attributes:
        a, b: the two images, relative to the root, with forward slashes.
        same: genuine or impostor.
        fold: its label, whole numbers in order of their value; None in every row where the list has no folds.
        where: file and line, for messages.
        people: whom the two show, where the list says so otherwise than by folders.
    """

    a: str
    b: str
    same: bool
    fold: str | None
    where: str
    people: tuple[str, str] | None = None


def read_text(path: Path) -> str:
    """The text of a list, with the ends of lines that it has.

    Raises:
        BitfaceError: it can't be read, or isn't UTF-8 (found early, should the file be a large binary one).
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            getincrementaldecoder("utf-8")().decode(head)
            return (head + file.read()).decode("utf-8-sig")
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BitfaceError(f"{path}: isn't UTF-8 text; save it as UTF-8") from error


def text_lines(path: Path, text: str) -> list[tuple[str, list[str]]]:
    """The lines that aren't blank: file and line, for messages, and the words, parted by tabs, or else by spaces."""
    lines = ((f"{path}:{number}", line.strip()) for number, line in enumerate(StringIO(text, newline=None), start=1))
    return [
        (where, [word.strip() for word in line.split("\t" if "\t" in line else None)]) for where, line in lines if line
    ]


def whole(word: str) -> int | None:
    """The whole number that a word is, of at most nine digits; None for anything else."""
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else None


def relative(text: str, where: str) -> str:
    """The path with forward slashes. Lists from either family of systems are held to the rules of both.

    Raises:
        BitfaceError: it is empty, or leads out of the folder that it starts at.
    """
    if not text:
        raise BitfaceError(f"{where}: an image path is empty")
    windows, posix = PureWindowsPath(text), PurePosixPath(text.replace("\\", "/"))
    if windows.anchor or posix.is_absolute() or ".." in posix.parts or "\0" in text:
        raise BitfaceError(f"{where}: {text!r} leads out of the image folder; give paths relative to it")
    if not posix.parts:
        raise BitfaceError(f"{where}: {text!r} isn't an image path")
    return str(posix)


def two_images(row: PairRow) -> PairRow:
    """The row. Raises BitfaceError where both its images are the same one."""
    if row.a == row.b:
        raise BitfaceError(f"{row.where}: pairs {row.a} with itself; a pair needs two images")
    return row


def finder(root: Path) -> Callable[[Sequence[str]], str]:
    """A function that finds an image of a published list below `root`, where copies are kept in several ways.

    Published lists name the images of the release; whoever aligned them may have saved another type of file, or have
    left a folder out. The function takes the paths to try, most likely first, each first as it is and then with every
    other extension of an image, and returns the one that exists, or the first path where none does.
    """
    matches: dict[str, str] = {}

    def find(paths: Sequence[str]) -> str:
        if paths[0] not in matches:
            tries = [*paths, *(os.path.splitext(path)[0] + extension for path in paths for extension in EXTENSIONS)]
            matches[paths[0]] = next((path for path in tries if os.path.isfile(root / path)), paths[0])
        return matches[paths[0]]

    return find

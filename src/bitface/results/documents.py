"""The results that earlier commands left: read from folders and files, and told apart by what is in them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitface.errors import BitfaceError
from bitface.results.folder import check_files

QUANTIZATION, EVALUATION, BENCH = "quantization", "evaluation", "bench"
ANALYSIS, SENSITIVITY, SEARCH = "analysis", "sensitivity", "search"
PRUNING, DISTILLATION, COMPARISON, SUITE = "pruning", "distillation", "comparison", "suite"

# What each kind of result has and no other kind has all of.
_KEYS: dict[str, set[str]] = {
    QUANTIZATION: {"model", "bits", "tensors", "unquantized", "float_bytes", "agreement"},
    EVALUATION: {"accuracy", "tar", "counts", "fingerprint", "pairs"},
    BENCH: {"machine", "versions", "rows"},
    ANALYSIS: {"teacher", "student", "angles", "diagnosis"},
    SENSITIVITY: {"units", "correlations", "settings"},
    SEARCH: {"front", "uniform", "budget", "best"},
    PRUNING: {"pruning", "removed", "groups", "before", "after"},
    DISTILLATION: {"architecture", "before", "after", "training"},
    COMPARISON: {"rows", "ranked_by", "frontier", "equal"},
    SUITE: {"cells", "models", "fars"},
}
_MADE_BY = (
    "quantize, prune, distill, evaluate --json, evaluate --suite, compare, bench --json, analyse, sensitivity and "
    "search write what a report is made of"
)


@dataclass(frozen=True)
class Document:
    """A result.

    Attributes:
        path: where it was read.
        kind: one of the constants above.
        content: as the command wrote it.
    """

    path: Path
    kind: str
    content: dict[str, Any]


def read_runs(paths: Sequence[Path]) -> list[Document]:
    """Every result in the folders, and the files themselves; each once, in the order given.

    Other files of a folder, and folders in it, are left alone.

    Raises:
        BitfaceError: a path isn't there, a folder holds no result, or a file is none; or the files beside a result are
            another run's.
    """
    found: dict[Path, Document] = {}
    for path in paths:
        for document in _of_folder(path) if path.is_dir() else [_of_file(path)]:
            found.setdefault(document.path.resolve(), document)
    for document in found.values():
        check_files(document.path, document.content)
    return list(found.values())


@contextmanager
def reading(document: Document) -> Iterator[None]:
    """Turns what goes wrong with the content of a result into one line that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration) as error:
        raise BitfaceError(
            f"{document.path}: looks like the result of {_article(document.kind)} but can't be read as one; it was "
            "changed, or another version of bitface wrote it: make it again"
        ) from error


def _of_folder(folder: Path) -> list[Document]:
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            content = _content(path)
        except BitfaceError:
            continue
        if kind := _kind(content):
            found.append(Document(path, kind, content))
    if not found:
        inner = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.json")))
        hint = f"; name the folders in it instead, such as {folder / inner[0]}" if inner else ""
        raise BitfaceError(f"{folder}: holds no result that a report could show{hint} ({_MADE_BY})")
    return found


def _of_file(path: Path) -> Document:
    content = _content(path)
    if kind := _kind(content):
        return Document(path, kind, content)
    whose = "a result of bitface that a report can't show" if _ours(content) else "no result of bitface"
    raise BitfaceError(f"{path}: is {whose} ({_MADE_BY})")


def _content(path: Path) -> Any:
    """What a JSON file says; numbers that aren't finite count as missing."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror}); give a folder or a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise BitfaceError(f"{path}: isn't JSON; give a folder or a JSON file that bitface wrote") from error


def _kind(content: Any) -> str | None:
    return next((kind for kind, keys in _KEYS.items() if isinstance(content, dict) and keys <= set(content)), None)


def _ours(content: Any) -> bool:
    return isinstance(content, dict) and "bitface" in content


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"

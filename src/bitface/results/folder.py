"""A folder of results: its files appear together or not at all, say whose they are, and aren't written over unasked."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitface import artifact, ranks
from bitface.errors import BitfaceError, flag, option
from bitface.files import same_file, sha256_of, sync, sync_all, write_json
from bitface.results.base import StoredResult
from bitface.results.first_version import kind_of
from bitface.results.locks import holding

RESULT, CHECKPOINT = "result.json", "checkpoint.safetensors"
_UNFINISHED = ".unfinished."
# In such a folder, once its files have begun to move: the result that they take the place of, for the files it lists.
_EARLIER = ".earlier.json"
# Where a result says which run it is of → the word before it in a message.
_TOLD = {
    ("model", "name"): "", ("title",): "", ("architecture",): "student ", ("backbone",): "backbone ",
    ("bits",): "bits ", ("budget", "word"): "budget ", ("seed",): "seed ", ("settings", "seed"): "seed ",
    ("created",): "made ",
}  # fmt: skip


class Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now


class staging:
    """A folder whose files move to `out` when the block ends well, in the place of an earlier result's.

    Whoever uses it holds `out` (see `locks`). The earlier result goes first, then its files, then the new files come,
    and their result last: whenever the process ends, `out` never holds files of two results beside one of them. What
    else lies in `out` stays; where one of its files is in the way, nothing moves.

    Args:
        result: the name of the file that `write_result` writes.
    """

    def __init__(self, out: Path, result: str = RESULT) -> None:
        self.out, self.result = out, result

    def __enter__(self) -> Path:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.out))
        except OSError as error:
            raise BitfaceError(f"{self.out}: can't be written ({error.strerror}); choose another folder") from error
        return self.folder

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                sync_all(self.folder)
                self._move()
                sync(self.out)
                _clear(self.out)  # not before: what others left may say which files are ours
            except OSError as error:
                raise BitfaceError(
                    f"{self.out}: can't be written ({error.strerror}); the new files are in {self.folder}"
                ) from error
        shutil.rmtree(self.folder, ignore_errors=True)

    def _move(self) -> None:
        files = sorted(file.name for file in self.folder.iterdir() if file.name != self.result)
        listed = _files(_content(self.out / self.result))
        old = {*files, *listed}
        for name in [*old, self.result]:
            # A folder goes only where it is, byte for byte, the one that the earlier result was written with.
            if (self.out / name).is_dir() and listed.get(name) != _digest(self.out / name):
                raise IsADirectoryError(errno.EISDIR, f"{name} is a folder")
        if foreign := _foreign(self.out, files, self.result):
            raise FileExistsError(errno.EEXIST, f"{foreign} is there, and no result lists it: move it")
        (self.folder / _EARLIER).touch()
        if (self.out / self.result).exists():
            (self.out / self.result).replace(self.folder / _EARLIER)
        sync(self.out)
        # Against the order in which they come: a model is never there without the codes of its faces.
        for name in sorted(old, reverse=True):
            if (self.out / name).is_dir():
                shutil.rmtree(self.out / name)
            else:
                (self.out / name).unlink(missing_ok=True)
        for name in [*files, self.result]:
            (self.folder / name).replace(self.out / name)


def write_result(folder: Path, result: StoredResult, name: str = RESULT) -> dict[str, Any]:
    """Writes a result into the folder of `staging`, after all files that belong to it; gives the content of its file.

    Adds `files`, name → SHA-256 of each; of an artifact the fingerprint of its network, which `calibrate` doesn't
    change, and of a folder the hash of its files' names and hashes.
    """
    content = {**result.to_json(), "files": {file.name: _digest(file) for file in sorted(folder.iterdir())}}
    write_json(folder / name, content)
    return content


def check_files(path: Path, content: Mapping[str, Any]) -> None:
    """Makes sure that the files beside a result are those that it was written with.

    Files that aren't there don't count, nor do pages, which `bitface report` may replace. A result of bitface 0.1.0,
    which doesn't say what its files were, is taken as it is.

    Args:
        path: of the result; content: what it says.

    Raises:
        BitfaceError: a file is another one (all such are named), or an artifact is damaged.
    """
    others = []
    for name, digest in _files(content).items():
        file = path.with_name(name)
        if file.suffix != ".html" and file.exists() and _digest(file) != digest:
            others.append(name)
    if others:
        verb = "isn't the file" if len(others) == 1 else "aren't the files"
        raise BitfaceError(
            f"{path}: {', '.join(others)} beside it {verb} that it was written with, so the folder mixes two runs; "
            "make it again"
        )


def check_beside(model: Path) -> None:
    """As `check_files`, for a model that lies beside the result it was made with, if it does."""
    path = model.with_name(RESULT)
    content = _content(path)
    if model.name in _files(content):
        check_files(path, content)


def is_finished(out: Path) -> bool:
    """Whether a result is there, and no training that goes on."""
    return (out / RESULT).is_file() and not (out / CHECKPOINT).exists()


def finished(out: Path, command: str) -> bool:
    """As `is_finished`, of a step that `command` leaves out then: what a process left goes that was killed at its end.

    Raises:
        BitfaceError: another command holds the folder.
    """
    if not is_finished(out):
        return False
    with holding(out, command):
        if ranks.is_first():
            _clear(out)
    return True


def check_free(
    out: Path,
    force: bool,
    result: str = RESULT,
    checkpoint: Path | None = None,
    resume: bool = False,
    files: Sequence[str] = (),
    reads: Sequence[Path] = (),
) -> None:
    """Makes sure that a command may write its result into a folder; the command holds it (see `locks`).

    Args:
        force: an earlier result may be written over.
        checkpoint: where an unfinished training would be; `resume`: it goes on.
        files: what will be written beside the result, as far as it is known.
        reads: what the command needs, and mustn't replace or remove.

    Raises:
        BitfaceError: there is a finished result (what it is of is named), an unfinished training, a file that bitface
            didn't write, or one that is read.
    """
    if not ranks.is_first():  # the first may have begun to write
        return
    unfinished = checkpoint is not None and checkpoint.exists()
    if not (force or (unfinished and resume)):
        _check_empty(out, result, unfinished, resume)
    check_foreign(out, files, result)
    for name in {*files, *_files(_content(out / result))}:
        if any(same_file(out / name, path) for path in reads):
            raise BitfaceError(
                f"{out / name}: is read, and the new result would take its place; choose another {option('out')}"
            )


def check_foreign(out: Path, files: Sequence[str], result: str = RESULT, ours: bool = False) -> None:
    """Makes sure that a command puts none of its files in the place of one that bitface didn't write.

    Args:
        files: that it will write; `ours`: an earlier run has written them, though no result lists them.

    Raises:
        BitfaceError: such a file is there (it is named).
    """
    if not ours and ranks.is_first() and (foreign := _foreign(out, files, result)):
        raise BitfaceError(
            f"{out / foreign}: is there, and no result of bitface lists it, so it would be lost; move it, or choose "
            f"another {option('out')}"
        )


def holds(out: Path, result: str, kind: str) -> bool:
    """Whether a folder holds a result of a kind."""
    return kind_of(_content(out / result)) == kind


def _foreign(out: Path, files: Sequence[str], result: str) -> str | None:
    """The first of these files that is there and that no result in the folder was written with.

    Results of bitface 0.1.0 don't list theirs: beside one of them all are.
    """
    content = _content(out / result)
    if kind_of(content) is not None and "files" not in content:
        return None
    begun = [place.parent for place in out.glob(f"{_UNFINISHED}*/{_EARLIER}")]
    listed = {name for place in (out, *begun) for path in place.glob("*.json") for name in _files(_content(path))}
    return next((name for name in files if name not in listed and os.path.lexists(out / name)), None)


def _check_empty(out: Path, result: str, unfinished: bool, resume: bool) -> None:
    if unfinished:
        raise BitfaceError(
            f"{out}: holds an unfinished training; go on with {flag('resume')}, or begin again with {flag('force')}"
        )
    if (out / result).exists():
        state = "is done and leaves nothing to go on with" if resume else "is there already"
        raise BitfaceError(
            f"{out / result}: {state} ({_told(_content(out / result))}); write over it with {flag('force')}, or "
            f"choose another {option('out')}"
        )


def _clear(out: Path) -> None:
    """Removes what a process left in a folder that was killed as it wrote there. The caller holds the folder."""
    for left in out.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)


def _told(content: Mapping[str, Any]) -> str:
    """What a result is of, in a few words."""
    words = []
    for keys, word in _TOLD.items():
        value: Any = content
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, str | int):
            words.append(f"{word}{value}")
    return ", ".join(words) or "of what, it doesn't say"


def _content(path: Path) -> dict[str, Any]:
    """What a result says; nothing where it isn't there or can't be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _files(content: Mapping[str, Any]) -> dict[str, str]:
    """The files that a result says it was written with; nothing outside its folder, whatever it says."""
    files = content.get("files")
    if not isinstance(files, dict):
        return {}
    return {name: str(digest) for name, digest in files.items() if name and name == Path(name).name != ".."}


def _digest(path: Path) -> str:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{sha256_of(file)} {file.relative_to(path).as_posix()}\n" for file in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    return artifact.read(path).network.fingerprint() if path.suffix == ".bitface" else sha256_of(path)

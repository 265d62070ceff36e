"""Paths among the options: none is empty, and what a command writes is nothing that it reads, nor written twice.

An option that is written has one of the callbacks below; whatever else may be a path counts as read.
"""

import inspect
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from typer.models import ArgumentInfo, ParameterInfo

from bitface.cli.console import STDOUT, expect_json, output
from bitface.errors import UsageError
from bitface.files import check_destination, same_file


@dataclass(frozen=True)
class Over:
    """In the annotation of an output: it may be the file of this parameter, which the command means to change."""

    name: str


@dataclass(frozen=True)
class Beside:
    """In the annotation of an output: where it ends in `of`, a file of its name and this ending is written, too."""

    of: str
    ending: str


class Words:
    """In the annotation of a text: it is no path, whatever it looks like."""


def to_folder(path: Path | None) -> Path | None:
    """The callback of an option that names a folder to write to."""
    if path in STDOUT:
        raise UsageError(f"--out names a folder, and '{path}' is none")
    return path


def to_output(path: Path | None) -> Path | None:
    """The callback of an option that names a file or a folder, whichever the command finds it to be."""
    if path in STDOUT:
        raise UsageError(
            "--out names a file: standard output also carries what a command says; only --json writes there"
        )
    return path


def to_file(path: Path | None) -> Path | None:
    """The callback of an option that names a file: what can't be written is refused before anything is computed."""
    to_output(path)
    if path is not None:
        check_destination(path)
    return path


def to_json(path: Path | None) -> Path | None:
    """The callback of `--json`, which writes over JSON alone: of whatever else is there, a slip would be the end."""
    # Standard output is for the JSON alone, whatever is printed.
    output.stderr = path in STDOUT
    if path is None or path in STDOUT:
        return path
    status = check_destination(path)
    if status and stat.S_ISREG(status.st_mode) and not _may_be_json(path):
        raise UsageError(f"--json {path}: is there and no JSON, and would be lost; choose another name, or remove it")
    expect_json(path)
    return path


FILES: tuple[Callable[..., Any], ...] = (to_output, to_file, to_json)
OUTPUTS: tuple[Callable[..., Any], ...] = (*FILES, to_folder)


@dataclass(frozen=True)
class _Given:
    """A path that a parameter names, and what the reader calls that parameter."""

    name: str
    label: str
    path: Path


def check_paths(command: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Refuses a call in which an output is a file that is read, or another output.

    Args:
        values: of the parameters, by their names.

    Raises:
        UsageError: there is such a path; nothing was read or written yet.
    """
    read: list[_Given] = []
    written: list[tuple[_Given, tuple[str, ...], bool]] = []
    for name, parameter in inspect.signature(command).parameters.items():
        _, *about = get_args(parameter.annotation) or (None,)
        info = next((one for one in about if isinstance(one, ParameterInfo)), None)
        given = [_Given(name, _label(name, info), path) for path in _paths(values.get(name))]
        if info is None or info.callback not in OUTPUTS:
            read += [] if any(isinstance(one, Words) for one in about) else given
            continue
        over = tuple(one.name for one in about if isinstance(one, Over))
        given = [one for one in given[:1] if one.path not in STDOUT]  # an output is one path as it stands
        written += [(one, over, info.callback in FILES) for one in given]
        for more in (one for one in about if isinstance(one, Beside)):
            written += [
                (_Given(name, one.label, one.path.with_suffix(more.ending)), over, True)
                for one in given
                if one.path.suffix == more.of
            ]
    for place, (one, over, is_file) in enumerate(written):
        others = [*(read if is_file else ()), *(other for other, _, _ in written[:place])]
        for other in others:
            if other.name not in over and same_file(one.path, other.path):
                raise UsageError(
                    f"{one.label} would write over {one.path}, which is {other.label} as well; choose another name"
                )


def check_given(arguments: Sequence[str]) -> None:
    """Refuses an empty argument, which as a path would be the current folder. Raises UsageError."""
    for before, word in zip(["bitface", *arguments], arguments, strict=False):
        option, equals, value = word.partition("=")
        if not word or (word.startswith("--") and equals and not value):
            where = f"{option} is" if word else f"the argument after {before} is"
            raise UsageError(f"{where} empty, as of a variable that isn't set; name something, the current folder as .")


def _label(name: str, info: ParameterInfo | None) -> str:
    """What a reader calls a parameter: `--out`, or `MODEL`."""
    if isinstance(info, ArgumentInfo):
        return info.metavar or name.upper()
    # In an annotation typer takes the first name for a default.
    words = [getattr(info, "default", None), *(getattr(info, "param_decls", None) or ())]
    return next((word for word in words if str(word).startswith("--")), f"--{name.replace('_', '-')}")


def _paths(value: Any) -> Iterator[Path]:
    """The paths that a value names: of a text, and of parts of words such as suite.yaml:NAME, rec:FOLDER and NAME=FILE,
    those where a file is, since most texts are no paths (`--target c --out c`).
    """
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, Path):
            yield one
        if isinstance(one, Path | str):
            text = str(one)
            ends = [end for mark in re.finditer("[:=]", text) for end in (text[: mark.start()], text[mark.end() :])]
            words = dict.fromkeys([text, *ends, *re.split("[:=]", text)])
            yield from (Path(word) for word in words if os.path.isfile(word))


def _may_be_json(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(1024).lstrip()[:1] in (b"", b"{", b"[")
    except OSError:
        return True  # who writes there says what is the matter

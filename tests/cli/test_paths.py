"""Paths among the options: what a command writes is nothing that it reads, nor written twice, and none is empty."""

import inspect
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.models import ArgumentInfo, OptionInfo

from bitface.cli import data, paths
from bitface.cli.app import app

from .conftest import Run
from .test_bad_input import ends_in_one_line

PREPROCESS = ("--preprocess", "rgb-127.5-128")
# Outputs that may be what is read: the command changes that file, and says so.
MEANT = {("calibrate", "out", "model")}
# Texts that are no paths.
TEXTS = {("report", "title"), ("calibrate", "data"), ("gallery", "remove")}


@dataclass(frozen=True)
class Parameter:
    """What a command can be given."""

    name: str
    kind: Any
    info: ArgumentInfo | OptionInfo
    is_required: bool

    @property
    def option(self) -> str:
        """How it is typed; nothing of an argument."""
        if isinstance(self.info, ArgumentInfo):
            return ""
        words = [self.info.default, *(self.info.param_decls or ())]  # typer takes the first name for a default
        return next((word for word in words if str(word).startswith("--")), f"--{self.name.replace('_', '-')}")

    @property
    def is_path(self) -> bool:
        """Whether it names one, or is a text that may."""
        kinds = {kind for one in (get_args(self.kind) or [self.kind]) for kind in (get_args(one) or [one])}
        return bool(kinds & {Path, str}) and getattr(self.info, "parser", None) is None


def parameters(command: Callable[..., Any]) -> list[Parameter]:
    result = []
    for one in inspect.signature(command).parameters.values():
        kind, *about = get_args(one.annotation)
        info = next(word for word in about if isinstance(word, ArgumentInfo | OptionInfo))
        result.append(Parameter(one.name, kind, info, one.default is inspect.Parameter.empty))
    return result


def commands() -> Iterator[tuple[tuple[str, ...], list[Parameter]]]:
    """Every command: its words, and what it can be given."""
    for group, before in ((app, ()), (data.app, ("data",))):
        for command in group.registered_commands:
            assert command.callback
            function = inspect.unwrap(command.callback)
            yield (*before, command.name or function.__name__), parameters(function)


ALL = [pytest.param(words, own, id=" ".join(words)) for words, own in commands()]


def call(own: list[Parameter], values: dict[str, Any]) -> list[str]:
    """The arguments that a command can't do without, and those of `values`."""
    named, placed = [], []
    for one in own:
        if one.name in values or one.is_required:
            value = str(values.get(one.name, f"absent-{one.name}" if one.is_path else 3))
            if one.option:
                named += [one.option, value]
            else:
                placed.append(value)
    return [*named, *placed]


@pytest.mark.parametrize(("words", "own"), ALL)
def test_every_output_says_that_it_is_one(words: tuple[str, ...], own: list[Parameter]) -> None:
    outputs = {one.name for one in own if one.info.callback in paths.OUTPUTS}
    # A packed set names its form before its folder, which must be new.
    assert outputs == {one.name for one in own if one.option in ("--out", "--json")} - (
        {"out"} if "pack" in words else set()
    )
    assert "json" in outputs


@pytest.mark.parametrize(("words", "own"), ALL)
def test_no_output_is_read_or_written_twice(
    words: tuple[str, ...], own: list[Parameter], tmp_path: Path, bitface: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("{}")
    os.link(file, link)
    asked = 0
    for one in own:
        if one.info.callback not in paths.FILES:
            continue
        for other in own:
            if (
                other is one
                or not other.is_path
                or {(words[-1], other.name), (words[-1], one.name, other.name)} & (TEXTS | MEANT)
            ):
                continue
            outcome = bitface(*words, *call(own, {one.name: file, other.name: link}))
            ends_in_one_line(outcome, 2, one.option, "would write over", "choose another name")
            asked += 1
    assert asked or words[-1] in ("assets", "cache")
    assert file.read_text() == "{}"


def test_an_output_is_no_part_of_a_word_that_is_read(tmp_path: Path, bitface: Run) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text("{}")
    for command in (
        ("evaluate", "absent", "--protocol", f"{suite}:IJB-C", "--json", suite),
        ("reproduce", "quantface", "--model", f"ResNet18={suite}", "--json", suite),
        ("embed", f"rec:{suite}", "--model", "absent", "--out", tmp_path / "v.npy", "--json", suite),
        ("embed", "absent", "--image-list", tmp_path / "v.list.csv", "--model", "absent", "--out", tmp_path / "v.npy"),
    ):
        ends_in_one_line(bitface(*command), 2, "would write over")


@pytest.mark.parametrize(("words", "own"), ALL)
def test_an_empty_word_is_no_path(
    words: tuple[str, ...], own: list[Parameter], tmp_path: Path, bitface: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a variable of a shell that isn't set; as a path it would be the current folder."""
    monkeypatch.chdir(tmp_path)
    for one in own:
        if one.is_path:
            ends_in_one_line(bitface(*words, *call(own, {one.name: ""})), 2, "is empty", one.option or "argument after")
            if one.option:
                ends_in_one_line(bitface(*words, f"{one.option}="), 2, f"{one.option} is empty")
    assert not list(tmp_path.iterdir())


def test_a_word_is_no_path_where_no_file_is(
    tmp_path: Path, net: Path, bitface: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = bitface("export", net, "--target", "ncnn", "--out", "ncnn")
    assert "would write over" not in run[2]
    assert run[0] == 0, run


def test_json_replaces_json_alone(tmp_path: Path, net: Path, bitface: Run) -> None:
    """Also of what no option names: a model that a suite names, say."""
    model = tmp_path / "model.bitface"
    model.write_bytes(b"precious")
    ends_in_one_line(bitface("inspect", net, "--json", model), 2, str(model), "no JSON")
    assert model.read_bytes() == b"precious"
    for text in ("", " \n", "{}", "[1]"):
        (tmp_path / "told").write_text(text)
        assert bitface("inspect", net, "--json", tmp_path / "told")[0] == 0
        assert json.loads((tmp_path / "told").read_text())["model"] == str(net)


def test_json_does_not_replace_what_the_command_has_just_written(tmp_path: Path, net: Path, bitface: Run) -> None:
    sheet = tmp_path / "faces.sheet.png"
    synth = ("synth", "none:2", "--model", net, *PREPROCESS, "--out", tmp_path / "faces")
    ends_in_one_line(bitface(*synth, "--json", sheet), 2, str(sheet), "written while the command ran")
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "faces" / "manifest.json").is_file()

"""The commands at the ends of pages are ones that the program knows, and quote what a path may hold."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from bitface.cli.app import app
from bitface.report import next_steps

HOSTILE = "a b'; rm -rf ~ --out x"
STEPS = [
    *next_steps.after_quantization(HOSTILE, Path("out/model.bitface")),
    next_steps.evaluation(Path(HOSTILE), Path("-x")),
    next_steps.latency([HOSTILE, Path("-b.onnx")], Path("out")),
    next_steps.quantization("net.onnx", Path(HOSTILE), "out/"),
    next_steps.quantization("net.onnx", None, "out/"),
    next_steps.search("net.onnx"),
    next_steps.paired(Path("a/model.bitface"), Path(HOSTILE)),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["command"].split()[1])
def test_the_program_knows_it(step: dict[str, str]) -> None:
    program, name, *words = shlex.split(step["command"])
    assert program == "bitface"
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {option for parameter in commands[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert not [word for word in words if word.startswith("-") and word not in known]
    assert "rm" not in words


def test_a_path_is_one_word() -> None:
    words = shlex.split(next_steps.trial(Path("model.bitface"), HOSTILE)["command"])
    assert words == ["bitface", "try", "model.bitface", "--float", HOSTILE]

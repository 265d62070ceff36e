"""Every option that a message, a help or an example names is one that the reader's command has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import bitface as package
from bitface.cli import app
from bitface.errors import on_command_line, option

from .conftest import Run
from .test_bad_input import ends_in_one_line

SOURCE = Path(package.__file__).parent
GROUP: Any = typer.main.get_command(app.app)
# What other programs are told: pip, xcode-select, converters of vendors, TensorBoard; and what options were called.
OTHERS = ("data/assets.py", "quant/kernels/native.py", "targets/rknn.py", "targets/tensorrt.py", "training/trackers.py")
FOREIGN = {"--nproc_per_node", "--help", *(old for names in app.RENAMED.values() for old in names)}


def texts(tree: ast.AST) -> Iterator[str]:
    """What is in quotes, an f-string as one, with {} for what is put in."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def takes(name: str) -> set[str]:
    return {f"--{word}" for word in app._options_of(GROUP, name)}


def commands_of(module: str) -> set[str]:
    names = {command.__name__.rstrip("_") for command in app.COMMANDS if command.__module__ == module}
    return names | ({"data"} if module == "bitface.cli.data" else set())


def test_options_in_texts() -> None:
    everywhere = set().union(*map(takes, GROUP.commands)) | {"--version"}
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE)
        if place.as_posix() in OTHERS:
            continue
        own = commands_of(".".join(("bitface", *place.with_suffix("").parts)))
        for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            for match in re.finditer(r"(?<![\w-])--[a-z][a-z0-9_-]+", text):
                # The command that was named last before it, else those of the file.
                named = [
                    word for word in re.findall(r"bitface ([a-z]+)", text[: match.start()]) if word in GROUP.commands
                ]
                known = takes(named[-1]) if named else set().union(*map(takes, own)) if own else everywhere
                assert match.group() in known | FOREIGN, f"{place}: {text}"


@pytest.mark.parametrize("name", ["prune", "distill", "run", "quantize"])
def test_trainings_take_a_batch(name: str) -> None:
    assert "--batch" in takes(name)


@pytest.mark.parametrize(("name", "words"), [("quantize", "--preprocess"), ("compare", "'preprocess'")])
def test_what_a_command_lacks_is_called_as_its_file_calls_it(name: str, words: str) -> None:
    with on_command_line(app._options_of(GROUP, name)):
        assert option("preprocess") == words


def test_too_few_faces_for_a_batch(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    command = (
        "prune",
        net,
        "--ratio",
        0.3,
        "--images",
        crops,
        "--preprocess",
        "rgb-127.5-128",
        "--out",
        tmp_path / "out",
    )
    ends_in_one_line(bitface(*command, "--batch", 4096), 2, "'batch' is 4096", "give more faces or a smaller --batch")

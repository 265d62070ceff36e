"""Every code block of the documents: commands and options that exist, code that is code; and what runs, runs.

A block isn't run where the line before it says `<!-- not run: reason -->`, or the page says it of all of them,
`<!-- blocks not run: reason -->`.
"""

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bitface.cli import main
from support.documents import PAGES, ROOT, Block, blocks, calls, check_call, lines_of
from support.reader import enter_world, follow, is_answer, make_world

BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.language == "sh"]
RUN = [
    page for page in PAGES if any(block.reason is None and block.language in ("sh", "python") for block in blocks(page))
]


def name_of(value: Any) -> str:
    return value.name if isinstance(value, Block) else str(value.relative_to(ROOT))


@pytest.mark.parametrize("block", SHELL, ids=name_of)
def test_commands_and_options_exist(block: Block) -> None:
    for line in lines_of(block.code):
        for words in calls(line):
            try:
                check_call(words)
            except Exception as error:
                raise AssertionError(f"{line}: {error}") from error


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_sentences_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for span in re.findall(r"`(bitface [^`]+)`", text):
        span = re.sub(r"[\[\]]|COMMAND.*", "", span.replace("\n", " ")).split("|")[0]
        for words in calls(span):
            if words:
                check_call(words, whole=False)


def test_other_blocks_can_be_read() -> None:
    for block in BLOCKS:
        if block.language == "python":
            ast.parse(block.code)
        elif block.language == "toml":
            tomllib.loads(block.code)
        elif block.language in ("yaml", "yml"):
            yaml.safe_load(block.code)


def test_every_block_that_is_not_run_says_why() -> None:
    assert not [block.name for block in BLOCKS if block.reason is not None and len(block.reason.split()) < 1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name_of)
@pytest.mark.filterwarnings("ignore")
def test_blocks_run(page: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page, as somebody would who follows it."""
    enter_world(world, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    names: dict[str, Any] = {"__name__": "__main__"}

    def python(code: str, where: str) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, where, "exec"), names)

    def shell(line: str, where: str) -> None:
        _run(line, where, monkeypatch)

    follow((block for block in blocks(page) if block.reason is None), tmp_path, shell, python)


def _run(line: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (words,) = list(calls(line)) or ([],)
    if not words or "|" in line:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run(["bash", "-euc", line], check=True, env=environment)
        return
    monkeypatch.setattr(sys, "argv", ["bitface", *words])
    code: Any = 0
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main()
        except SystemExit as ending:
            code = ending.code or 0
    assert is_answer(line, code, errors.getvalue()), f"{where}: {line}\n{said.getvalue()}\n{errors.getvalue()}"

"""Every code block of the documents: commands and options that exist, code that is code; and what runs, runs.

A block isn't run where the line before it says `<!-- not run: reason -->`, or the page says it of all of them,
`<!-- blocks not run: reason -->`.
"""

import ast
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image

from bitface import backbones
from bitface.cli import main
from bitface.graph import from_module, to_onnx
from support.documents import PAGES, ROOT, Block, blocks, calls, check_call, lines_of

# In four images each: enough for a batch of a training.
_PEOPLE = 24
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
    """What the documents' commands find: a network that says its preprocessing, crops of people, and pairs."""
    folder = tmp_path_factory.mktemp("world")
    torch.manual_seed(0)
    module = backbones.create("mobilefacenet:0.25", embedding_size=32).train()
    with torch.no_grad():
        module(torch.randn(16, 3, 112, 112))
    onnx.save(to_onnx(from_module(module).graph, metadata={"bitface.preprocess": "rgb-127.5-128"}), folder / "net.onnx")
    rng = np.random.default_rng(0)
    for person in range(_PEOPLE):
        base = rng.uniform(0, 255, (7, 7, 3))
        (folder / "crops" / f"p{person}").mkdir(parents=True)
        for shot in range(4):
            coarse = np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
            face = Image.fromarray(coarse).resize((112, 112), Image.Resampling.BICUBIC)
            face.save(folder / "crops" / f"p{person}" / f"{shot}.png")
    for name in ("images", "people"):
        (folder / name).symlink_to("crops")
    for name in ("a", "b"):
        Image.open(folder / "crops" / "p0" / f"{'ab'.index(name)}.png").save(folder / f"{name}.jpg", quality=95)
    lines = ["a,b,same,fold"]
    for index in range(60):
        person, other = rng.choice(_PEOPLE, 2, replace=False)
        first, second = rng.choice(4, 2, replace=False)
        lines.append(f"p{person}/{first}.png,p{person}/{second}.png,1,{index % 10}")
        lines.append(f"p{person}/{first}.png,p{other}/{second}.png,0,{index % 10}")
    (folder / "pairs.csv").write_text("\n".join(lines))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name_of)
@pytest.mark.filterwarnings("ignore")
def test_blocks_run(page: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page, as somebody would who follows it."""
    for path in world.iterdir():
        if path.is_file():  # a command may write over it
            shutil.copy(path, tmp_path)
        else:
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.reason is not None:
            continue
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.code, block.name, "exec"), names)
        elif block.language == "sh":
            for line in lines_of(block.code):
                _run(line, block.name, monkeypatch)


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
    # `verify` says by its code what it decided.
    allowed = (0, 1, 3) if words[0] == "verify" and "error:" not in errors.getvalue() else (0,)
    assert code in allowed, f"{where}: {line}\n{said.getvalue()}\n{errors.getvalue()}"

"""Somebody who follows a page of the documents: what its commands find, and its blocks in their order."""

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image

from bitface import backbones
from bitface.graph import from_module, to_onnx
from support.documents import Block, calls, lines_of

# In four images each: enough for a batch of a training.
PEOPLE = 24


def make_world(folder: Path) -> None:
    """What the documents' commands find: a network that says its preprocessing, crops of people, and pairs."""
    torch.manual_seed(0)
    module = backbones.create("mobilefacenet:0.25", embedding_size=32).train()
    with torch.no_grad():
        module(torch.randn(16, 3, 112, 112))
    onnx.save(to_onnx(from_module(module).graph, metadata={"bitface.preprocess": "rgb-127.5-128"}), folder / "net.onnx")
    rng = np.random.default_rng(0)
    for person in range(PEOPLE):
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
        person, other = rng.choice(PEOPLE, 2, replace=False)
        first, second = rng.choice(4, 2, replace=False)
        lines.append(f"p{person}/{first}.png,p{person}/{second}.png,1,{index % 10}")
        lines.append(f"p{person}/{first}.png,p{other}/{second}.png,0,{index % 10}")
    (folder / "pairs.csv").write_text("\n".join(lines))


def enter_world(world: Path, folder: Path, named: Callable[[str], bool] = bool) -> None:
    """What is named of a world, in a folder of one's own: files, which a command may write over, are copied."""
    for path in world.iterdir():
        if not named(path.name):
            continue
        if path.is_file():
            shutil.copy(path, folder)
        else:
            (folder / path.name).symlink_to(path.resolve())


def follow(
    blocks: Iterable[Block], folder: Path, shell: Callable[[str, str], object], python: Callable[[str, str], object]
) -> None:
    """Hands each line of the shell's blocks, and each of Python's blocks, to what runs it, with where it stands.

    A block of YAML that begins with a file's name, as a comment, is written to the folder as that file.
    """
    for block in blocks:
        if block.language == "yaml" and (name := re.match(r"# ([\w-]+\.yaml)\n", block.code)):
            (folder / name[1]).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            python(block.code, block.name)
        elif block.language == "sh":
            for line in lines_of(block.code):
                shell(line, block.name)


def is_answer(line: str, code: int, errors: str) -> bool:
    """Whether a line of shell did what it is there for; `verify` says by its exit code what it decided."""
    (words,) = list(calls(line)) or ([""],)
    return code in ((0, 1, 3) if words[:1] == ["verify"] and "error:" not in errors else (0,))

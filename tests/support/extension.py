"""Packages that aren't bitface's, as the pages of docs/extend show them: read, left as an installer does, and run."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from PIL import Image

from support.quantized import Mixed, faces, onnx_file

PAGES = Path(__file__).parents[2] / "docs" / "extend"
PREPROCESS = "rgb-127.5-127.5"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def install(folder: Path, code: str, project: str) -> Path:
    """A folder for the path: the module that the entry points of a pyproject.toml name, as `others-of-bitface` 1.0."""
    points = tomllib.loads(project)["project"]["entry-points"]
    (module,) = {value.partition(":")[0] for group in points.values() for value in group.values()}
    path = folder.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")
    about = folder / "others_of_bitface-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: others-of-bitface\nVersion: 1.0\n")
    lines = []
    for group, names in points.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in names.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def python(*arguments: object, site: Path | None = None, code: int = 0) -> str:
    """What another process prints and complains of, which finds the packages in `site` and ends with `code`."""
    path = [str(site)] * (site is not None) + [part for part in sys.path if part]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def bitface(*arguments: object, site: Path | None = None, code: int = 0) -> str:
    """What a command prints and complains of, in one line, however wide the terminal; see `python`."""
    return " ".join(python("-m", "bitface", *arguments, site=site, code=code).split())


def write_faces(folder: Path, count: int, size: int) -> Path:
    folder.mkdir(parents=True)
    for index, image in enumerate(faces(count, size)):
        Image.fromarray(image).save(folder / f"{index:02}.png")
    return folder


def write_example(folder: Path) -> Path:
    """What the pages' commands begin with: `net.onnx`, which reads 16 x 16 pixels, and 90 faces in `crops`."""
    onnx_file(Mixed(), 16, folder / "net.onnx")
    write_faces(folder / "crops", 90, 16)
    return folder

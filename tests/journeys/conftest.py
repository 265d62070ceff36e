"""Readers of the guides: each in a folder with nothing but what its guide names, and with the wheel's program."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from support.documents import ROOT, blocks
from support.reader import enter_world, follow, is_answer, make_world
from support.wheel import build_wheel, fresh_environment


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment with the wheel."""
    folder = tmp_path_factory.mktemp("fresh")
    return fresh_environment(folder / "environment", build_wheel(folder / "dist"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    return folder


class Reader:
    """Somebody who follows guides.

    Attributes:
        folder: where they do; world: where what the guides name lies.
    """

    def __init__(self, folder: Path, programs: Path, world: Path, cache: Path) -> None:
        self.folder, self.world = folder, world
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BITFACE_"))}
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**outside, "PATH": path, "BITFACE_CACHE": str(cache), "COLUMNS": "80"}
        self.said: list[str] = []

    def follows(
        self, guide: str, *, every: bool = False, instead: Mapping[str, str] | None = None, own: Sequence[str] = ()
    ) -> str:
        """Runs the blocks of a guide, line by line, and gives what was printed.

        Args:
            every: the blocks too that the page says take minutes, or things that a reader has.
            instead: parts of lines, or of Python's blocks, and what stands for them here, to be shorter; ""
                leaves a line out.
            own: what the reader has of their own, so that it doesn't come from the world.
        """
        page = ROOT / "docs" / "guides" / guide
        taken = [block for block in blocks(page) if every or block.reason is None]
        text = "\n".join(block.code for block in taken)
        enter_world(self.world, self.folder, lambda name: name in text and name not in own)

        def shorter(code: str) -> str:
            for part, other in (instead or {}).items():
                if part in code:
                    code = code.replace(part, other) if other else ""
            return code

        def shell(line: str, where: str) -> None:
            if line := shorter(line):
                self.runs(["bash", "-euc", line], line, where)

        self.said = []
        follow(taken, self.folder, shell, lambda code, where: self.runs(["python", "-c", shorter(code)], "", where))
        return "\n".join(self.said)

    def runs(self, command: Sequence[str], line: str = "", where: str = "") -> str:
        """One command in the reader's folder, which has to do what it is there for."""
        ended = subprocess.run(
            ["/usr/bin/env", *command], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert is_answer(line, ended.returncode, ended.stderr), (
            f"{where}: {line or command}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        )
        self.said.append(" ".join(f"{ended.stdout}\n{ended.stderr}".split()))
        return ended.stdout


@pytest.fixture
def reader(tmp_path: Path, programs: Path, world: Path) -> Reader:
    """In an empty folder, with an empty cache."""
    (tmp_path / "desk").mkdir()
    return Reader(tmp_path / "desk", programs, world, tmp_path / "cache")


@pytest.fixture
def assets(reader: Reader, asset: Callable[[str], Path]) -> None:
    """The default assets lie in the reader's cache, as if they had been fetched."""
    cache = Path(reader.environment["BITFACE_CACHE"])
    cache.mkdir(exist_ok=True)
    for name in ("sface", "yunet", "dcgan"):
        (cache / asset(name).name).symlink_to(asset(name))

"""The code blocks of the documents, and the small world in which they run."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from bitface.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)
_NOT_RUN_PAGE = re.compile(r"^<!-- blocks not run: (.*?) -->$", re.M)


@dataclass(frozen=True)
class Block:
    """A code block: `line` of the page where it begins; `reason`: why it isn't run, None: it is."""

    page: Path
    line: int
    language: str
    code: str
    reason: str | None

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page. One comment for all of them may say that they aren't run, and why."""
    text = page.read_text(encoding="utf-8")
    whole = _NOT_RUN_PAGE.search(text)
    return [
        Block(
            page, text[: match.start()].count("\n") + 1, match["language"], match["code"],
            match["reason"] or (whole[1] if whole else None),
        )
        for match in _BLOCK.finditer(text)
    ]  # fmt: skip


def lines_of(code: str) -> Iterator[str]:
    """The lines of a shell block, continued ones joined, without comments."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield line


def calls(line: str) -> Iterator[list[str]]:
    """The words after `bitface` of each call in a line of shell."""
    words = shlex.split(line, comments=True)
    while words:
        ends = [place for place, word in enumerate(words) if word in ("|", "&&", ";", ">", ">>")]
        end = ends[0] if ends else len(words)
        part, words = words[:end], words[end + 1 :]
        if part and (part[0] == "bitface" or ("-m" in part and "bitface" in part)):
            yield part[part.index("bitface") + 1 :]


def check_call(words: list[str], whole: bool = True) -> None:
    """Makes sure that a command of the program takes these words.

    Args:
        whole: nothing that is needed may be missing.

    Raises:
        Exception: it doesn't; ValueError, or what the command line raises.
    """
    command: Any = typer.main.get_command(app)
    context = typer.Context(command, info_name="bitface")
    whole = whole and not any("…" in word for word in words)
    words = [word for word in words if word != "…"]
    while words and hasattr(command, "commands"):
        name, *rest = words
        if name.startswith("-") and not rest:
            return
        if name not in command.commands:
            raise ValueError(f"there is no command '{name}'")
        command, words = command.commands[name], rest
        context = typer.Context(command, parent=context, info_name=name)
    if "--list" in words or "--help" in words:
        whole = False
    values, _, _ = command.make_parser(context).parse_args(args=list(words))
    for parameter in command.params:
        if whole and parameter.required and values.get(parameter.name) in (None, (), []):
            raise ValueError(f"'{parameter.name}' is missing")

"""The package that a page of `docs/extend/` describes, as an installer leaves it, and a Python that has it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs" / "extend"


def block(page: str, language: str) -> str:
    """A page's only block in a language."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    (content,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return content


def install(page: str, folder: Path) -> Path:
    """The folder, with the page's Python file and, beside it, the entry point that its TOML names."""
    ((group, points),) = tomllib.loads(block(page, "toml"))["project"]["entry-points"].items()
    (module,) = {value.partition(":")[0] for value in points.values()}
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / f"{module}.py").write_text(block(page, "python"), encoding="utf-8")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items()), ""]
    (about / "entry_points.txt").write_text("\n".join(lines))
    return folder


def python(*arguments: object, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs Python with what lies in `site` installed."""
    path = [str(site)] * (site is not None) + [part for part in sys.path if part]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    return subprocess.run([sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True)

"""What stands in the documents beside the code: links lead somewhere, and the version stands in one place."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import bitface
from support.documents import PAGES, ROOT


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    broken = []
    for link in links:
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target.parent == ROOT / "docs" / "reference":  # made from the code by `make docs`, which checks these links
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_on_the_site() -> None:
    nav = re.search(r"^nav:\n.*", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert nav
    named = set(re.findall(r"[\w/-]+\.md", nav[0])) - {"reference/commands.md", "reference/api.md"}
    assert named == {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "bitface.__version__"}
    source = (ROOT / "src" / "bitface" / "__init__.py").read_text(encoding="utf-8")
    # A literal: setuptools reads it without importing the package, and torch with it.
    assert f'__version__ = "{bitface.__version__}"' in source
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert bitface.__version__.split(".dev")[0] == newest[1]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert "version" not in citation
    assert citation["license"] == project["project"]["license"]


def test_files_that_the_glossary_names_are_there() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    names = re.findall(r"`([\w/]+\.py)`", text)
    assert names
    assert not [name for name in names if not (ROOT / "src" / "bitface" / name).is_file()]


def test_every_public_name_that_documents_use_is_there() -> None:
    used = {
        name
        for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        for name in re.findall(r"\bbf\.([A-Za-z_]\w*)", page.read_text(encoding="utf-8"))
    }
    assert {"quantize", "evaluate", "EnrollRequest"} <= used <= set(bitface.__all__)

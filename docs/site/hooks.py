"""What mkdocs asks while it builds the site: the generated pages, and links that leave docs/."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

HERE = Path(__file__).parent
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)\s]*|schemas[^)\s]*)\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of `reference`, which are made from the code."""
    sys.path.insert(0, str(HERE))  # mkdocs takes it off again after it has read this file
    import reference

    for name, text in reference.pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """A link to a file of the repository that isn't on the site is its name alone."""
    docs, here = Path(config["docs_dir"]), Path(page.file.src_uri).parent

    def plain(match: re.Match[str]) -> str:
        text, target = match[1], match[2].partition("#")[0]
        place = (docs / here / target).resolve()
        if place.is_relative_to(docs.resolve()) and not place.is_dir():
            return match[0]
        name = place.relative_to(docs.resolve().parent).as_posix()
        return text if text.strip("`") in (name, place.name) else f"{text} (`{name}`)"

    return _LINK.sub(plain, markdown)

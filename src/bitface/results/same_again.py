"""What two runs of one command with one seed write alike: everything but dates and durations, which are named here."""

import json
import re
from pathlib import Path
from typing import Any

from bitface.results.folder import CHECKPOINT

# Keys of results, wherever they stand.
VARYING_KEYS = frozenset({"created", "seconds", "images_per_second"})
# Of a page the date and the list of steps, of a card its line.
_PAGE = re.compile(r'<p class="created">.*?</p>|<div class="time">.*?</dl></div>', re.DOTALL)
_CARD = re.compile(r"^Made .* by bitface\.$", re.MULTILINE)


def lasting(path: Path) -> bytes:
    """The content of a file without what varies between runs: of results, pages, cards and states of a training.

    Any other file's content is as it is. What was measured in time (`bench`, `compare`, a budget of milliseconds)
    varies, too, and stays in.

    Raises:
        OSError, ValueError: the file can't be read, or is none of its kind.
    """
    content = path.read_bytes()
    if path.suffix == ".json":
        return json.dumps(_without(json.loads(content))).encode()
    if path.suffix == ".html":
        return _PAGE.sub("", content.decode("utf-8")).encode()
    if path.suffix == ".md":
        return _CARD.sub("", content.decode("utf-8")).encode()
    if path.name in ("training.safetensors", CHECKPOINT):
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        facts = {key: _without(json.loads(text)) for key, text in header.pop("__metadata__", {}).items()}
        return json.dumps([header, facts]).encode() + content[8 + length :]
    return content


def _without(content: Any) -> Any:
    if isinstance(content, dict):
        # Hashes of pages are those of their dates.
        kept = {key: value for key, value in content.items() if key not in VARYING_KEYS}
        return {key: _without(value) for key, value in kept.items() if not (key.endswith(".html") and _is_hash(value))}
    return [_without(value) for value in content] if isinstance(content, list) else content


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None

"""Warnings and notes of many results, each said once."""

from typing import Any


class Remarks:
    """Texts by kind, `warnings` and `notes`, and of whom each is true."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, dict[str, None]]] = {"warnings": {}, "notes": {}}

    def warn(self, text: str, name: str = "") -> None:
        self._found["warnings"].setdefault(text, {})[name] = None

    def note(self, text: str, name: str = "") -> None:
        self._found["notes"].setdefault(text, {})[name] = None

    def take(self, result: dict[str, Any], name: str = "") -> None:
        """Those that a command wrote into its result."""
        for kind, found in self._found.items():
            for text in result.get(kind) or ():
                found.setdefault(str(text), {})[name] = None

    def to_json(self) -> dict[str, list[str]]:
        """Each text once, with all of whom it is true in front."""
        return {
            kind: [": ".join(part for part in (", ".join(filter(None, names)), text) if part)
                   for text, names in found.items()]
            for kind, found in self._found.items()
        }  # fmt: skip

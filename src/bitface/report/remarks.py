"""Warnings and notes of many results, each said once."""

from collections.abc import Sequence


class Remarks:
    """Texts by kind, `warnings` and `notes`, and of whom each is true."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, dict[str, None]]] = {"warnings": {}, "notes": {}}

    def warn(self, text: str, name: str = "") -> None:
        self._names["warnings"].setdefault(text, {})[name] = None

    def note(self, text: str, name: str = "") -> None:
        self._names["notes"].setdefault(text, {})[name] = None

    def take(self, warnings: Sequence[str], notes: Sequence[str], name: str = "") -> None:
        """Those that a command wrote into its result."""
        for text in warnings:
            self.warn(text, name)
        for text in notes:
            self.note(text, name)

    def to_json(self) -> dict[str, list[str]]:
        """Each text once, with all of whom it is true in front."""
        return {
            kind: [": ".join(part for part in (", ".join(filter(None, names)), text) if part)
                   for text, names in texts.items()]
            for kind, texts in self._names.items()
        }  # fmt: skip

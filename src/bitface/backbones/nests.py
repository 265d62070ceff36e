"""Dictionaries in dictionaries, as checkpoints are: what lies in them, by the path that leads there."""

from collections.abc import Mapping
from typing import Any, TypeVar

Leaf = TypeVar("Leaf")

_DEEPEST = 32
_MOST = 200_000


def leaves(content: Any, kind: type[Leaf]) -> dict[str, Leaf]:
    """Everything of one kind in nested dictionaries, by its keys joined by dots; keys that are no words are passed by.

    Raises:
        ValueError: two paths read the same, or it is deeper or wider than checkpoints are.
    """
    result: dict[str, Leaf] = {}
    stack: list[tuple[str, Any, int]] = [("", content, 0)]
    steps = 0
    while stack:
        path, value, depth = stack.pop()
        steps += 1
        if isinstance(value, kind):
            if path in result:
                raise ValueError(f"holds {path!r} twice")
            result[path] = value
        elif isinstance(value, Mapping):
            if depth > _DEEPEST or steps + len(stack) + len(value) > _MOST:
                raise ValueError("has more dictionaries in dictionaries than a checkpoint")
            inner = [
                (f"{path}.{key}" if path else key, one, depth + 1) for key, one in value.items() if type(key) is str
            ]
            stack += reversed(inner)
    return result

"""From a name to a network."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from bitface.backbones.iresnet import iresnet18, iresnet34, iresnet50, iresnet100
from bitface.backbones.mobilefacenet import mobilefacenet
from bitface.backbones.mobilenetv2 import mobilenetv2
from bitface.backbones.resnet import resnet18
from bitface.errors import UsageError

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    builder.__name__: builder
    for builder in (mobilefacenet, iresnet18, iresnet34, iresnet50, iresnet100, resnet18, mobilenetv2)
}


def names() -> list[str]:
    """The names that `create` knows, smallest family first."""
    return list(_BUILDERS)


def create(name: str, embedding_size: int | None = None, **options: Any) -> nn.Module:
    """A freshly initialised network: faces `[N, 3, 112, 112]` → embeddings `[N, embedding_size]`.

    `name` is one of `names()`, with a width after a colon, by which channels are multiplied: `mobilefacenet:0.5`.
    Without `embedding_size` the network's own default holds. `options` are the network's own; all take
    `input_size` (112, or height and width). The output isn't normalised.

    Raises:
        UsageError: the name or an option is unknown (the nearest known one is named), or a value impossible.
    """
    base, colon, width = name.partition(":")
    builder = _BUILDERS.get(base)
    if builder is None:
        raise UsageError(f"unknown network '{base}'{_nearest(base, names())}")
    known = [option for option in inspect.signature(builder).parameters if option != "embedding_size"]
    if colon:
        if "width" in options:
            raise UsageError(f"'{name}' and width={options['width']}: give the width once")
        try:
            options["width"] = float(width)
        except ValueError:
            raise UsageError(f"'{name}': the width must be a number, as in {base}:0.5") from None
    for option in options:
        if option not in known:
            raise UsageError(f"{base} has no option '{option}'{_nearest(option, known)}")
    if embedding_size is not None:
        options["embedding_size"] = embedding_size
    return builder(**options)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0)
    return f": did you mean '{close[0]}'? There are {', '.join(known)}"

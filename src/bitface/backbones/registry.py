"""The networks by name, ours and other packages', and from a name to a network."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bitface.backbones.layouts import Layout
from bitface.errors import UsageError, nearest
from bitface.registry import Registry


@dataclass(frozen=True)
class Backbone:
    """What is known of a network beside its name.

    Attributes:
        builder: gives a freshly initialised one: faces `[N, 3, H, W]` → embeddings `[N, embedding_size]`, not
            normalised. Its arguments are the network's options, `embedding_size` and `input_size` (112, or height and
            width) among them; `width`, by which channels are multiplied, where `name:0.5` is to be possible.
        millions: of parameters at width 1, by which `names` are sorted.
        from_state: the network with the shapes of these weights, which needn't be loaded, or None where they belong to
            another one. KeyError, IndexError, ValueError and BitfaceError say that they are named like its own, but
            missing or misshapen. Its `spatial` is the last feature map's height and width. Networks of one family
            share the function. None: weights aren't recognised.
        layouts: names that other projects gave the weights, translated before `from_state` sees them.
    """

    builder: Callable[..., nn.Module]
    millions: float = math.inf
    from_state: Callable[[Mapping[str, torch.Tensor]], nn.Module | None] | None = None
    layouts: tuple[Layout, ...] = ()

    def recognise(self, state: Mapping[str, torch.Tensor]) -> tuple[nn.Module, dict[str, torch.Tensor]] | None:
        """The network that weights belong to, not yet allocated, and they under its own names; None: of another one.

        Raises:
            BitfaceError: two weights would get the same name; and see `from_state`.
        """
        if self.from_state is None:
            return None
        layout = next((one for one in self.layouts if one.fits(state)), None)
        own = layout.to_own(state) if layout else dict(state)
        # Nothing is allocated for what only claims to be a network: its shapes are compared first.
        with torch.device("meta"):
            model = self.from_state(own)
        return None if model is None else (model, own)


BACKBONES: Registry[Backbone] = Registry("network", "bitface.backbones", package="bitface.backbones")


def names() -> list[str]:
    """The names that `create` knows, smallest network first, and other packages' last."""
    return sorted(BACKBONES, key=lambda name: BACKBONES[name].millions)


def create(name: str, embedding_size: int | None = None, **options: Any) -> nn.Module:
    """A freshly initialised network: faces `[N, 3, 112, 112]` → embeddings `[N, embedding_size]`.

    `name` is one of `names()`, with a width after a colon, by which channels are multiplied: `mobilefacenet:0.5`; other
    options that are numbers may follow, as in `vit_t:0.5,depth=4`. Without `embedding_size` the network's own default
    holds. `options` are the network's own; all take `input_size` (112, or height and width). The output isn't
    normalised.

    Raises:
        UsageError: the name or an option is unknown (the nearest known one is named), or a value impossible.
    """
    base, colon, words = name.partition(":")
    if base not in BACKBONES:
        raise UsageError(f"unknown network '{base}'{_suggestion(base, names())}")
    builder = BACKBONES[base].builder
    option_names = [option for option in inspect.signature(builder).parameters if option != "embedding_size"]
    for word in words.split(",") if colon else ():
        option, _, number = word.rpartition("=")
        option = option or "width"
        if option in options:
            raise UsageError(f"'{name}' and {option}={options[option]}: give the {option} once")
        try:
            options[option] = float(number) if option == "width" or "." in number else int(number)
        except ValueError:
            raise UsageError(f"'{name}': the {option} must be a number, as in {base}:0.5") from None
    for option in options:
        if option not in option_names:
            raise UsageError(f"{base} has no option '{option}'{_suggestion(option, option_names)}")
    if embedding_size is not None:
        options["embedding_size"] = embedding_size
    return builder(**options)


def _suggestion(word: str, choices: list[str]) -> str:
    return f"{nearest(word, choices, cutoff=0)} (there are {', '.join(choices)})"

"""From a name to a loss, and from a recipe's losses to their sum."""

import inspect
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from torch import Generator

from bitface.errors import UsageError, nearest
from bitface.losses.base import Loss
from bitface.losses.total import Sum
from bitface.registry import Registry

LOSSES: Registry[type[Loss]] = Registry("loss", "bitface.losses", package="bitface.losses")

# What the training knows; all other parameters of a loss are options of the recipe.
_GIVEN = ("embedding_size", "classes", "generator")


def options_of(name: str) -> dict[str, Any]:
    """The options of a loss with their defaults. Raises UsageError for an unknown name."""
    described = LOSSES[name].Options or LOSSES[name]
    parameters = inspect.signature(described).parameters
    return {key: parameter.default for key, parameter in parameters.items() if key not in _GIVEN}


def build(
    name: str, embedding_size: int, classes: int = 0, *, generator: Generator | None = None, **options: Any
) -> Loss:
    """A loss by its name.

    Args:
        name: one of `LOSSES`.
        embedding_size: D.
        classes: C; 0 where nobody knows the identities.
        generator: where first class weights come from; None: torch's own.
        options: the loss's own.

    Raises:
        UsageError: the name or an option is unknown (the nearest one is named), a value is out of range, or the loss
            needs identities and there are none.
    """
    loss, names = LOSSES[name], options_of(name)
    for key in options:
        if key not in names:
            has = f"it has {', '.join(names)}" if names else "it has none"
            raise UsageError(f"{name} has no option '{key}'{nearest(key, names)} ({has})")
    _check_labels(name, loss, classes)
    arguments = dict(zip(_GIVEN, (embedding_size, classes, generator), strict=True))
    takes = inspect.signature(loss).parameters
    return loss(**{key: value for key, value in arguments.items() if key in takes}, **options)


def build_sum(
    losses: Mapping[str, Any] | Loss, embedding_size: int, classes: int = 0, *, generator: Generator | None = None
) -> Sum:
    """The sum of a recipe's losses.

    Args:
        losses: name → weight, or options with a `weight` (1 if left out) among them, or an object; or one object.
            Objects are copied, so that a second training doesn't begin where the first one ended.

    Raises:
        UsageError: as `build`; there is no loss, or a weight is out of range.
    """
    modules, weights = {}, {}
    for name, value in by_name(losses).items():
        if isinstance(value, Loss):
            _check_labels(name, value, classes)
            modules[name], weights[name] = deepcopy(value), 1.0
            continue
        options = dict(value) if isinstance(value, Mapping) else {"weight": value}
        weights[name] = options.pop("weight", 1.0)
        modules[name] = build(name, embedding_size, classes, generator=generator, **options)
    return Sum(modules, weights)


def by_name(losses: Mapping[str, Any] | Loss) -> dict[str, Any]:
    """Losses as a mapping, also where there is one object only."""
    return {losses.name: losses} if isinstance(losses, Loss) else dict(losses)


def to_json(losses: Mapping[str, Any] | Loss) -> dict[str, Any]:
    """Losses as a file can hold them: of an object its class and its plain attributes."""
    return {
        name: {"class": type(value).__name__, **value.to_json()} if isinstance(value, Loss) else value
        for name, value in by_name(losses).items()
    }


def _check_labels(name: str, loss: Loss | type[Loss], classes: int) -> None:
    if loss.needs_labels and classes < 1:
        raise UsageError(f"{name} needs labelled faces: give identities, or use a loss without them such as feature")

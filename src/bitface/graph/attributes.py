"""Modules and the plain values that rebuild them: the arguments of their constructors, under the same names.

An argument that is a frozen dataclass stands for its fields: they are stored, and kept by the module, one by one.
"""

import inspect
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Kind = TypeVar("Kind", bound=nn.Module)

# Stands for "no limit", as in ONNX; infinity can't be written in JSON.
UNBOUNDED = float(torch.finfo(torch.float32).max)

# Constructor arguments that don't change what a module computes in evaluation.
_IGNORED = {
    "padding_mode",
    "inplace",
    "device",
    "dtype",
    "momentum",
    "affine",
    "elementwise_affine",
    "track_running_stats",
    "return_indices",
    "init",
}


# A graph asks for both once for each of its nodes.
_DEFAULTS: dict[type[nn.Module], dict[str, Any]] = {}
_TOGETHER: dict[type[nn.Module], dict[str, Any]] = {}


def defaults(kind: type[nn.Module]) -> dict[str, Any]:
    """The names of the attributes of a kind of module, with their defaults (`inspect.Parameter.empty`: none)."""
    if kind not in _DEFAULTS:
        _DEFAULTS[kind] = _defaults(kind)
    return _DEFAULTS[kind]


def _defaults(kind: type[nn.Module]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if is_dataclass(parameter.default):
            result |= {one.name: getattr(parameter.default, one.name) for one in fields(parameter.default)}
        elif name not in _IGNORED and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            result[name] = parameter.default
    return result


def _together(kind: type[nn.Module]) -> dict[str, Any]:
    """The arguments that are dataclasses, with their defaults."""
    if kind not in _TOGETHER:
        parameters = inspect.signature(kind).parameters.items()
        _TOGETHER[kind] = {name: one.default for name, one in parameters if is_dataclass(one.default)}
    return _TOGETHER[kind]


def attributes(module: nn.Module) -> dict[str, Any]:
    """The values that rebuild a module, as plain JSON values (tensors aside); those of their defaults are left out."""
    result: dict[str, Any] = {}
    for name, default in defaults(type(module)).items():
        value = module.bias is not None if name == "bias" else getattr(module, name)
        if value != default:
            result[name] = list(value) if isinstance(value, tuple) else value
    return result


def construct(kind: type[Kind], **values: Any) -> Kind:
    """A module of plain values, without the cost, and the draw on the random generator, of initial weights.

    Raises:
        TypeError: a value is missing, or is none of the module's.
    """
    for name, default in _together(kind).items():
        names = {one.name for one in fields(default)} & set(values)
        values[name] = type(default)(**{one: values.pop(one) for one in names})
    module = kind.__new__(kind)
    if issubclass(kind, nn.Conv2d | nn.Linear):
        # Seen by the constructor in the place of the class's own; `nn.utils.skip_init` takes a hundred times as long.
        object.__setattr__(module, "reset_parameters", lambda: None)
    module.__init__(**values)  # type: ignore[misc]
    module.__dict__.pop("reset_parameters", None)
    return module


def tensor(value: Any) -> Tensor:
    """Numbers of any type as a float32 tensor of its own."""
    with np.errstate(over="ignore"):  # too large a float64 becomes infinity, which is refused by name later
        return torch.from_numpy(np.array(value, dtype=np.float32))


def fill(module: Kind, **values: Any) -> Kind:
    """Puts numbers into a module's parameters and buffers; None is left out."""
    for name, value in values.items():
        if value is not None:
            target = getattr(module, name)
            with torch.no_grad():
                target.copy_(tensor(value).reshape(target.shape))
    return module

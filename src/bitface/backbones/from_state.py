"""From weights to the network that they belong to."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from bitface.backbones.registry import BACKBONES
from bitface.backbones.weights import (
    describe,
    is_state_dict,
    load_state_dict_file,
    one_line,
    without_prefixes,
)
from bitface.errors import BitfaceError, UsageError


def from_state_dict(state: Mapping[str, torch.Tensor]) -> nn.Module:
    """The network that these weights belong to, recognised by keys and shapes, with them loaded strictly.

    Sizes, depth, width and activation are read off the weights; dropout, which they don't tell, is the
    network's default. The network is in eval mode and has its own float32 copy of the weights.

    Raises:
        BitfaceError: no known network, or weights are missing, left over, misshapen or not finite.
    """
    if not is_state_dict(state):
        raise BitfaceError(f"not a state dict ({describe(state)}); give a mapping from names to tensors")
    odd = next((key for key, tensor in state.items() if not _is_plain(tensor)), None)
    if odd is not None:
        raise BitfaceError(f"{odd!r} isn't a plain, filled tensor of real numbers; save the weights dense and in float")
    try:
        bare = without_prefixes(dict(state))
        answers = (backbone.recognise(bare) for backbone in BACKBONES.values())
        recognised = next((answer for answer in answers if answer is not None), None)
    except (KeyError, IndexError, ValueError, RuntimeError, ZeroDivisionError, UsageError) as error:
        raise BitfaceError(
            f"weights named like a known network that don't form one ({one_line(error)}); "
            "check that the file is complete"
        ) from error
    if recognised is None:
        first = ", ".join(map(repr, list(state)[:3]))
        foreign = ", ".join(layout.title for backbone in BACKBONES.values() for layout in backbone.layouts)
        raise BitfaceError(
            f"unknown network with keys {first}, ...; supported are this library's networks, InsightFace's "
            f"IResNet, {foreign}; export any other network to ONNX"
        )
    model, own = recognised
    expected = model.state_dict()
    for key, tensor in expected.items():
        if key.endswith(".num_batches_tracked"):
            own.setdefault(key, torch.zeros(tensor.shape, dtype=tensor.dtype))
    problem = _misfit(expected, own)
    if problem:
        raise BitfaceError(f"weights look like {type(model).__name__}, but {problem}")
    model.to_empty(device="cpu")
    model.load_state_dict(own, strict=True)
    result: nn.Module = model.eval()
    return result


def load(path: str | Path) -> nn.Module:
    """The network whose weights the file holds, in eval mode: `from_state_dict` of `load_state_dict_file`.

    Raises:
        BitfaceError: as these two do; the message begins with the file's name.
    """
    state = load_state_dict_file(path)
    try:
        return from_state_dict(state)
    except BitfaceError as error:
        raise BitfaceError(f"{path}: {error}") from error


def _is_plain(tensor: torch.Tensor) -> bool:
    return (
        tensor.numel() > 0
        and tensor.layout == torch.strided
        and tensor.device.type != "meta"
        and not tensor.is_quantized
        and not tensor.is_complex()
    )


def _misfit(expected: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str | None:
    """The first reason why the given weights aren't exactly the expected ones."""
    for key, tensor in expected.items():
        if key not in given:
            return f"{key!r} is missing; check that the file is complete"
        if given[key].shape != tensor.shape:
            return f"{key!r} has shape {list(given[key].shape)} instead of {list(tensor.shape)}"
        if tensor.is_floating_point() and not given[key].is_floating_point():
            return f"{key!r} holds integers, perhaps quantized weights without their scales; give those in float"
        if not torch.isfinite(given[key]).all():
            return f"{key!r} has values that aren't finite; train or export it again"
    extra = next((key for key in given if key not in expected), None)
    return None if extra is None else f"{extra!r} belongs to nothing in it; save the backbone's weights alone"

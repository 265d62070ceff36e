"""From weights to the network that they belong to, and what beside it was left out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bitface.backbones.head import input_size_of
from bitface.backbones.registry import BACKBONES
from bitface.backbones.weights import describe, is_state_dict, named_line, read_tensors
from bitface.errors import BitfaceError, UsageError

# Profilers count in buffers of these names, one for each module.
_COUNTERS = ("total_ops", "total_params")
_DEEPEST = 16
_AVERAGE = re.compile(r"ema|swa|averag|shadow", re.IGNORECASE)
# What a training calls the classes that it compares embeddings with.
_CLASSES = re.compile(r"head|kernel|class|margin|metric|loss|criterion|softmax|logit|prob|arc|cos|cent|^fc|^weight$")


@dataclass(frozen=True)
class Recognised:
    """A network of a checkpoint: under which prefix its weights lie there, and what there is beside them.

    Attributes:
        weights: under the network's own names.
        rest: keys, or whole parts, that aren't its own.
    """

    model: nn.Module
    prefix: str
    weights: dict[str, torch.Tensor]
    rest: tuple[str, ...]

    @property
    def numbers(self) -> int:
        return sum(tensor.numel() for tensor in self.weights.values())

    @property
    def note(self) -> str | None:
        """What was left out; None: nothing."""
        if not self.rest:
            return None
        where = f"the weights under '{self.prefix[:-1]}' are read" if self.prefix else "the backbone's weights are read"
        more = f" and {len(self.rest) - 6} more" if len(self.rest) > 6 else ""
        return f"{where}; left out: {', '.join(self.rest[:6])}{more}"


def from_state_dict(state: Mapping[str, torch.Tensor]) -> nn.Module:
    """The network that these weights belong to, recognised by keys and shapes, with them loaded strictly.

    Sizes, depth, width and activation are read off the weights; dropout, which they don't tell, is the
    network's default. The network is in eval mode and has its own float32 copy of the weights. They may lie under a
    prefix, beside others: see `recognised`.

    Raises:
        BitfaceError: no known network, or weights are missing, left over, misshapen or not finite.
    """
    if not is_state_dict(state):
        raise BitfaceError(f"not a state dict ({describe(state)}); give a mapping from names to tensors")
    return _loaded(recognised(state))


def load(path: str | Path) -> nn.Module:
    """The network whose weights the file holds, in eval mode: see `load_with_note`. Raises BitfaceError."""
    return load_with_note(path)[0]


def load_with_note(path: str | Path) -> tuple[nn.Module, str | None]:
    """The network whose weights the file holds, in eval mode, and what was left out of the file; None: nothing.

    Raises:
        BitfaceError: see `weights.read_tensors` and `recognised`; the message begins with the file's name.
    """
    path = Path(path)
    tensors = read_tensors(path)
    try:
        result = recognised(tensors)
        return _loaded(result), result.note
    except BitfaceError as error:
        raise BitfaceError(f"{path}: {error}") from error


def recognised(tensors: Mapping[str, torch.Tensor]) -> Recognised:
    """The network whose weights lie under some prefix of the keys, such as `state_dict.module.`.

    Of several networks the largest is taken; of several as large the averaged one, as trainings evaluate that.

    Raises:
        BitfaceError: no known network, or weights are missing, left over, misshapen or not finite; or there are
            several as large.
    """
    networks: list[Recognised] = []
    problems: list[tuple[int, BitfaceError]] = []
    for prefix, state in _prefixes(tensors).items():
        try:
            if result := _recognised(prefix, state):
                networks.append(result)
        except BitfaceError as error:
            problems.append((len(state), error))
    if not networks and problems:
        raise max(problems, key=lambda problem: problem[0])[1]
    if not networks:
        first = ", ".join(map(repr, list(tensors)[:3]))
        foreign = ", ".join(layout.title for backbone in BACKBONES.values() for layout in backbone.layouts)
        raise BitfaceError(
            f"unknown network with keys {first}, ...; supported are this library's networks, InsightFace's "
            f"IResNet, {foreign}; export any other network to ONNX"
        )
    network = _one_of(networks)
    beside = [_part(key, network.prefix) for key in tensors if not key.startswith(network.prefix)]
    return Recognised(network.model, network.prefix, network.weights, tuple(dict.fromkeys((*network.rest, *beside))))


def _one_of(networks: list[Recognised]) -> Recognised:
    largest = max(network.numbers for network in networks)
    several = [network for network in networks if network.numbers == largest]
    averages = [network for network in several if _AVERAGE.search(network.prefix)]
    several = averages or several
    if not all(_same(several[0].weights, network.weights) for network in several[1:]):
        places = ", ".join(f"'{network.prefix[:-1]}'" for network in several)
        raise BitfaceError(
            f"holds several networks as large as each other ({places}); save the weights of one of them in a file of "
            "their own"
        )
    return several[0]


def _same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def _prefixes(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The weights under every prefix of the keys, by it; the first is the empty one."""
    result: dict[str, dict[str, torch.Tensor]] = {"": {}}
    for key, tensor in tensors.items():
        place = 0
        for _ in range(_DEEPEST):
            result.setdefault(key[:place], {})[key[place:]] = tensor
            place = key.find(".", place) + 1
            if not place:
                break
    return result


def _part(key: str, prefix: str) -> str:
    """What a key beside the prefix is a part of: its words as long as they are the prefix's, and one more."""
    words, prefix_words = key.split("."), prefix.split(".")
    same = next((i for i, (a, b) in enumerate(zip(words, prefix_words, strict=False)) if a != b), 0)
    return ".".join(words[: same + 2 if len(words) > same + 1 and same else same + 1])


def _recognised(prefix: str, state: dict[str, torch.Tensor]) -> Recognised | None:
    """The network that weights belong to, up to counters and classes, which are left out; None: none that is known."""
    counters = [key for key in state if key.rpartition(".")[2] in _COUNTERS]
    state = {key: tensor for key, tensor in state.items() if key not in set(counters)}
    try:
        answers = (backbone.recognise(state) for backbone in BACKBONES.values())
        answer = next((one for one in answers if one is not None), None)
    except (KeyError, IndexError, ValueError, RuntimeError, ZeroDivisionError, UsageError) as error:
        raise BitfaceError(
            f"weights named like a known network that don't form one ({named_line(error)}); "
            "check that the file is complete"
        ) from error
    if answer is None:
        return None
    model, own = answer
    expected = model.state_dict()
    rest = _classes(model, set(own) - set(expected), own)
    own = {key: tensor for key, tensor in own.items() if key not in rest}
    for key, tensor in expected.items():
        if key.endswith(".num_batches_tracked"):
            own.setdefault(key, torch.zeros(tensor.shape, dtype=tensor.dtype))
    problem = _misfit(expected, own)
    if problem:
        raise BitfaceError(f"weights look like {type(model).__name__}, but {problem}")
    parts = [prefix + key for key in sorted(rest)] + (["the counters of a profiler"] if counters else [])
    return Recognised(model, prefix, own, tuple(parts))


def _classes(model: nn.Module, others: set[str], own: Mapping[str, torch.Tensor]) -> set[str]:
    """Of the weights that aren't a network's own, those of classes: parts beside its own with a matrix of embeddings.

    A training's margin loss compares embeddings with one vector for each person, which no embedding depends on.
    """
    parts: dict[str, set[str]] = {}
    for key in others:
        parts.setdefault(key.partition(".")[0], set()).add(key)
    own_parts = {key.partition(".")[0] for key in model.state_dict()}
    result: set[str] = set()
    for part, keys in parts.items():
        if part in own_parts or not _CLASSES.search(part.lower()) or any(own[key].ndim > 2 for key in keys):
            continue
        if any(own[key].ndim == 2 and _embedding_size(model) in own[key].shape for key in keys):
            result |= keys
    return result


def _embedding_size(model: nn.Module) -> int:
    with torch.no_grad():
        return int(model.eval()(torch.empty(1, 3, *input_size_of(model), device="meta")).shape[-1])


def _loaded(network: Recognised) -> nn.Module:
    network.model.to_empty(device="cpu")
    network.model.load_state_dict(network.weights, strict=True)
    return network.model.eval()


def _is_plain(tensor: torch.Tensor) -> bool:
    return (
        tensor.numel() > 0
        and tensor.layout == torch.strided
        and tensor.device.type != "meta"
        and not tensor.is_quantized
        and not tensor.is_complex()
        # A view may repeat a few numbers without end.
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def _misfit(expected: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The first reason why the given weights aren't exactly the expected ones."""
    for key, tensor in expected.items():
        if key not in tensors:
            return f"{key!r} is missing; check that the file is complete"
        if tensors[key].shape != tensor.shape:
            return f"{key!r} has shape {list(tensors[key].shape)} instead of {list(tensor.shape)}"
        if tensor.is_floating_point() and not tensors[key].is_floating_point():
            return f"{key!r} holds integers, perhaps quantized weights without their scales; give those in float"
        if not _is_plain(tensors[key]):
            return f"{key!r} isn't a plain, filled tensor of real numbers; save the weights dense and in float"
        if not torch.isfinite(tensors[key]).all():
            return f"{key!r} has values that aren't finite; train or export it again"
    extra = next((key for key in tensors if key not in expected), None)
    return None if extra is None else f"{extra!r} belongs to nothing in it; save the backbone's weights alone"

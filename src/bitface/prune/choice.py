"""Which channels leave, so that a share of the parameters goes with them."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.errors import UsageError
from bitface.prune.dependency import Group

# Places at which channel shares are tried: finer than any step of a layer.
_STEPS = 4096


@dataclass
class _Layer:
    """A layer's sides, and how many places of each go with one channel of a group: (group, places)."""

    module: nn.Module
    outs: list[tuple[int, int]] = field(default_factory=list)
    ins: list[tuple[int, int]] = field(default_factory=list)


class Sizes:
    """Counts the parameters of a graph for any numbers of channels, without pruning it."""

    def __init__(self, graph: GraphModule, groups: Sequence[Group]) -> None:
        self.total = sum(parameter.numel() for parameter in graph.parameters())
        self._channels = [group.channels for group in groups]
        self._layers: dict[str, _Layer] = {}
        for number, group in enumerate(groups):
            for part in group.parts:
                layer = self._layers.setdefault(part.layer, _Layer(part.module))
                (layer.outs if part.out else layer.ins).append((number, len(part.index) // group.channels))

    def removed(self, counts: Sequence[int]) -> float:
        """The share of all parameters that goes if so many channels of each group stay."""
        losses = [before - after for before, after in zip(self._channels, counts, strict=True)]
        return sum(self._gone(layer, losses) for layer in self._layers.values()) / self.total

    def per_channel(self) -> list[float]:
        """How many parameters go with one channel of each group, all others staying."""
        counts = []
        for number in range(len(self._channels)):
            single = [int(other == number) for other in range(len(self._channels))]
            counts.append(float(sum(self._gone(layer, single) for layer in self._layers.values())))
        return counts

    def _gone(self, layer: _Layer, losses: Sequence[int]) -> float:
        module = layer.module
        own = {id(parameter): parameter for parameter in module.parameters()}.values()
        outs, ins = (sum(places * losses[number] for number, places in side) for side in (layer.outs, layer.ins))
        if isinstance(module, nn.Conv2d | nn.Linear):
            depthwise = getattr(module, "groups", 1) > 1
            rows = len(module.weight)
            columns = module.weight.shape[1]
            # The library calls a depthwise convolution's channels now written, now read.
            left_rows = rows - (max(outs, ins) if depthwise else outs)
            left_columns = columns if depthwise else columns - ins
            weights = module.weight[0, 0].numel() * (rows * columns - left_rows * left_columns)
            return weights + (rows - left_rows if module.bias is not None else 0)
        # One number for each channel, or one for all (a PReLU).
        return sum(max(outs, ins) for parameter in own if parameter.numel() > 1)


def keep(
    sizes: Sizes, groups: Sequence[Group], scores: Sequence[Tensor], ratio: float, scope: str, round_to: int
) -> list[int]:
    """How many channels of each group stay.

    Numbers of channels are multiples of `round_to`, or all; the share of the parameters that goes is the one nearest to
    `ratio` that there is.

    Args:
        scores: of each channel, `[C]` each.
        scope: `uniform`: the same share of every group's channels; `global`: those of the lowest scores anywhere.

    Raises:
        UsageError: a layer would have to lose all its channels.
    """
    levels = [[*range(round_to, group.channels, round_to), group.channels] for group in groups]
    if scope == "global":
        ranked = torch.cat(list(scores)).sort().values

    def at(place: int) -> list[int]:
        if scope == "uniform":
            targets = [group.channels * (1 - place / _STEPS) for group in groups]
        else:
            limit = ranked[min(len(ranked) - 1, place * len(ranked) // _STEPS)]
            targets = [float((score > limit).sum()) if place else float(len(score)) for score in scores]
        return [min(level, key=lambda one: abs(one - want)) for level, want in zip(levels, targets, strict=True)]

    return _nearest(at, sizes, groups, ratio, round_to)


def _nearest(
    at: Callable[[int], list[int]], sizes: Sizes, groups: Sequence[Group], ratio: float, round_to: int
) -> list[int]:
    """The choice whose share is nearest, by bisection: shares only grow with the place."""
    most = sizes.removed(at(_STEPS))
    place = bisect_left(range(_STEPS + 1), ratio, key=lambda one: sizes.removed(at(one)))
    if place > _STEPS:
        smallest = min(groups, key=lambda group: group.channels)
        raise UsageError(
            f"a ratio of {ratio:g} would empty layers ('{smallest.name}' first); with {round_to} channels left in each "
            f"{most:.3f} is the most"
        )
    near = [at(one) for one in (max(0, place - 1), place)]
    return min(near, key=lambda counts: abs(sizes.removed(counts) - ratio))


def lowest(score: Tensor, count: int) -> list[int]:
    """The channels that leave: all but the `count` highest of a score `[C]`; of equal ones the later."""
    order = score.argsort(descending=True, stable=True)
    return sorted(int(channel) for channel in order[count:])

"""The whole of it: a network and a ratio in, a network with fewer channels out."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bitface.errors import BitfaceError, UsageError, nearest, option
from bitface.graph import Network, passes
from bitface.prune.choice import Sizes, keep, lowest
from bitface.prune.dependency import find_groups, take_out
from bitface.prune.importance import magnitude, taylor

IMPORTANCES = ("magnitude", "taylor")
SCOPES = ("global", "uniform")


@dataclass(frozen=True)
class Pruning:
    """How much of a network goes, and by which measure.

    Attributes:
        ratio: share of the parameters (BatchNorm folded, the embedding's layer among them), above 0 and below 1.
        importance: `magnitude` (see `importance.magnitude`) or `taylor` (`importance.taylor`).
        scope: `global`: the least important channels wherever they are (with `taylor` for each parameter that goes with
            them); `uniform`: the same share of each group.
        round_to: numbers of channels are multiples of it, as wide instructions like them.
        seed: of `taylor`'s directions.
    """

    ratio: float
    importance: str = "taylor"
    scope: str = "global"
    round_to: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.ratio, bool) or not isinstance(self.ratio, int | float) or not 0 < self.ratio < 1:
            raise UsageError(f"the ratio is {self.ratio!r}: use a share of the parameters above 0 and below 1")
        for key, words in (("importance", IMPORTANCES), ("scope", SCOPES)):
            value = getattr(self, key)
            if value not in words:
                raise UsageError(f"unknown {key} '{value}'{nearest(value, words)} (use {' or '.join(words)})")
        if not isinstance(self.round_to, int) or not 1 <= self.round_to <= 1024:
            raise UsageError(f"'round_to' is {self.round_to!r}: use a whole number from 1 to 1024")


@dataclass(frozen=True)
class PrunedGroup:
    """What became of channels that go together.

    Attributes:
        name: the layer that writes them first.
        layers: everything with weights that they go through.
        before, after: how many there were, and are.
    """

    name: str
    layers: tuple[str, ...]
    before: int
    after: int

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "layers": list(self.layers), "before": self.before, "after": self.after}


def prune(network: Network, pruning: Pruning, images: np.ndarray) -> tuple[Network, list[PrunedGroup]]:
    """The network with BatchNorm folded and fewer channels, not trained again; and what became of its groups.

    The embedding's size stays. `network` is left as it was.

    Args:
        images: faces that `taylor` looks at, uint8 RGB `[N, H, W, 3]`; magnitude looks at none.

    Raises:
        UsageError: the ratio would empty a layer.
        BitfaceError: torch-pruning isn't installed or can't follow the network, or the ratio is too small for any
            channels to go.
    """
    graph = passes.fold(network.graph)
    groups = find_groups(graph)
    if pruning.importance == "magnitude":
        scores = magnitude(groups)
    else:
        assert network.preprocess is not None
        scores = taylor(graph, groups, network.preprocess, images, pruning.seed)
    sizes = Sizes(graph, groups)
    if pruning.importance == "taylor" and pruning.scope == "global":
        # What is to go is parameters: the channels that move the embedding least for each of theirs.
        scores = [score / count for score, count in zip(scores, sizes.per_channel(), strict=True)]
    counts = keep(sizes, groups, scores, pruning.ratio, pruning.scope, pruning.round_to)
    outcome = [
        PrunedGroup(group.name, tuple(dict.fromkeys(part.layer for part in group.parts)), group.channels, count)
        for group, count in zip(groups, counts, strict=True)
    ]
    if all(one.before == one.after for one in outcome):
        raise BitfaceError(
            f"a ratio of {pruning.ratio:g} takes out no channels in steps of {pruning.round_to}; use a larger ratio "
            f"or a smaller {option('round-to')}"
        )
    removals = [lowest(score, count) for score, count in zip(scores, counts, strict=True)]
    return replace(network, graph=take_out(graph, groups, removals), metadata={}), outcome

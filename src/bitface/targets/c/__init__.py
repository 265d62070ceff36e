"""A network as C: one file for any machine, with the same bits on all of them.

In: a network with its integers, or in float; out: a C99 file that needs no library but libm, or embeddings that it
computed here. `docs/artifact.md` says the arithmetic. `kernels/` is written by hand and of no network; `writer` walks a
graph and gives calls of these kernels and tables of numbers; `memory` shares the scratch; `source` is the text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bitface.compiler import c_compiler
from bitface.targets.base import Holds, Target
from bitface.targets.c.engine import start, start_unread
from bitface.targets.c.usage import DEFAULT_NAME, usage
from bitface.targets.registry import TARGETS

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from bitface.graph import Network


def _emit(network: "Network", facts: Mapping[str, str], path: Path) -> None:
    from bitface.targets.c.emit import emit  # what writes C isn't needed to run it

    emit(network, facts, path)


def _simulate(graph: "GraphModule") -> "GraphModule":
    from bitface.targets.arithmetic import exact

    return exact(graph)


TARGETS.register("c")(
    Target(
        title="C",
        holds=Holds(
            weight_zero_points=False,
            operators=frozenset({"Conv", "Linear", "MaxPool"}),
            prelu="fused into the layer before it, on its sums",
        ),
        rounds="Nothing where all layers have integers; a layer that is left in float adds its products in another "
        "order.",
        emit=_emit,
        start=start,
        start_unread=start_unread,
        available=lambda: c_compiler() is not None,
        simulate=_simulate,
        pixels=True,
        channels_last=True,
        named=DEFAULT_NAME,
        usage=usage,
    )
)

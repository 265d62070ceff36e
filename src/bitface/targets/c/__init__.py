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
    from bitface.graph import Network


def _emit(network: "Network", facts: Mapping[str, str], path: Path) -> None:
    from bitface.targets.c.emit import emit  # what writes C isn't needed to run it

    emit(network, facts, path)


TARGETS.register("c")(
    Target(
        title="C",
        holds=Holds(
            weight_zero_points=False,
            operators=frozenset({"Conv", "Linear", "MaxPool"}),
            prelu="fused into the layer before it, on its sums",
        ),
        rounds="A layer multiplies its sums once, by its scales divided by the next one, where the simulation adds "
        "float32 products and divides; what is left is the order of float32 roundings.",
        emit=_emit,
        start=start,
        start_unread=start_unread,
        available=lambda: c_compiler() is not None,
        simulate=lambda graph: graph,
        pixels=True,
        channels_last=True,
        named=DEFAULT_NAME,
        usage=usage,
    )
)

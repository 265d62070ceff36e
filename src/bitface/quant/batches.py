"""Runs a graph over calibration faces while somebody watches."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

Progress = Callable[[int, int], None]
# The preprocessed calibration images `[B, 3, H, W]`, the same ones in the same order each time.
Batches = Callable[[], Iterator[Tensor]]


def run_watched(
    graph: GraphModule,
    modules: dict[str, nn.Module],
    watch: Callable[[str, Tensor], None],
    batches: Batches,
    count: int,
    progress: Progress | None = None,
) -> None:
    """One run over all images; `watch` is shown the output of each watched module, by the module's name here."""
    handles = [
        module.register_forward_hook(lambda _, __, value, name=name: watch(name, value))
        for name, module in modules.items()
    ]
    position = 0
    try:
        with torch.no_grad():
            for batch in batches():
                graph(batch)
                position += len(batch)
                if progress:
                    progress(position, count)
    finally:
        for handle in handles:
            handle.remove()

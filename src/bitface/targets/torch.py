"""torch: the graph itself in float, or its integers with exact sums, which every engine is held against."""

from pathlib import Path

import numpy as np
import torch

from bitface.graph import Network, load_network
from bitface.targets.arithmetic import exact
from bitface.targets.base import Holds, Run, Settings, Target
from bitface.targets.registry import TARGETS


def start(source: Network | Path, settings: Settings) -> Run:
    """A call computes on the thread that it comes from: torch's last digits depend on the number of threads, and a
    forked process has none of OpenMP's.
    """
    graph = exact((source if isinstance(source, Network) else load_network(source)).graph)

    def run(images: np.ndarray) -> np.ndarray:
        before = torch.get_num_threads()
        try:
            if before != 1:
                torch.set_num_threads(1)
            with torch.inference_mode():
                result: np.ndarray = graph(torch.from_numpy(images)).numpy()
                return result
        finally:
            if before != 1:
                torch.set_num_threads(before)

    return run


# A call has an overhead, and more of them at once than there are cores stop for one another: hence many images.
TARGETS.register("torch")(
    Target(
        title="torch (simulation)",
        holds=Holds(activation_bits=16, operators=frozenset()),
        start=start,
        images_at_once=16,
        own_threads=True,
        package="torch",
    )
)

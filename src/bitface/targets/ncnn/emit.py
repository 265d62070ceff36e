"""A network as an ncnn model."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from bitface.graph import Network
from bitface.graph.integer import INTEGER_LAYERS
from bitface.targets.ncnn.layers import FUSED
from bitface.targets.ncnn.operators import OPERATORS
from bitface.targets.ncnn.writer import Writer


def emit(network: Network, facts: Mapping[str, str], path: Path) -> None:
    """Writes both files into a folder; they have no place for facts.

    Raises:
        BitfaceError: ncnn has no layer for an operator of the network.
    """
    Writer(network.graph, OPERATORS, (nn.Conv2d, nn.Linear, *INTEGER_LAYERS), FUSED).write().save(path)

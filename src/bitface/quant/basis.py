"""Another basis for channels between layers, and matrices that give it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bitface.graph import passes


@dataclass(frozen=True, eq=False)
class Side:
    """Channels of a layer that get another basis.

    Attributes:
        channels: int64 `[groups, size]`: each group is turned by itself, by the same matrix.
        gives: they are what the layer makes; else what it reads.
    """

    layer: Node
    channels: Tensor
    gives: bool


def turn(graph: GraphModule, sides: Iterable[Side], matrix: Tensor) -> None:
    """Gives channels another basis, in place; `matrix`: orthogonal, float64 `[size, size]`."""
    with torch.no_grad():
        for side in sides:
            layer: Any = passes.module_of(graph, side.layer)
            own = [layer.weight.movedim(0 if side.gives else 1, 0)]
            own += [layer.bias] if side.gives and layer.bias is not None else []
            for values in own:  # views, so that the layer's own numbers change
                values[side.channels] = torch.einsum("ij,gj...->gi...", matrix, values[side.channels].double()).to(
                    values.dtype
                )


def hadamard(size: int) -> Tensor:
    """An orthogonal matrix whose entries are as equal as they can be, float64 `[size, size]`.

    For powers of two Sylvester's; else the product (Kronecker's) of one with the cosine transform of what is left.
    """
    odd = size
    while odd % 2 == 0:
        odd //= 2
    places = torch.arange(odd, dtype=torch.float64)
    result: Tensor = torch.cos(torch.pi / odd * (places + 0.5) * places[:, None]) * (2 / odd) ** 0.5
    result[0] /= 2**0.5
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / 2**0.5
    while len(result) < size:
        result = torch.kron(pair, result)
    return result

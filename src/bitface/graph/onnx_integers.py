"""What the operands of an ONNX file's nodes are: floats or integers of the image, or constants.

Between a QuantizeLinear and its DequantizeLinear a file computes in integers, the graph in the numbers that these
stand for. `Integers` keeps the two apart: few operators take them, and every other one is refused there. An image of
uint8 are such integers, too, until a file casts or dequantizes them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.fx import Node

# Where the value depends on the image a Node (floats) or Integers, otherwise a numpy array or None.
Value = Any


@dataclass(frozen=True)
class Integers:
    """Integers `q` of an image, held as the numbers `(q - zero_point) · scale` that they stand for: a Node, or
    `arranged` otherwise."""

    numbers: Any
    scale: float
    zero_point: int
    dtype: np.dtype[Any]

    @property
    def plain(self) -> bool:
        """Whether the integers are the numbers they stand for, as the pixels of an image are."""
        return (self.scale, self.zero_point) == (1, 0)

    def number(self, integer: float) -> float:
        return (integer - self.zero_point) * self.scale


# Why an operator doesn't take integers.
STILL_INTEGERS = "computes with the integers of a QuantizeLinear, or of the image, before they are floats"
IMAGE_VALUES = (Node, Integers)

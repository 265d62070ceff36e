"""What the operands of an ONNX file's nodes are: floats or integers of the image, or constants.

Between a QuantizeLinear and its DequantizeLinear a file computes in integers, the graph in the numbers that these
stand for. `Integers` keeps the two apart: few operators take them, and every other one is refused there.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.fx import Node

# Where the value depends on the image a Node (floats) or Integers, otherwise a numpy array or None.
Value = Any


@dataclass(frozen=True)
class Integers:
    """Integers `q` of an image, held as the numbers `(q - zero_point) · scale` that they stand for."""

    numbers: Node
    scale: float
    zero_point: int
    dtype: np.dtype[Any]

    def number(self, integer: float) -> float:
        return (integer - self.zero_point) * self.scale


IMAGE_VALUES = (Node, Integers)

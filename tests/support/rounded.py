"""What tests of rounding one tensor, or one block, at a time share."""

from bitface.quant import Calibration, LayerBits
from support.quantized import faces

FLOAT = LayerBits(32, 32)
LEARNING, HELD = faces(24, 16), faces(20, 16, seed=1)
# Equalization would move the tensors that are compared.
PLAIN = Calibration(bias_correction=False, equalization=False)
CORRECTED = Calibration(equalization=False)

# Imported when it is first used.

from .image_size import ASSUMED, ChooseSize, FreeSize
from .network import Network, from_module, load_network
from .onnx_reader import from_onnx
from .onnx_writer import to_onnx

__all__ = ["ASSUMED", "ChooseSize", "FreeSize", "Network", "from_module", "from_onnx", "load_network", "to_onnx"]

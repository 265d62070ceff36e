# The public API. What is imported here is `bitface.NAME`, and imported when it is first used.

from .api.faces import FaceSet, faces
from .api.networks import load_network
from .api.students import quantize, train
from .errors import BitfaceError, UsageError
from .graph import Network
from .losses import Loss
from .quant import BitPlan, Calibration
from .runtime import Embedder, load
from .runtime.quantized import QuantizedNetwork

__version__: str

__all__ = [
    "BitPlan",
    "BitfaceError",
    "Calibration",
    "Embedder",
    "FaceSet",
    "Loss",
    "Network",
    "QuantizedNetwork",
    "UsageError",
    "__version__",
    "faces",
    "load",
    "load_network",
    "quantize",
    "train",
]

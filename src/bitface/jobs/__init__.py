"""The commands as functions: files in, files and plain results out. Everything they do is done by the other rooms.

`quantize` makes an artifact and proves it, `evaluate` verifies a model on a pair list, `demo` shows the whole way on
the default assets.
"""

from bitface.jobs.evaluate import evaluate_model
from bitface.jobs.quantize import QuantizeRequest, quantize_model

__all__ = ["QuantizeRequest", "evaluate_model", "quantize_model"]

# Imported when it is first used.

from .evaluate import EvaluateRequest, evaluate_model
from .pretrain import PretrainRequest, pretrain
from .quantize import QuantizeRequest, quantize_model

__all__ = ["EvaluateRequest", "PretrainRequest", "QuantizeRequest", "evaluate_model", "pretrain", "quantize_model"]

"""The commands as functions: files in, files and plain results out. Everything they do is done by the other rooms.

There is a file for each command, named as the command. `float_student` is what `prune` and `distill` share;
`candidates` makes requests of the steps of `compare`; `suite` is `evaluate --suite`.
"""

from bitface.jobs.evaluate import EvaluateRequest, evaluate_model
from bitface.jobs.pretrain import PretrainRequest, pretrain
from bitface.jobs.quantize import QuantizeRequest, quantize_model

__all__ = ["EvaluateRequest", "PretrainRequest", "QuantizeRequest", "evaluate_model", "pretrain", "quantize_model"]

"""The commands as functions: files in, files and plain results out. Everything they do is done by the other rooms.

`quantize` makes an artifact, by calibration or by training, and proves it; `prune` and `distill` make smaller float
networks, and `compare` puts them all in one table; `pretrain` makes a teacher; `recipe` reads trainings from files;
`evaluate` verifies a model on a pair list, beside another one where asked; `suite` puts many models to many protocols;
`calibrate` finds thresholds and `verify` decides by them; `analyse` says what a student lost, where, and what to try
next; `report` puts whatever they measured on one page; `demo` shows the whole way on the default assets.
"""

from bitface.jobs.evaluate import EvaluateRequest, evaluate_model
from bitface.jobs.pretrain import PretrainRequest, pretrain
from bitface.jobs.quantize import QuantizeRequest, quantize_model

__all__ = ["EvaluateRequest", "PretrainRequest", "QuantizeRequest", "evaluate_model", "pretrain", "quantize_model"]

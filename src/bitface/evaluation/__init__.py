"""Protocols, from embeddings to results.

Embeddings of images and what a protocol's files say of them come in; figures with confidence intervals go out:
accuracy over folds, ROC, AUC, EER and TAR at given FARs over a list or over all pairs of its images, the same for
videos and templates, ranks in galleries with and without distractors. So do a comparison of two models, mixed
galleries, groups, decision thresholds, the agreement of a student with its teacher, and an alarm for degenerate
models. Every protocol has the interface of `protocol.FaceProtocol`. Everything works on numpy arrays; scores, and all
that is counted from them, have the same bits on every machine. Nothing here knows of pixels or networks.
"""

from bitface.evaluation.figures.curve import Roc, auc, eer, roc
from bitface.evaluation.figures.folds import FoldAccuracy, fold_accuracy
from bitface.evaluation.figures.health import diagnose
from bitface.evaluation.figures.intervals import Interval, wilson
from bitface.evaluation.figures.operating import FARS, ErrorRates, OperatingPoint, rates_at, tar_at_far
from bitface.evaluation.figures.paired import Agreement, McNemar, agreement, mcnemar
from bitface.evaluation.figures.results import Counts, ScoreSummary, VerificationResult
from bitface.evaluation.lists.pairs import PairList, identity_of, read_pairs
from bitface.evaluation.protocols.all_pairs import all_pairs, evaluate_all_pairs
from bitface.evaluation.protocols.verification import verify
from bitface.evaluation.scores.similarity import row_scores, unit_rows

__all__ = [
    "FARS",
    "Agreement",
    "Counts",
    "ErrorRates",
    "FoldAccuracy",
    "Interval",
    "McNemar",
    "OperatingPoint",
    "PairList",
    "Roc",
    "ScoreSummary",
    "VerificationResult",
    "agreement",
    "all_pairs",
    "auc",
    "diagnose",
    "eer",
    "evaluate_all_pairs",
    "fold_accuracy",
    "identity_of",
    "mcnemar",
    "rates_at",
    "read_pairs",
    "roc",
    "row_scores",
    "tar_at_far",
    "unit_rows",
    "verify",
    "wilson",
]

# Imported when it is first used.

from .figures.curve import Roc, auc, eer, roc
from .figures.folds import FoldAccuracy, fold_accuracy
from .figures.health import diagnose
from .figures.intervals import Interval, wilson
from .figures.operating import FARS, ErrorRates, OperatingPoint, rates_at, tar_at_far
from .figures.paired import Agreement, McNemar, agreement, mcnemar
from .figures.results import Counts, ScoreSummary, VerificationResult
from .lists.pairs import PairList, identity_of, read_pairs
from .protocols.all_pairs import all_pairs, evaluate_all_pairs
from .protocols.verification import verify
from .scores.similarity import row_scores, unit_rows

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

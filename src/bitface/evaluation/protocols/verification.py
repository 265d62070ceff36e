"""From embeddings and a list of pairs to a verification result."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Floats, flags, score_array
from bitface.evaluation.figures.folds import fold_accuracy
from bitface.evaluation.figures.health import diagnose
from bitface.evaluation.figures.operating import FARS, check_fars
from bitface.evaluation.figures.results import LIST, Counts, ListedScores, VerificationResult, summarise
from bitface.evaluation.lists.pairs import PairList
from bitface.evaluation.protocols.all_pairs import check_sides, evaluate_all_pairs, side_scores
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.similarity import matrix, unit_rows


def verify(
    embeddings: Embeddings | ArrayLike,
    pairs: PairList,
    fars: Sequence[float] = FARS,
    all_pairs: bool = False,
    *,
    seed: int = 0,
    at: Sequence[float] = (),
    probe: Embeddings | None = None,
) -> VerificationResult:
    """Cross-validated accuracy over the list, and AUC, EER and TAR at each FAR.

    With the embeddings of a second model as `probe`, those of the first are the enrolled side: the left image of a
    pair is taken from the first model and the right one from the second.

    Args:
        embeddings: [N, D], one per image in the order of `pairs.paths`, any length of the vectors. Pairs that touch an
            image that isn't valid, or whose embedding is zero or not finite, score -1 and are counted.
        pairs: the list, from `read_pairs`.
        fars: where to report TAR; those with too few impostor pairs come back refused.
        all_pairs: AUC, EER and TAR over all pairs of the images (identity by folder, intervals by subject)
            rather than over the list (Wilson intervals). The accuracy is the list's in both cases.
        seed: of the bootstrap by subject.
        at: thresholds found elsewhere, at which to report both error rates.
        probe: of the same images by another model.

    Raises:
        BitfaceError: the embeddings don't fit the list; see `allpairs.evaluate_all_pairs` for all pairs.
        UsageError: a FAR isn't between 0 and 1.
    """
    targets = check_fars(fars)
    enrolled = Embeddings.of(embeddings)
    rows, valid = matrix(enrolled.values), enrolled.valid
    if len(rows) != len(pairs.paths):
        raise BitfaceError(f"{len(rows)} embeddings for {len(pairs.paths)} images of the list; give one for each")
    others = rows if probe is None else matrix(probe.values)
    check_sides(rows, others)
    unit, usable = unit_rows(rows, valid)
    other, other_usable = (unit, usable) if probe is None else unit_rows(others, probe.valid)
    scores = side_scores((unit, usable), (other, other_usable), pairs.left, pairs.right)
    distinct = pairs.distinct
    accuracy = fold_accuracy(scores, pairs.same, pairs.fold, distinct.genuine + distinct.impostor)
    if all_pairs:
        summary = evaluate_all_pairs(pairs, enrolled, targets, seed=seed, at=at, probe=probe)
    else:
        failed = ~(usable[pairs.left] & other_usable[pairs.right])
        counts = Counts(
            images=len(rows),
            failed_images=int(np.count_nonzero(~(usable & other_usable))),
            identities=None,
            genuine=pairs.genuine,
            impostor=pairs.impostor,
            failed_pairs=int(np.count_nonzero(failed)),
            distinct=distinct,
        )
        genuine = score_array(scores[pairs.same], "genuine")
        failed_genuine = int(np.count_nonzero(failed & pairs.same))
        impostors = ImpostorArray(scores[~pairs.same])
        summary = summarise(genuine, impostors, targets, LIST, counts, at, failed_genuine)
        listed = ListedScores(genuine, np.sort(scores[~pairs.same & pairs.first])[::-1])
        summary = replace(summary, listed=listed)
    warnings = diagnose(_delivered(rows, valid))
    if probe is not None:
        warnings = [f"gallery: {warning}" for warning in warnings]
        warnings += [f"probes: {warning}" for warning in diagnose(_delivered(others, probe.valid))]
    if summary.counts.failed_images:
        warnings.insert(
            0,
            f"{summary.counts.failed_images} of {len(rows)} images have no usable embedding"
            f"{'' if probe is None else ' by both models'}; their {summary.counts.failed_pairs} pairs score -1",
        )
    return VerificationResult(accuracy, summary, tuple(warnings), pairs.same, scores, pairs.first)


def _delivered(rows: Floats, valid: ArrayLike | None) -> Floats:
    return rows if valid is None else rows[flags(valid, len(rows), "valid")]

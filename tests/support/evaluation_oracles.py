"""Slow and obvious versions of what `bitface.evaluation` computes, in plain loops."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np


def tar_at_far(genuine: Sequence[float], impostor: Sequence[float], far: float) -> tuple[float, int, int]:
    """Threshold, accepted genuine pairs and accepted impostor pairs: every observed score is tried."""
    target = Fraction(str(far))
    for threshold in sorted({*genuine, *impostor}):
        false = sum(score >= threshold for score in impostor)
        if Fraction(false, len(impostor)) <= target:
            return threshold, sum(score >= threshold for score in genuine), false
    return math.nextafter(max(*genuine, *impostor), math.inf), 0, 0


def best_threshold(scores: Sequence[float], same: Sequence[bool]) -> float:
    """Every gap between neighbouring distinct scores, and the two ends, is tried."""
    values = sorted(set(scores))
    candidates = [(values[0], 0.0)]
    for low, high in pairwise(values):
        middle = low + (high - low) / 2
        candidates.append((middle if middle > low else high, high - low))
    candidates.append((math.nextafter(values[-1], math.inf), 0.0))

    def right(threshold: float) -> int:
        return sum((score >= threshold) == truth for score, truth in zip(scores, same, strict=True))

    best = max(right(threshold) for threshold, _ in candidates)
    widest = max(width for threshold, width in candidates if right(threshold) == best)
    return min(t for t, width in candidates if right(t) == best and width == widest)


def fold_accuracies(scores: Sequence[float], same: Sequence[bool], fold: Sequence[int]) -> list[tuple[float, float]]:
    """Accuracy and threshold of every fold."""
    results = []
    for name in sorted(set(fold)):
        inside = [i for i in range(len(scores)) if fold[i] == name]
        outside = [i for i in range(len(scores)) if fold[i] != name]
        threshold = best_threshold([scores[i] for i in outside], [same[i] for i in outside])
        right = sum((scores[i] >= threshold) == same[i] for i in inside)
        results.append((right / len(inside), threshold))
    return results


def auc(genuine: Sequence[float], impostor: Sequence[float]) -> float:
    """Every genuine score meets every impostor one."""
    wins = sum(2 if g > i else 1 if g == i else 0 for g in genuine for i in impostor)
    return wins / (2 * len(genuine) * len(impostor))


def eer(genuine: Sequence[float], impostor: Sequence[float]) -> float:
    """Walks down the observed scores and crosses the first segment on which FAR catches up with FRR."""
    before = (Fraction(0), Fraction(1))
    for threshold in [*sorted({*genuine, *impostor}, reverse=True), -math.inf]:
        far = Fraction(sum(score >= threshold for score in impostor), len(impostor))
        frr = Fraction(sum(score < threshold for score in genuine), len(genuine))
        if far >= frr:
            share = (before[1] - before[0]) / (before[1] - before[0] + far - frr)
            return float(before[0] + share * (far - before[0]))
        before = (far, frr)
    raise AssertionError("FAR never reached FRR")


def all_pair_scores(
    unit: np.ndarray, identities: Sequence[object] | np.ndarray, usable: Sequence[bool] | np.ndarray
) -> tuple[list[float], list[float]]:
    """Genuine and impostor scores of all pairs, one by one, from the rounded unit vectors."""
    genuine: list[float] = []
    impostor: list[float] = []
    for i in range(len(unit)):
        for j in range(i + 1, len(unit)):
            score = max(-1.0, min(1.0, float(unit[i] @ unit[j]))) if usable[i] and usable[j] else -1.0
            (genuine if identities[i] == identities[j] else impostor).append(score)
    return genuine, impostor

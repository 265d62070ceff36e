"""How much an embedding turns when one tensor alone is rounded to few bits and the rest stays in floating point.

The measure is the mean of 1 - cosine between a face's embedding with and without the rounding. QMobileFaceNet's
figure 1 asks the same of blocks, by verification accuracy.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from bitface.analysis.probe import Probe, ProbedUnit
from bitface.errors import BitfaceError

# Images whose live tensors stay in a CPU's caches.
BATCH = 16

# Gives the columns of a batch from the embeddings without and with rounding.
Measure = Callable[[Tensor, Tensor], Tensor]


def turned(plain: Tensor, rounded: Tensor) -> Tensor:
    """1 - cosine of each face, `[B]`, from the chord, which keeps its digits where the cosine has lost them."""
    return 0.5 * (nn.functional.normalize(plain) - nn.functional.normalize(rounded)).square().sum(1)


def halves(_: Tensor, rounded: Tensor) -> Tensor:
    """The cosines of pairs, `[B / 2]`: the first half of a batch beside the second."""
    left, right = rounded.chunk(2)
    return nn.functional.cosine_similarity(left, right)


def sweep(
    probe: Probe,
    batches: Callable[[int], Tensor],
    columns: Sequence[int],
    measure: Measure,
    measurements: Tensor,
    done: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Measures every unit on every batch; only what comes after a unit is run again.

    Args:
        batches: gives the preprocessed images of a batch by its number.
        columns: how many values `measure` gives for each batch.
        measurements: `[units + 1, sum of columns]`, to be filled; the last row is the float network itself.
        done: so many measurements, in the order in which this function makes them, are in `measurements` already.
        progress: is told (measurements done, of all), after each.

    Raises:
        BitfaceError: an embedding is NaN or infinite (the unit is named).
    """
    units = probe.units
    rows, starts = len(units) + 1, np.concatenate([[0], np.cumsum(columns)])
    for batch in range(done // rows, len(columns)):
        images = batches(batch)
        here = slice(int(starts[batch]), int(starts[batch + 1]))
        plain = probe.embed(images)
        measurements[-1, here] = measure(plain, plain)
        for number, rounded in probe.each(images, done - batch * rows):
            values = measure(plain, rounded)
            if not torch.isfinite(values).all():
                raise BitfaceError(f"an embedding is NaN or infinite with {units[number].name} rounded")
            measurements[number, here] = values
            if progress:
                progress(batch * rows + number + 1, rows * len(columns))
        done = (batch + 1) * rows
        if progress:
            progress(done, rows * len(columns))


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean over faces and its standard error."""
    spread = float(values.double().std()) if len(values) > 1 else math.nan
    return float(values.double().mean()), spread / math.sqrt(len(values))


def costs(probe: Probe, measurements: Tensor) -> dict[ProbedUnit, float]:
    """The mean of 1 - cosine for each unit, from what a sweep found."""
    return {unit: float(row.double().mean()) for unit, row in zip(probe.units, measurements, strict=False)}


def rank_correlation(
    proxy: Mapping[ProbedUnit, float], exact: Mapping[ProbedUnit, float], units: Sequence[ProbedUnit]
) -> float | None:
    """Spearman's, over these units; None for fewer than three, or where all are equal."""
    pairs = [(proxy[unit], exact[unit]) for unit in units if unit in proxy and unit in exact]
    if len(pairs) < 3 or any(len({pair[side] for pair in pairs}) == 1 for side in (0, 1)):
        return None
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)

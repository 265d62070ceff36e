import tracemalloc

import numpy as np
import pytest

from bitface.evaluation import all_pairs


@pytest.mark.slow
@pytest.mark.parametrize("collapsed", [False, True])
def test_the_scores_of_all_pairs_of_7701_images_are_never_held(collapsed: bool) -> None:
    rng = np.random.default_rng(0)
    identities = np.concatenate([np.arange(4281), rng.integers(0, 4281, 7701 - 4281)])
    rows = rng.normal(size=(4281, 128))[identities] + rng.normal(size=(7701, 128))
    rows = (1 + 1e-6 * rows if collapsed else rows).astype(np.float32)
    tracemalloc.start()
    summary = all_pairs(rows, identities)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert summary.counts.impostor > 29_600_000
    assert peak < 8 * summary.counts.impostor / 2

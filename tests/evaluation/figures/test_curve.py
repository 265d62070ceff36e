import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from bitface.errors import BitfaceError
from bitface.evaluation import auc, eer, roc
from support import evaluation_oracles as oracles

scores = st.lists(st.integers(-6, 6).map(lambda k: k / 6), min_size=1, max_size=40)


@settings(max_examples=300)
@given(scores, scores)
def test_tied_scores_match_loops_and_scikit_learn(genuine: list[float], impostor: list[float]) -> None:
    labels = np.r_[np.ones(len(genuine)), np.zeros(len(impostor))]
    both = np.r_[genuine, impostor]
    assert auc(genuine, impostor) == oracles.auc(genuine, impostor)
    assert auc(genuine, impostor) == pytest.approx(roc_auc_score(labels, both), abs=1e-12)
    assert eer(genuine, impostor) == pytest.approx(oracles.eer(genuine, impostor), abs=1e-12)
    curve = roc(genuine, impostor)
    far, tar, _ = roc_curve(labels, both, drop_intermediate=False)
    theirs = set(zip(far.tolist(), tar.tolist(), strict=True))
    ours = list(zip(curve.far.tolist(), curve.tar.tolist(), strict=True))
    assert set(ours) <= theirs
    assert ours[0] == (0, 0)
    assert ours[-1] == (1, 1)
    # Every corner of theirs lies on a piece of ours.
    for x, y in theirs:
        assert any(
            x0 <= x <= x1 and y0 <= y <= y1 and abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) < 1e-12
            for (x0, y0), (x1, y1) in pairwise(ours)
        )


def test_eer_of_an_upright_a_level_and_a_slanting_crossing() -> None:
    assert eer([0.9, 0.1], [0.5]) == 0.5
    assert eer([0.5], [0.9, 0.1]) == 0.5
    assert eer([0.5], [0.5]) == 0.5
    assert eer([0.5, 0.5, 0.9], [0.5, 0.1, 0.1]) == pytest.approx(2 / 9 / (2 / 3 + 1 / 3))


def test_separated_and_reversed_scores() -> None:
    assert (auc([0.8, 0.9], [0.1, 0.2]), eer([0.8, 0.9], [0.1, 0.2])) == (1.0, 0.0)
    assert (auc([0.1, 0.2], [0.8, 0.9]), eer([0.1, 0.2], [0.8, 0.9])) == (0.0, 1.0)


def test_a_thinned_curve_is_part_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    whole = roc(rng.normal(1, 1, 5000), rng.normal(0, 1, 50000))
    thin = whole.thinned(100)
    assert len(thin.far) <= 103
    assert set(zip(thin.far, thin.tar, strict=True)) <= set(zip(whole.far, whole.tar, strict=True))
    assert (thin.far[0], thin.tar[0], thin.far[-1], thin.tar[-1]) == (0, 0, 1, 1)
    json.dumps(thin.to_json(), allow_nan=False)
    apart = roc(rng.normal(4, 1, 500), rng.normal(0, 1, 500))
    assert apart.thinned(10).tar[apart.thinned(10).far == 0].max() == apart.tar[apart.far == 0].max() > 0


def test_missing_scores() -> None:
    for function in (auc, eer, roc):
        with pytest.raises(BitfaceError, match="no impostor pairs"):
            function([0.5], [])
        with pytest.raises(BitfaceError, match="no genuine pairs"):
            function([], [0.5])

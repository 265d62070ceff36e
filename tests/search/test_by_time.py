"""Under a budget of time, too, faces that judge a plan haven't chosen it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bitface.evaluation import agreement
from bitface.quant import BitPlan, quantize
from bitface.runtime import Embedder, Model
from bitface.search import by_time
from bitface.search.measured_plans import MeasuredPlans
from bitface.search.sweep import SweptNetwork
from support.quantized import Mixed, faces, network


class _Given(by_time._Stopwatch):
    """A stopwatch that stands, of plans of all layers in 8 bits or in floating point."""

    def plan(self, choice: Any) -> BitPlan:
        return BitPlan.parse("w8a8")

    def time(self, student: Any) -> float:
        return 1.0


def test_some_faces_choose_and_others_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learning, choosing, judging = (faces(8, 16, seed=seed) for seed in range(3))
    net = network(Mixed(), 16)
    experiment = SweptNetwork(net, learning, choosing, judging, "real", [], [])
    monkeypatch.setattr(by_time, "weights_of", lambda probe: {"stem.0": 216})
    seen: list[int] = []
    plain = Embedder.embed

    def embed(self: Embedder, images: Any) -> np.ndarray:
        seen.append(next(place for place, one in enumerate((learning, choosing, judging)) if one is images))
        return np.asarray(plain(self, images))

    monkeypatch.setattr(Embedder, "embed", embed)
    probe: Any = SimpleNamespace()
    watch = _Given(Path("net"), experiment, probe, MeasuredPlans(tmp_path, experiment, "none"))
    row = watch.row((1,))
    assert sorted(seen) == [1, 1, 2, 2]
    assert row["chosen_agreement"] != row["agreement"]
    expected, found = (
        plain(Embedder(Model(Path("net"), "artifact", one), by_time._ENGINE), judging)
        for one in (net, quantize(net, learning, BitPlan.parse("w8a8"))[0])
    )
    assert row["agreement"] == pytest.approx(agreement(expected, found).mean, abs=1e-6)
    better = {"milliseconds": 1.0, "chosen_agreement": 0.9, "agreement": 0.1}
    luckier = {"milliseconds": 1.0, "chosen_agreement": 0.8, "agreement": 0.99}
    watch.rows = {(0,): better, (1,): luckier}
    assert watch.best(2.0) == (0,)

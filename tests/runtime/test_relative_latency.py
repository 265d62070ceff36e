"""Several models beside one of them, on small networks of very different cost."""

from pathlib import Path

import pytest
import torch

from bitface import backbones
from bitface.graph import from_module
from bitface.runtime import Model
from bitface.runtime.relative_latency import relative_latency


def model(name: str) -> Model:
    torch.manual_seed(0)
    return Model(Path(name), "float", from_module(backbones.create(name, 16), "rgb-127.5-127.5", name))


def test_ratios_are_to_the_baseline() -> None:
    models = {name: model(name) for name in ("mobilefacenet:0.125", "mobilefacenet")}
    told: list[tuple[int, int]] = []
    found = relative_latency(models, "mobilefacenet", rounds=3, seconds=0.5, progress=lambda *steps: told.append(steps))
    assert list(found) == list(models)
    assert (found["mobilefacenet"].ratio, found["mobilefacenet"].ratio_interval) == (1, None)
    small = found["mobilefacenet:0.125"]
    assert small.median_ms > 0
    assert (small.ratio is None) == (small.note is not None)  # a busy machine has no ratio, and says so
    if small.ratio is not None:
        assert small.ratio == pytest.approx(found["mobilefacenet"].median_ms / small.median_ms)
    assert told[-1][0] == told[-1][1]

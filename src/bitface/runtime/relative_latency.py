"""How fast several models are beside one float network, all alternating in one run."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bitface.runtime.bench import ROUNDS, SECONDS, Interval, race, ratio_of, runner
from bitface.runtime.machine import pinned
from bitface.runtime.model import Model
from bitface.targets.registry import FASTEST


@dataclass(frozen=True)
class RelativeLatency:
    """A model's times with one image.

    Attributes:
        median_ms, iqr_ms: milliseconds, over `runs`.
        ratio: how many times as fast as the baseline, with its 95 % interval; None where the spread makes it
            meaningless, and `note` says so.
    """

    median_ms: float
    iqr_ms: float
    runs: int
    ratio: float | None
    ratio_interval: Interval | None
    note: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def relative_latency(
    models: Mapping[str, Model],
    baseline: str,
    threads: int = 1,
    engine: str = FASTEST,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, RelativeLatency]:
    """Measures models on one engine, each against the one named `baseline`, with one image at once.

    Raises:
        BitfaceError: the engine refuses a model.
    """
    calls = {name: runner(model, engine, 1, threads) for name, model in models.items()}
    with pinned(threads) as pin:
        times = race(calls, rounds, seconds, progress, prepare=pin)
    result = {}
    for name, values in times.items():
        low, median, high = (float(value) for value in np.percentile(values, [25, 50, 75]))
        ratio, interval, note = (1.0, None, None) if name == baseline else ratio_of(times[baseline], values, rounds)
        result[name] = RelativeLatency(median, high - low, len(values), ratio, interval, note)
    return result

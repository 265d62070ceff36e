"""Latency and throughput of several models, alternating in one run, so that whatever else the machine does hits all.

Absolute milliseconds of a shared machine mean little; ratios of medians of the same run are what to trust, and where
the spread of either side is too large, none is given.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bitface.errors import BitfaceError
from bitface.runtime import engines
from bitface.runtime.machine import cpu_flags, describe
from bitface.runtime.model import Model

Progress = Callable[[int, int], None]

WARM_UP = 10
ROUNDS = 12
RUNS = 60
_FEWEST = 15
_BUDGET = 20.0
# The interquartile range, as a share of the median, above which a ratio means nothing.
MEANINGLESS = 0.20
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True)
class Row:
    """One contender's times.

    Attributes:
        median_ms, iqr_ms, p95_ms: of one run with `batch` images, in milliseconds.
        per_second: images per second at the median.
        ratio: how many times as fast as `baseline`, the same network in float32 on the same engine; None with a
            `note` where the spread makes it meaningless, or where there is no baseline.
        ratio_interval: 95 % interval of the ratio (bootstrap over runs).
        ratio_bf16: the same against the float network in bf16.
    """

    model: str
    engine: str
    precision: str
    batch: int
    threads: int
    runs: int
    median_ms: float
    iqr_ms: float
    p95_ms: float
    per_second: float
    baseline: str | None = None
    ratio: float | None = None
    ratio_interval: tuple[float, float] | None = None
    ratio_bf16: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class BenchResult:
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    machine: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        rows = [asdict(row) for row in self.rows]
        machine = f"{self.machine['cpu']}, {self.machine['cores']} cores"
        return {"machine": machine, "versions": self.machine, "notes": list(self.notes), "rows": rows}


@dataclass(frozen=True, eq=False)
class _Contender:
    model: Model
    label: str
    family: str
    engine: str
    precision: str


def bench(
    models: Sequence[Model],
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    engines_used: Sequence[str] = ("openvino", "onnxruntime"),
    runs: int = RUNS,
    progress: Progress | None = None,
) -> BenchResult:
    """Measures each model on each engine: float networks in float32 (and bf16 where the CPU has it), integer ones.

    Raises:
        BitfaceError: an engine refuses a model.
    """
    contenders, notes = _contenders(models, engines_used)
    groups = [(batch, count) for batch in batches for count in threads]
    rows: list[Row] = []
    for index, (batch, count) in enumerate(groups):
        with _pinned(count) as pinned:
            calls = {item: _runner(item, batch, count) for item in contenders}
            timings = race(calls, runs, _within(progress, index, len(groups)))
        if not pinned:
            notes.append(f"{count} threads weren't pinned: this system can't, or has fewer cores")
        rows += compare(timings, batch, count)
    return BenchResult(tuple(rows), tuple(dict.fromkeys(notes)), describe())


def race(
    calls: dict[Any, Callable[[], Any]], runs: int = RUNS, progress: Progress | None = None
) -> dict[Any, list[float]]:
    """Times every call in turn, round after round from another start; milliseconds of each run.

    After `WARM_UP` runs each, `runs` in all; fewer (at least 15) where one contender would take over 20 s.
    """
    slowest = 0.0
    for call in calls.values():
        for _ in range(WARM_UP):
            started = time.perf_counter_ns()
            call()
        slowest = max(slowest, (time.perf_counter_ns() - started) / 1e9)
    count = max(_FEWEST, min(runs, int(_BUDGET / max(slowest, 1e-9))))
    rounds = min(ROUNDS, count)
    per_round = -(-count // rounds)
    times: dict[Any, list[float]] = {key: [] for key in calls}
    order = list(calls)
    for turn in range(rounds):
        start = turn % len(order)
        for key in order[start:] + order[:start]:
            for _ in range(per_round):
                started = time.perf_counter_ns()
                calls[key]()
                times[key].append((time.perf_counter_ns() - started) / 1e6)
        if progress:
            progress(turn + 1, rounds)
    return times


def compare(timings: dict[_Contender, list[float]], batch: int, threads: int) -> list[Row]:
    """Rows from times, each beside its baseline."""
    rows = []
    for item, times in timings.items():
        low, median, high, late = np.percentile(times, [25, 50, 75, 95])
        row = Row(
            item.label, item.engine, item.precision, batch, threads, len(times), round(float(median), 4),
            round(float(high - low), 4), round(float(late), 4), round(batch * 1e3 / float(median), 2),
        )  # fmt: skip
        for base, base_times in timings.items():
            if base is item or (base.family, base.engine) != (item.family, item.engine):
                continue
            if base.precision == "f32":
                ratio, interval, note = ratio_of(base_times, times)
                name = f"{base.label} {base.engine} f32"
                row = replace(row, baseline=name, ratio=ratio, ratio_interval=interval, note=note)
            elif base.precision == "bf16" and item.precision == "int8":
                row = replace(row, ratio_bf16=ratio_of(base_times, times)[0])
        rows.append(row)
    return rows


def ratio_of(
    base: Sequence[float], times: Sequence[float]
) -> tuple[float | None, tuple[float, float] | None, str | None]:
    """How many times as fast as the base, with its 95 % interval; or a note why that can't be said."""
    for name, values in (("baseline", base), ("own", times)):
        low, median, high = np.percentile(values, [25, 50, 75])
        if (high - low) / median > MEANINGLESS:
            spread = (high - low) / median
            return None, None, f"no ratio: the {name} times spread by {spread:.0%} (quartiles to median)"
    generator = np.random.default_rng(0)
    resampled = [np.median(generator.choice(values, (1000, len(values))), 1) for values in (base, times)]
    low, high = np.percentile(resampled[0] / resampled[1], [2.5, 97.5])
    ratio = float(np.median(base) / np.median(times))
    return round(ratio, 4), (round(float(low), 4), round(float(high), 4)), None


def _contenders(models: Sequence[Model], used: Sequence[str]) -> tuple[list[_Contender], list[str]]:
    floats = {model.network.fingerprint(): model for model in models if not model.integer}
    notes, result = [], []
    for model, label in zip(models, _labels(models), strict=True):
        family = model.network.fingerprint()
        if model.details is not None:
            family = str(model.details.teacher.get("fingerprint"))
        if family not in floats and len(floats) == 1:
            family = next(iter(floats))
        for engine in used:
            if model.profile not in (None, engine):
                continue
            precisions = ["int8" if model.integer else "f32"]
            if engine == "openvino" and not model.integer:
                if cpu_flags() & _BF16_FLAGS:
                    precisions.append("bf16")
                else:
                    notes.append("bf16 left out: this CPU has no instructions for it")
            result += [_Contender(model, label, family, engine, precision) for precision in precisions]
    if not result:
        raise BitfaceError("nothing to measure: no model runs on the engines asked for")
    return result, notes


def _within(progress: Progress | None, index: int, groups: int) -> Progress | None:
    """The progress of one group as a part of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, groups * total)


def _labels(models: Sequence[Model]) -> list[str]:
    """File names, with the folder in front where two are the same."""
    names = [model.path.name for model in models]
    return [
        f"{model.path.parent.name}/{name}" if names.count(name) > 1 else name
        for model, name in zip(models, names, strict=True)
    ]


def _runner(item: _Contender, batch: int, threads: int) -> Callable[[], Any]:
    network = item.model.network
    generator = np.random.default_rng(0)
    if network.preprocess is not None:
        pixels = generator.integers(0, 256, (batch, *network.size, 3), dtype=np.uint8)
        images = network.preprocess(pixels)
    else:
        images = generator.standard_normal((batch, 3, *network.size), dtype=np.float32)
    precision = "bf16" if item.precision == "bf16" else "f32"
    run = engines.start(item.model, item.engine, batch, threads, precision)
    return lambda: run(images)


@contextmanager
def _pinned(threads: int) -> Iterator[bool]:
    """Keeps this process on as many cores as it has threads, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    before = os.sched_getaffinity(0)
    if threads > len(before):
        yield False
        return
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)

"""Latency and throughput of several models, alternating in one run, so that whatever else the machine does hits all.

Absolute milliseconds of a shared machine mean little; ratios of medians of the same run are what to trust, and where
the spread of either side is too large, none is given.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bitface.cpu import has_bf16
from bitface.errors import BitfaceError, UsageError
from bitface.runtime.exact import default_engine, failure, inexact
from bitface.runtime.machine import describe, pinned
from bitface.runtime.model import Model
from bitface.targets.base import Settings
from bitface.targets.registry import TARGETS, every, runs_here, started, way_to_install, written

Progress = Callable[[int, int], None]
Key = TypeVar("Key", bound=Hashable)
Interval = tuple[float, float]

WARM_UP = 10
ROUNDS = 10
SECONDS = 10.0
ENOUGH_RUNS = 50
FEWEST_RUNS = 15
# A round takes at most this many runs of one contender.
_IN_A_ROW = 10
# Runs shorter than this (ms) feel that others emptied the caches: each turn begins with one that isn't timed.
_COLD = 20.0
# The interquartile range, as a share of the median, above which a ratio means nothing.
MEANINGLESS = 0.20
# What each precision is compared with.
_COMPARED = {"f32": (), "bf16": ("f32",), "int8": ("f32", "bf16")}
_RESAMPLED = 1000
_SEED = 0


@dataclass(frozen=True)
class Row:
    """One contender's times.

    Attributes:
        median_ms, iqr_ms, p95_ms: of one run with `batch` images, in milliseconds.
        per_second: images per second at the median.
        baseline: the same network in float32 on the same engine.
        ratio: how many times as fast as the baseline; None with a `note` where the spread makes it meaningless or
            there is no baseline.
        ratio_interval: 95 % of the ratio (bootstrap over rounds).
        ratios: the ratio to the same network in `f32` and, where measured, in `bf16`.
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
    ratio_interval: Interval | None = None
    ratios: dict[str, float | None] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True)
class BenchResult:
    """What a bench found.

    Attributes:
        fingerprints: of the integer networks (see `Network.fingerprint`), by what rows call them.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    machine: dict[str, str]
    fingerprints: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """`machine` in a line, `versions` in detail (`machine.describe`), `notes`, `rows`, and `fingerprints`."""
        facts = self.machine
        line = f"{facts['cpu']}, {facts['cores']} cores, {facts['system']}"
        for name in dict.fromkeys(row.engine for row in self.rows):
            if package := TARGETS[name].package:
                line += f", {TARGETS[name].title} {facts[package]}"
        rows = [asdict(row) for row in self.rows]
        return {
            "machine": line, "versions": facts, "notes": list(self.notes), "rows": rows,
            "fingerprints": self.fingerprints,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Contender:
    """A model on an engine. Contenders of one `family` hold the same network."""

    model: Model
    label: str
    family: str
    engine: str
    precision: str
    note: str | None = None


def bench(
    models: Sequence[Model],
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    engines: Sequence[str] | None = None,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> BenchResult:
    """Measures float networks in float32 (and bf16 where the CPU has it) and integer ones, on each engine.

    An exported file runs on its own engine only.

    Args:
        engines: targets that run here; None: those that are written by default, what runs each artifact by default, and
            those of exported files.
        rounds, seconds: see `race`; every batch size with every number of threads is a race of its own.
        progress: called with (turns taken, turns in all).

    Raises:
        UsageError: no model, an unknown engine, or batches, threads or rounds below 1.
        BitfaceError: no model runs on these engines, or an engine refuses one.
    """
    numbers = (len(models), len(batches), len(threads), *batches, *threads, rounds)
    if min(numbers) < 1 or not all(map(_measured, engines or ())):
        names = ", ".join(name for name in every() if _measured(name))
        raise UsageError(f"bench needs models, engines of {names}, and whole numbers from 1")
    contenders, notes = _contenders(models, engines)
    groups = [(batch, count) for batch in batches for count in threads]
    rows: list[Row] = []
    for index, (batch, count) in enumerate(groups):
        with pinned(count) as pin:
            calls = _started(contenders, batch, count, notes)
            step = (
                (lambda turns, total, i=index: progress(i * total + turns, len(groups) * total)) if progress else None
            )
            times = race(calls, rounds, seconds, step, prepare=pin)
            cores = pin()
        where = f"cores {', '.join(map(str, cores))}" if cores else "no cores: this system can't, or has too few"
        notes.append(f"batch {batch}, {count} thread{'s' * (count > 1)}: pinned to {where}")
        rows += compare(times, batch, count, rounds)
    fingerprints = {one.label: one.model.fingerprint for one in contenders if one.model.integer}
    return BenchResult(tuple(rows), tuple(notes), describe({row.engine for row in rows}), fingerprints)


def _started(
    contenders: Sequence[_Contender], batch: int, threads: int, notes: list[str]
) -> dict[_Contender, Callable[[], Any]]:
    """The contenders as calls; without bf16 where the engine refuses it, whatever the CPU's instructions are."""
    calls = {}
    for one in contenders:
        try:
            calls[one] = runner(one.model, one.engine, batch, threads, _float(one.precision))
        except BitfaceError:
            if one.precision != "bf16":
                raise
            notes.append(f"{one.label}: bf16 left out: {TARGETS[one.engine].title} refuses it here")
    return calls


def race(
    calls: Mapping[Key, Callable[[], Any]],
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    progress: Progress | None = None,
    prepare: Callable[[], Any] | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[Key, list[float]]:
    """The milliseconds of every run, the calls taking turns, in another order each round.

    Each call is first run 10 times. How many runs follow is what `seconds` per call allow: 100 at most (10 in a
    round; 50 where there are few rounds), 15 at least. They are spread evenly over the rounds, at most 15.

    Args:
        prepare: called before the first run and once more before the first one that counts.
        clock: gives nanoseconds.
    """
    rounds = min(rounds, FEWEST_RUNS)
    prepare = prepare or (lambda: None)
    prepare()
    took = {key: float(np.median([_run(call, clock) for _ in range(WARM_UP)])) for key, call in calls.items()}
    prepare()
    turns: dict[Key, list[np.ndarray]] = {}
    for key, milliseconds in took.items():
        affordable = int(seconds * 1e3 / max(milliseconds, 1e-6))
        runs = max(FEWEST_RUNS, min(max(ENOUGH_RUNS, rounds * _IN_A_ROW), affordable))
        turns[key] = np.array_split(np.arange(runs), rounds)
    times: dict[Key, list[float]] = {key: [] for key in calls}
    order = list(calls)
    shuffler = random.Random(_SEED)
    for index in range(rounds):
        shuffler.shuffle(order)
        for place, key in enumerate(order, 1):
            if took[key] < _COLD:
                calls[key]()
            times[key] += [_run(calls[key], clock) for _ in turns[key][index]]
            if progress:
                progress(index * len(order) + place, rounds * len(order))
    return times


def compare(times: Mapping[_Contender, Sequence[float]], batch: int, threads: int, rounds: int) -> list[Row]:
    """The rows of one race, each beside the same network in floating point on the same engine."""
    rows = []
    for contender, values in times.items():
        low, median, high, late = (float(value) for value in np.percentile(values, [25, 50, 75, 95]))
        notes = [contender.note] if contender.note else []
        if len(values) < ENOUGH_RUNS:
            notes.append(f"{len(values)} runs only, as they are slow")
        row = Row(
            contender.label, contender.engine, contender.precision, batch, threads, len(values),
            median, high - low, late, batch * 1e3 / median,
        )  # fmt: skip
        for base in times:
            same = (base.family, base.engine) == (contender.family, contender.engine)
            if not same or base.precision not in _COMPARED[contender.precision] or base.precision in row.ratios:
                continue
            ratio, interval, why = ratio_of(times[base], values, rounds)
            row.ratios[base.precision] = ratio
            if base.precision == "f32":
                row = replace(row, baseline=f"{base.label} f32", ratio=ratio, ratio_interval=interval)
                notes += [why] if why else []
        if contender.precision != "f32" and row.baseline is None:
            elsewhere = any(base.family == contender.family and base.precision == "f32" for base in times)
            notes.append(f"no ratio: its float network isn't in this run{' on this engine' if elsewhere else ''}")
        rows.append(replace(row, note="; ".join(notes) or None))
    return rows


def ratio_of(
    base: Sequence[float], times: Sequence[float], rounds: int
) -> tuple[float | None, Interval | None, str | None]:
    """How many times as fast as the base, with a 95 % interval; or why that can't be said.

    The interval comes from drawing rounds again, the same ones of both sides: runs of one round resemble each other,
    and what disturbs a round disturbs both.
    """
    for whose, values in (("the baseline's", base), ("its own", times)):
        low, median, high = np.percentile(values, [25, 50, 75])
        if high - low > MEANINGLESS * median:
            share = (high - low) / median
            return None, None, f"no ratio: {whose} times spread by {share:.0%} (quartiles to median)"
    generator = np.random.default_rng(_SEED)
    parts = [np.array_split(np.asarray(values), min(rounds, FEWEST_RUNS)) for values in (base, times)]
    draws = generator.integers(0, len(parts[0]), (_RESAMPLED, len(parts[0])))
    before, after = (np.array([np.median(np.concatenate([side[i] for i in draw])) for draw in draws]) for side in parts)
    lowest, highest = np.percentile(before / after, [2.5, 97.5])
    return float(np.median(base) / np.median(times)), (float(lowest), float(highest)), None


def slower_in_integers(rows: Sequence[Row]) -> list[str]:
    """A warning for each integer model that an engine runs slower than its float network, beyond chance."""
    warnings = []
    for row in rows:
        if row.precision != "int8" or row.ratio is None or not row.ratio_interval or row.ratio_interval[1] >= 1:
            continue
        same = [one for one in rows if (one.model, one.batch, one.threads) == (row.model, row.batch, row.threads)]
        best = min(same, key=lambda one: one.median_ms)
        other = "" if best is row else f"; {TARGETS[best.engine].title} runs it in {best.median_ms:.3g} ms"
        warnings.append(
            f"{row.model}: {TARGETS[row.engine].title} runs its integers slower than the float network "
            f"({row.median_ms:.3g} ms, {row.ratio:.2f} times as fast; batch {row.batch}, threads {row.threads}){other}"
        )
    return warnings


def _default_engines(model: Model) -> list[str]:
    """The default ones, and what runs a model of integers where nobody names one, if its times mean anything."""
    own = [default_engine(model)] if model.integer else []
    return list(dict.fromkeys([*written(), *filter(_measured, own)]))


def _contenders(models: Sequence[Model], engines: Sequence[str] | None) -> tuple[list[_Contender], list[str]]:
    floats = [model for model in models if not model.integer]
    contenders, notes = [], []
    for model, label in zip(models, labels([model.path for model in models]), strict=True):
        family, note = _family(model, floats)
        own = _default_engines(model) if engines is None else engines
        notes += [text for text in [failure(model)] if text]
        for engine in own:
            if model.profile not in (None, engine):
                continue
            precisions = ["int8"] if model.integer else ["f32"]
            half = "bf16" in TARGETS[engine].precisions and not model.integer
            if half and has_bf16():
                precisions.append("bf16")
            elif half:
                notes.append("bf16 left out: this CPU isn't known to have instructions for it")
            remarks = "; ".join(text for text in (note, inexact(model, engine)) if text) or None
            contenders += [_Contender(model, label, family, engine, precision, remarks) for precision in precisions]
    if not contenders:
        raise BitfaceError(f"nothing to measure: no model runs on {' or '.join(engines or written())}")
    return contenders, list(dict.fromkeys(notes))


def engines_of(names: str | None) -> list[str] | None:
    """The engines of an option such as openvino,ncnn; `all`: each that runs here; None: the default ones.

    Raises:
        UsageError: an unknown one, or one that doesn't run here.
    """
    if names is None:
        return None
    if names.strip() == "all":
        return [name for name in every() if _measured(name)]
    result = list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in result:
        target = started(name)
        if not _measured(name):
            install = f"; get it by {way_to_install(target)}" if target.start and target.emit else ""
            raise UsageError(f"{name} doesn't run here, so there is nothing to measure{install}")
    return result


def _measured(engine: str) -> bool:
    """Whether an engine's times mean anything: the simulation runs here too, and nobody deploys it."""
    return runs_here(engine) and TARGETS[engine].emit is not None


def _family(model: Model, floats: Sequence[Model]) -> tuple[str, str | None]:
    """The fingerprint of the float network that a model is or was made from, and a remark where that is a guess."""
    if not model.integer:
        return model.fingerprint, None
    fingerprint = model.teacher.get("fingerprint")
    for other in floats:
        # A float file that doesn't say its preprocessing is the same network all the same.
        variant = other.with_preprocess(model.preprocess) if model.preprocess else other
        if fingerprint in (other.fingerprint, variant.fingerprint):
            return other.fingerprint, None
    if len(floats) == 1:
        return floats[0].fingerprint, "compared with the only float network here, which it wasn't made from"
    return str(fingerprint), None


def labels(paths: Sequence[Path]) -> list[str]:
    """File names, with the folder before those that there are twice, and a number where that doesn't help."""
    names = Counter(path.name for path in paths)
    counts: Counter[str] = Counter()
    result = []
    for path in paths:
        label = f"{path.parent.name}/{path.name}" if names[path.name] > 1 else path.name
        counts[label] += 1
        result.append(label if counts[label] == 1 else f"{label} ({counts[label]})")
    return result


def runner(model: Model, engine: str, batch: int, threads: int, precision: str = "f32") -> Callable[[], Any]:
    """One run on normalised random images."""
    known = model.known
    generator = np.random.default_rng(_SEED)
    if known.preprocess is not None:
        images = known.preprocess(generator.integers(0, 256, (batch, *known.size, 3), dtype=np.uint8))
    else:
        images = generator.standard_normal((batch, known.channels, *known.size), dtype=np.float32)
    run = model.start(engine, Settings(batch, threads, precision))
    return lambda: run(images)


def _float(precision: str) -> str:
    """The precision of what isn't integers."""
    return "bf16" if precision == "bf16" else "f32"


def _run(call: Callable[[], Any], clock: Callable[[], int]) -> float:
    started = clock()
    call()
    return (clock() - started) / 1e6

"""Which target runs a model where nobody names one, and what there is to say of those that aren't exact on this CPU.

An artifact that C can hold runs in C where that is faster here than the fastest other engine that is exact on this CPU,
which a trial of some milliseconds finds. What it finds is kept for the network, the CPU, the compiler and the versions;
where C didn't start for a reason that may pass, such as a full disk, nothing is.
"""

import time
from importlib.util import find_spec
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from bitface import cpu
from bitface.compiler import CompilerError, c_compiler, identity
from bitface.errors import BitfaceError, lacks_files, option
from bitface.runtime.model import Model
from bitface.store import Form, key_of, remembered, written_by
from bitface.targets.base import NoKernel, Settings
from bitface.targets.registry import DEFAULTS, NATIVE, PORTABLE, TARGETS, runs_here, title_of

_SIMULATION = "torch"
_WARM_UP, _ROUNDS, _SECONDS = 3, 15, 1.0


class _Failure(BitfaceError):
    """Why C didn't start; `engine`: what runs instead."""

    def __init__(self, reason: BitfaceError, engine: str) -> None:
        super().__init__(str(reason))
        self.engine = engine


# Of models that are open, so that a compiler isn't waited for again while they are.
_failures: "WeakKeyDictionary[Model, _Failure]" = WeakKeyDictionary()


def default_engine(model: Model) -> str:
    """The fastest engine that computes a model exactly on this CPU; of an exported file the one it was written for."""
    if model.profile:
        return model.profile
    if not model.integer:
        return DEFAULTS[0]
    facts = ("engine", model.fingerprint, written_by("graph", "targets"), sorted(cpu.flags()), *_versions())
    if model in _failures:
        return _failures[model].engine
    try:
        return remembered("models", key_of(facts), _NAME, lambda: _fastest(model))
    except _Failure as failure:
        _failures[model] = failure
        return failure.engine


def _read_name(path: Path) -> str:
    name = path.read_text(encoding="ascii")
    if name != NATIVE and name not in DEFAULTS:
        raise ValueError(name)
    return name


_NAME: Form[str] = Form(".txt", _read_name, lambda name, path: path.write_text(name, encoding="ascii"))


def _versions() -> list[object]:
    """Of what may run a model here: the compiler, and the engines as they are installed."""
    facts: list[object] = []
    try:
        compiler = c_compiler()
        facts.append(compiler and identity(compiler))
    except CompilerError:
        facts.append(None)
    for name in DEFAULTS:
        spec = find_spec(name)  # without importing it
        facts.append(spec and spec.origin and (spec.origin, Path(spec.origin).stat().st_mtime_ns))
    return facts


def _fastest(model: Model) -> str:
    if find_spec(_SIMULATION) is None:
        return NATIVE
    other = next(engine for engine in DEFAULTS if is_exact(model, engine))
    if not _holds(model, NATIVE) or not runs_here(NATIVE):
        return other
    try:
        model.start(NATIVE)
    except NoKernel:
        return other
    except BitfaceError as error:
        if lacks_files(error):  # of this moment, not of the machine: no other engine's answers should stand for it
            raise
        raise _Failure(error, other) from error
    seconds = _seconds(model, (other, NATIVE))
    return min(seconds, key=lambda engine: seconds[engine])


def _seconds(model: Model, engines: tuple[str, ...]) -> dict[str, float]:
    """How long engines take for one image on one thread, in turns, the fastest of each."""
    known = model.known
    image = np.zeros((1, known.channels, *known.size), np.float32)
    runs = {engine: model.start(engine, Settings(threads=1)) for engine in engines}
    fastest, until = dict.fromkeys(engines, float("inf")), time.perf_counter() + _SECONDS
    for turn in range(_WARM_UP + _ROUNDS):
        for engine, run in runs.items():
            began = time.perf_counter()
            run(image)
            fastest[engine] = min(fastest[engine], time.perf_counter() - began)
        if turn >= _WARM_UP and time.perf_counter() > until:
            break
    return fastest


def trusted(model: Model, engine: str | None) -> str:
    """The engine that made a threshold or a gallery, where it is exact on this CPU too; else the default one."""
    default = default_engine(model)
    if engine in (None, default) or model.profile:
        return default
    return engine if runs_here(engine) and is_exact(model, engine) else default


def is_exact(model: Model, engine: str) -> bool:
    """Whether an engine computes a model on this CPU as the simulation does, but for rounding."""
    if not model.integer:
        return True
    if not _holds(model, engine):
        return False
    if engine == NATIVE:
        return _starts_native(model)
    from bitface.targets.exact import FITTING_BITS, exact

    return exact(engine, max(_factor_bits(model), FITTING_BITS))


def _starts_native(model: Model) -> bool:
    """Whether C has a kernel for every operator, and there is a compiler that makes it."""
    try:
        return runs_here(NATIVE) and bool(model.start(NATIVE))
    except BitfaceError:
        return False


def _suggestion() -> str:
    return " ".join(option(name, "w7a8") for name in ("bits", "first", "last"))


def _factor_bits(model: Model) -> int:
    """The widest numbers that activations are multiplied by: weights, or activations where two tensors are."""
    return max(8, model.weight_bits) if model.multiplies_activations else model.weight_bits


def _holds(model: Model, engine: str) -> bool:
    return TARGETS[engine].holds.obstacle(model.network.graph) is None


def _asked_exactly(engine: str) -> bool:
    """Whether an engine is one that is asked for exact sums, where there is no torch for a trial."""
    return engine == PORTABLE and find_spec(_SIMULATION) is None


def inexact(model: Model, engine: str) -> str | None:
    """Why an engine's embeddings of a model aren't exact on this CPU, and what to do; None where they are."""
    if engine == NATIVE or _asked_exactly(engine) or is_exact(model, engine):
        return None
    other = None if model.profile else default_engine(model)
    if model.multiplies_activations:
        return (
            f"{title_of(engine)}'s sums of 8 bits saturate on this CPU, in products of activations, too, so its "
            f"embeddings aren't the model's own; use {other or 'another engine, from the artifact'}"
        )
    return (
        f"{title_of(engine)}'s sums of weights of 8 bits saturate on this CPU, so its embeddings aren't the model's "
        "own; "
        f"{f'use {other}, or ' if other else ''}make the model with {_suggestion()}"
    )


def failure(model: Model) -> str | None:
    """What to say where the default engine isn't C because C didn't start; opened again, the model tries it again."""
    if model not in _failures:
        return None
    reason = _failures[model]
    return f"{title_of(reason.engine)} runs it here, as {title_of(NATIVE)} didn't start: {reason}"


def passed_over(model: Model, engine: str) -> str | None:
    """What to say where a faster engine isn't the default one: it didn't start, or isn't exact on this CPU."""
    if reason := failure(model):
        return reason
    faster = DEFAULTS[: DEFAULTS.index(engine)] if engine in DEFAULTS and not model.profile else ()
    names = [title_of(other) for other in faster if _holds(model, other) and not is_exact(model, other)]
    if not names:
        return None
    if model.multiplies_activations:
        return f"{title_of(engine)} runs the integers here: {names[0]}'s sums of 8 bits saturate on this CPU"
    return (
        f"{title_of(engine)} runs the integers here: {names[0]} is faster, but its sums of weights of 8 bits saturate "
        f"on this CPU; {_suggestion()} makes a model that is exact in both"
    )

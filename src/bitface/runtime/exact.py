"""Which target runs a model where nobody names one, and what there is to say of those that aren't exact on this CPU."""

from bitface.errors import option
from bitface.graph import ops
from bitface.runtime.model import Model
from bitface.targets.exact import FITTING_BITS, exact
from bitface.targets.registry import DEFAULTS, TARGETS, runs_here, title_of


def _suggestion() -> str:
    return " ".join(option(name, "w7a8") for name in ("bits", "first", "last"))


def default_engine(model: Model) -> str:
    """The fastest engine that computes a model exactly on this CPU; of an exported file the one it was written for."""
    if model.profile:
        return model.profile
    return next(engine for engine in DEFAULTS if is_exact(model, engine))


def trusted(model: Model, engine: str | None) -> str:
    """The engine that made a threshold or a gallery, where it is exact on this CPU too; else the default one."""
    if engine is not None and not model.profile and runs_here(engine) and is_exact(model, engine):
        return engine
    return default_engine(model)


def is_exact(model: Model, engine: str) -> bool:
    """Whether an engine computes a model on this CPU as the simulation does, but for rounding."""
    if not model.integer:
        return True
    return _holds(model, engine) and exact(engine, max(_factor_bits(model), FITTING_BITS))


def _factor_bits(model: Model) -> int:
    """The widest numbers that activations are multiplied by: weights, or activations where two tensors are."""
    return max(8, model.weight_bits) if _multiplies_activations(model) else model.weight_bits


def _multiplies_activations(model: Model) -> bool:
    return any(isinstance(module, ops.MatMul) for module in model.network.graph.modules())


def _holds(model: Model, engine: str) -> bool:
    return TARGETS[engine].holds.obstacle(model.network.graph) is None


def inexact(model: Model, engine: str) -> str | None:
    """Why an engine's embeddings of a model aren't exact on this CPU, and what to do; None where they are."""
    if is_exact(model, engine):
        return None
    other = None if model.profile else default_engine(model)
    if _multiplies_activations(model):
        return (
            f"{title_of(engine)}'s sums of 8 bits saturate on this CPU, in products of activations, too, so its "
            f"embeddings aren't the model's own; use {other or 'another engine, from the artifact'}"
        )
    return (
        f"{title_of(engine)}'s sums of weights of 8 bits saturate on this CPU, so its embeddings aren't the model's "
        "own; "
        f"{f'use {other}, or ' if other else ''}make the model with {_suggestion()}"
    )


def passed_over(model: Model, engine: str) -> str | None:
    """What to say where a faster engine isn't the default one because it isn't exact on this CPU; None otherwise."""
    faster = DEFAULTS[: DEFAULTS.index(engine)] if engine in DEFAULTS and not model.profile else ()
    names = [title_of(other) for other in faster if _holds(model, other) and not is_exact(model, other)]
    if not names:
        return None
    if _multiplies_activations(model):
        return f"{title_of(engine)} runs the integers here: {names[0]}'s sums of 8 bits saturate on this CPU"
    return (
        f"{title_of(engine)} runs the integers here: {names[0]} is faster, but its sums of weights of 8 bits saturate "
        f"on this CPU; {_suggestion()} makes a model that is exact in both"
    )

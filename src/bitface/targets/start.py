"""A network in the engine of a target, on this machine, or in the simulation of one that isn't here."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Union

from bitface.errors import BitfaceError, UsageError, one_line
from bitface.targets.base import Run, Settings, Target, Unread
from bitface.targets.registry import TARGETS, runs_here, started, way_to_install

if TYPE_CHECKING:
    from bitface.graph import Network

SIMULATION = "torch"
Source = Union["Network", Path, Unread]


def start(name: str, source: Source, settings: Settings = Settings(), file: Path | str | None = None) -> Run:
    """Loads a network into a target's engine for batches of one size; see `substitute` for one that isn't here.

    Args:
        source: the graph of a network as it is, read or not, or what the target was written as.
        file: what messages call it; None: the source's own name.

    Raises:
        UsageError: an unknown target, one that doesn't run here, or a precision that it hasn't.
        BitfaceError: the engine refuses the network, or isn't installed and has no simulation.
    """
    target = started(name)
    what = file or (source if isinstance(source, Path) else source.name)
    if settings.precision not in target.precisions:
        precisions = " or ".join(target.precisions)
        raise UsageError(f"{what}: {name} has no precision '{settings.precision}' for floats; use {precisions}")
    if target.fixed_batch not in (None, settings.batch):
        raise BitfaceError(f"{what}: {name} runs {target.fixed_batch} at once, not {settings.batch}")
    if isinstance(source, Unread):
        return _start_unread(name, source, settings, what)
    if not isinstance(source, Path):
        source = _held(name, source, what)
    if not runs_here(name):
        return _simulated(target, source, settings, what)
    assert target.start is not None
    return _started(name, partial(target.start, source, settings), what)


def _start_unread(name: str, source: Unread, settings: Settings, what: Path | str) -> Run:
    starts = TARGETS[name].start_unread
    if starts is None or not runs_here(name):
        return start(name, source.read(), settings, what)
    held = replace(source, read=lambda: _held(name, source.read(), what))
    return _started(name, partial(starts, held, settings), what)


def _started(name: str, starts: Callable[[], Run], what: Path | str) -> Run:
    try:
        return starts()
    except BitfaceError:
        raise
    except Exception as error:  # engines raise RuntimeError and their own kinds
        raise BitfaceError(f"{what}: {name} can't load it: {one_line(error)}") from error


def _held(name: str, network: "Network", what: Path | str) -> "Network":
    """A network as a target can hold it."""
    from bitface.targets.conform import conformed

    holds = TARGETS[name].holds
    network = conformed(network, holds)
    if obstacle := holds.obstacle(network.graph):
        raise BitfaceError(f"{what}: {name} can't run it: {obstacle}")
    return network


def substitute(name: str, read: Callable[[], "Network"]) -> list[str]:
    """What there is to say of a target that computes: that its simulation does, and what the network lost for it.

    Args:
        read: gives the network, where the target doesn't hold every one.
    """
    target = TARGETS[name]
    notes = []
    if not runs_here(name):
        install = f"; the engine itself runs after {way_to_install(target)}" if target.start else ""
        notes.append(f"{target.title} doesn't run here: its simulation in torch computed{install}")
    if not target.holds.unsigned:
        from bitface.targets.conform import coarser

        count = coarser(read().graph, target.holds)
        notes += [losing_levels(name, count)] if count else []
    return notes


def losing_levels(name: str, count: int) -> str:
    """What there is to say where unsigned activations become signed ones for a target."""
    return (
        f"{TARGETS[name].title} has signed activations alone, so {count} unsigned tensor{'s' * (count > 1)} lose one "
        f"of their 8 bits; `bitface quantize … --target {name}` makes a model that loses none"
    )


def _simulated(target: Target, source: "Network | Path", settings: Settings, what: Path | str) -> Run:
    if target.simulate is None:
        raise BitfaceError(f"{what}: {target.title} isn't installed; get it by {way_to_install(target)}")
    run = TARGETS[SIMULATION].start
    assert run is not None
    if isinstance(source, Path):  # a file that says its roundings itself
        from bitface.graph import load_network

        return run(load_network(source), settings)
    return run(replace(source, graph=target.simulate(source.graph)), settings)

"""A network in the engine of a target, on this machine."""

from pathlib import Path

from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network
from bitface.targets.base import Run, Settings
from bitface.targets.registry import started


def start(name: str, source: Network | Path, settings: Settings = Settings(), file: Path | str | None = None) -> Run:
    """Loads a network into a target's engine for batches of one size.

    Args:
        source: the graph of a network as it is, or what the target was written as.
        file: what messages call it; None: the source's own name.

    Raises:
        UsageError: an unknown target, one that doesn't run here, or a precision that it hasn't.
        BitfaceError: the engine refuses the network.
    """
    target = started(name)
    assert target.start is not None
    what = file or (source if isinstance(source, Path) else source.name)
    if settings.precision not in target.precisions:
        precisions = " or ".join(target.precisions)
        raise UsageError(f"{what}: {name} has no precision '{settings.precision}' for floats; use {precisions}")
    if target.fixed_batch not in (None, settings.batch):
        raise BitfaceError(f"{what}: {name} runs {target.fixed_batch} at once, not {settings.batch}")
    if isinstance(source, Network) and (obstacle := target.holds.obstacle(source.graph)):
        raise BitfaceError(f"{what}: {name} can't run it: {obstacle}")
    try:
        return target.start(source, settings)
    except BitfaceError:
        raise
    except Exception as error:  # engines raise RuntimeError and their own kinds
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise BitfaceError(f"{what}: {name} can't load it: {text[0]}") from error

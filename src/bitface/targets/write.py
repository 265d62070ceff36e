"""A network as a target's file or folder, which is there whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

from bitface.errors import BitfaceError
from bitface.files import atomic_path, check_destination, filled_once
from bitface.graph import Network
from bitface.scratch import remove_left
from bitface.targets.base import NAME_KEY, Target
from bitface.targets.conform import coarser, conformed
from bitface.targets.guide import guide
from bitface.targets.registry import emitted
from bitface.targets.start import losing_levels

GUIDE = "README.md"


def check_place(name: str, path: Path) -> None:
    """Makes sure, before anything is computed, that a target can be written to a path.

    Raises:
        BitfaceError: a file would replace a folder, or a folder something that is there.
    """
    if _is_file(name, path):
        check_destination(path)
    elif path.exists() or path.is_symlink():
        remove_left(path.parent)
        if emitted(name).suffix:
            check_destination(path)  # which names what is there
        raise BitfaceError(f"{path}: is there already, and {name} is written as a folder; name a new one")


def _is_file(name: str, path: Path) -> bool:
    """Whether a path is that of the target's one file, not of a folder with its guide beside it."""
    suffix = emitted(name).suffix
    return bool(suffix) and (path.suffix.lower() == suffix or (path.exists() and not path.is_dir()))


def write(name: str, network: Network, facts: Mapping[str, str], path: Path) -> int:
    """Writes a network for a target: one file, or a folder with a guide to its files.

    Args:
        network: its graph is written as it is, or as the target can hold it; see `conform`.
        facts: what the file says of itself.
        path: of a file, where it ends in the target's suffix; else of a new folder.

    Returns:
        The bytes of all files but the guide.

    Raises:
        UsageError: unknown target, or one that isn't written.
        BitfaceError: the target can't express the network, the path can't be written, or the file breaks a rule of
            the target's vendor.
    """
    target = emitted(name)
    assert target.emit is not None
    network = conformed(network, target.holds)
    if obstacle := target.holds.obstacle(network.graph):
        raise BitfaceError(f"{network.name}: can't be written for {target.title}: {obstacle}")
    check_place(name, path)
    emit = target.emit
    if _is_file(name, path):
        with atomic_path(path) as file:
            emit(network, facts, file)
            _check_rules(target, network, file)
            return file.stat().st_size

    def fill(folder: Path) -> None:
        model = folder / f"model{target.suffix}" if target.suffix else folder
        emit(network, facts, model)
        _check_rules(target, network, model)
        (folder / GUIDE).write_text(guide(name, network, called=facts.get(NAME_KEY)), encoding="utf-8")

    try:
        filled_once(path, fill)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be written ({error.strerror or error})") from error
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != GUIDE)


def notes_of(name: str, network: Network) -> list[str]:
    """What there is to say of a network that is written for a target."""
    count = coarser(network.graph, emitted(name).holds)
    return [losing_levels(name, count)] if count else []


def _check_rules(target: Target, network: Network, path: Path) -> None:
    for rule in target.rules:
        if broken := rule.broken(path):
            more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
            raise BitfaceError(
                f"{network.name}: {target.title} would refuse it: {broken[0]}{more} ({rule.text}: {rule.source})"
            )

"""A network as a target's file or folder, which is there whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

from bitface.errors import BitfaceError
from bitface.files import atomic_path, check_destination, filled_once
from bitface.graph import Network
from bitface.targets.registry import emitted


def check_place(name: str, path: Path) -> None:
    """Makes sure, before anything is computed, that a target can be written to a path.

    Raises:
        BitfaceError: a file would replace a folder, or a folder something that is there.
    """
    if emitted(name).suffix:
        check_destination(path)
    elif path.exists() or path.is_symlink():
        raise BitfaceError(f"{path}: is there already, and {name} is written as a folder; name a new one")


def write(name: str, network: Network, facts: Mapping[str, str], path: Path) -> int:
    """Writes a network for a target.

    Args:
        network: its graph is written as it is.
        facts: what the file says of itself.

    Returns:
        The bytes of all files.

    Raises:
        UsageError: unknown target, or one that isn't written.
        BitfaceError: the target can't express the network, or the path can't be written.
    """
    target = emitted(name)
    assert target.emit is not None
    if obstacle := target.holds.obstacle(network.graph):
        raise BitfaceError(f"{network.name}: can't be written for {target.title}: {obstacle}")
    check_place(name, path)
    if target.suffix:
        with atomic_path(path) as file:
            target.emit(network, facts, file)
            return file.stat().st_size
    emit = target.emit
    try:
        filled_once(path, lambda folder: emit(network, facts, folder))
    except OSError as error:
        raise BitfaceError(f"{path}: can't be written ({error.strerror or error})") from error
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

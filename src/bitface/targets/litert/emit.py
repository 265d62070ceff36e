"""Writes a network as a `.tflite` file."""

from collections.abc import Mapping
from pathlib import Path

from bitface.errors import BitfaceError, option
from bitface.files import write_bytes
from bitface.graph import Network
from bitface.preprocess import Preprocess
from bitface.targets.litert import layers, maps, numbers, sums
from bitface.targets.litert.rounding import rounded
from bitface.targets.litert.writer import Writer

_WRITERS = {**layers.WRITERS, **numbers.WRITERS, **maps.WRITERS, **sums.WRITERS}


def content(network: Network, facts: Mapping[str, str], pixels: Preprocess | None = None) -> bytes:
    """The file's bytes; `pixels`: the image is uint8, which the file preprocesses itself.

    Raises:
        BitfaceError: the network has an operator that LiteRT hasn't.
    """
    try:
        return Writer(rounded(network.graph), _WRITERS).write(facts, pixels)
    except BitfaceError as error:
        raise BitfaceError(f"{network.name}: can't be written for LiteRT: {error}") from error


def emit(network: Network, facts: Mapping[str, str], path: Path) -> None:
    """With a float32 image `[1, H, W, channels]`, preprocessed."""
    write_bytes(path, content(network, facts))


def emit_for_pixels(network: Network, facts: Mapping[str, str], path: Path) -> None:
    """With a uint8 image `[1, H, W, channels]`, RGB or grey.

    Raises:
        BitfaceError: nobody has said how the network wants its pixels.
    """
    if network.preprocess is None:
        raise BitfaceError(
            f"{network.name}: its preprocessing isn't known, so it can't be part of the file; say it with "
            f"{option('preprocess')}, or write it for litert"
        )
    write_bytes(path, content(network, facts, network.preprocess))

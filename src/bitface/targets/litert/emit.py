"""Writes a network as a `.tflite` file."""

from collections.abc import Mapping
from pathlib import Path

from bitface.errors import BitfaceError, option
from bitface.files import write_bytes
from bitface.graph import Network
from bitface.targets.litert import elementwise, layers, maps, reductions
from bitface.targets.litert.rounding import rounded
from bitface.targets.litert.tflite_file import TfliteFile
from bitface.targets.litert.writer import Writer

_WRITERS = {**layers.WRITERS, **elementwise.WRITERS, **maps.WRITERS, **reductions.WRITERS}


def tflite(network: Network, pixels: bool = False) -> TfliteFile:
    """The file of a network; `pixels`: of uint8 images, which it preprocesses itself.

    Raises:
        BitfaceError: the network has an operator that LiteRT hasn't, or nobody has said how it wants its pixels.
    """
    if pixels and network.preprocess is None:
        raise BitfaceError(
            f"{network.name}: its preprocessing isn't known, so it can't be part of the file; say it with "
            f"{option('preprocess')}, or write the network for litert"
        )
    try:
        return Writer(rounded(network.graph), _WRITERS).write(network.preprocess if pixels else None)
    except BitfaceError as error:
        raise BitfaceError(f"{network.name}: can't be written for LiteRT: {error}") from error


def emit(network: Network, facts: Mapping[str, str], path: Path) -> None:
    """With a float32 image `[1, H, W, channels]`, preprocessed."""
    write_bytes(path, tflite(network).content(facts))


def emit_for_pixels(network: Network, facts: Mapping[str, str], path: Path) -> None:
    """With a uint8 image `[1, H, W, channels]`, RGB or grey."""
    write_bytes(path, tflite(network, pixels=True).content(facts))

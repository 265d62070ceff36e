"""Which faces calibrate and which are held out, and which preprocessing the network wants."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitface.analysis.preprocessing import best_preset, rank_presets
from bitface.data import faces
from bitface.errors import BitfaceError
from bitface.graph import Network
from bitface.preprocess import parse

DEFAULT_CALIBRATION = 512
HELD_OUT = 256
_RANKED = 48
_FEW = 32

Step = Callable[[str], Callable[[int, int], None]]


@dataclass(frozen=True)
class Faces:
    """Calibration faces and held-out faces, uint8 RGB `[N, H, W, 3]`, in an order that no folder decides."""

    calibration: np.ndarray
    held_out: np.ndarray
    given: int
    skipped: int
    resized: int
    duplicates: int


def gather(
    sources: list[Path],
    size: tuple[int, int],
    image_list: Path | None = None,
    max_images: int | None = None,
    seed: int = 0,
    allow_skipped: bool = False,
    skipped_csv: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Faces:
    """Chooses and loads the faces.

    `max_images` (default 512) calibrate; up to 256 others are held out. Where that leaves none, a fifth of the chosen
    ones is held out instead.

    Raises:
        BitfaceError: no images, fewer than two that can be used, or more than 1 % that can't.
    """
    files = faces.find_images(sources, image_list)
    wanted = max_images or DEFAULT_CALIBRATION
    chosen = faces.choose(files, wanted + HELD_OUT, seed)
    loaded = faces.load_faces(chosen, size, progress, unique=True)
    faces.check_skipped(loaded.skipped, len(chosen), allow_skipped, skipped_csv)
    count = len(loaded.images)
    if count < 2:
        raise BitfaceError("one face can't calibrate and be held out too; give at least two, better a few hundred")
    calibrating = wanted if count > wanted else count - max(1, count // 5)
    return Faces(
        loaded.images[:calibrating],
        loaded.images[calibrating:],
        len(files),
        len(loaded.skipped),
        loaded.resized,
        loaded.duplicates,
    )


def settle_preprocess(network: Network, images: np.ndarray, word: str | None) -> tuple[Network, list[str], list[str]]:
    """The network with its preprocessing, and (notes, warnings) on how that was decided.

    What was named, or what the file says, is kept, with a warning where the faces speak for another one; otherwise
    the preset under which the faces match their own mirrored and shifted selves best is taken.
    """
    scores = rank_presets(network, images[:_RANKED])
    chosen = parse(word, network.size).name if word else network.preprocess.name if network.preprocess else None
    best, warning = best_preset(scores, chosen)
    if chosen is None:
        if best is None:
            raise BitfaceError(
                f"{network.name}: doesn't say how its input is normalised, and {warning}; name it with --preprocess"
            )
        note = f"preprocessing {best}: the best of the presets on these faces; name it with --preprocess to be sure"
        return network.with_preprocess(parse(best, network.size)), [note], []
    network = network.with_preprocess(parse(chosen, network.size))
    return network, [], [warning] if warning else []


def few(count: int) -> list[str]:
    """A warning where too few faces calibrate."""
    return [f"only {count} faces calibrate; ranges are steadier with 300 or more"] if count < _FEW else []

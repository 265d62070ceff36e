"""The faces of the pairs that an analysis shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bitface.data.faces import FaceFile, load_faces
from bitface.report.analysed import SHOWN_PAIRS
from bitface.results.analysis import AnalysisRecord, FlippedDecisions

# Height and width of a face, in pixels.
_CROP = (112, 112)


def pictures(files: Sequence[FaceFile], flips: FlippedDecisions | None, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The crops of the pairs that are shown, of a size (height, width), by path."""
    paths = {path for pair in (flips.worst[:SHOWN_PAIRS] if flips else ()) for path in (pair.left, pair.right)}
    crops = load_faces([file for file in files if file.relative in paths], size)
    return {file.relative: image for file, image in zip(crops.files, crops.images, strict=True)}


def pictures_of(analysis: AnalysisRecord) -> dict[str, np.ndarray]:
    """The crops of an analysis's flipped pairs, from the folder that it names; none of what isn't there any more."""
    flips, folder = analysis.flips, analysis.faces.folder
    if not flips or folder is None:
        return {}
    paths = dict.fromkeys(path for pair in flips.worst for path in (pair.left, pair.right))
    return pictures([FaceFile(Path(folder), path) for path in paths], flips, _CROP)

"""A photo with a face in it → the aligned crop that face-recognition networks are trained on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from bitface.errors import BitfaceError

CROP = 112
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""Where a 112x112 crop has the eyes, the tip of the nose and the corners of the mouth, in pixels (x, y), left
before right as seen in the image. The template of ArcFace (Deng et al., 2019)."""

_MAX_DETECTION_SIDE = 1024


@dataclass(frozen=True)
class AlignedFace:
    """`crop` is uint8 RGB `[H, W, 3]`; `landmarks` are the five points `[5, 2]` (x, y) in pixels of the
    original image, in the template's order; `score` is the detector's confidence, 0 to 1; `box` is where the face lies
    in the original image, in whole pixels (x, y, width, height); `faces` is the number of faces in the image, and
    `number` this one's among them, from 1 on, from the left to the right."""

    crop: np.ndarray
    landmarks: np.ndarray
    score: float
    box: tuple[int, int, int, int]
    faces: int
    number: int = 1

    @property
    def area(self) -> int:
        """Of its box, in pixels."""
        return self.box[2] * self.box[3]


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, uniform scale and shift `[2, 3]` that brings points `[K, 2]` nearest to others, `K >= 2`.

    Nearest in the sum of squared distances, reflections excluded: the problem of Umeyama (1991). In the plane
    it needs no singular value decomposition: with points as complex numbers, scale and rotation are one
    factor, which the normal equation of least squares gives directly.

    Raises:
        ValueError: the shapes differ, or all source points coincide.
    """
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError(f"points must be [K, 2] twice, got {list(source.shape)} and {list(target.shape)}")
    a = np.asarray(source, np.float64) @ (1, 1j)
    b = np.asarray(target, np.float64) @ (1, 1j)
    spread = a - a.mean()
    power = np.vdot(spread, spread).real
    if not power > 0:
        raise ValueError("the source points coincide")
    factor = np.vdot(spread, b - b.mean()) / power
    shift = b.mean() - factor * a.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def template(size: tuple[int, int]) -> np.ndarray:
    """Where a crop of a size (height, width) has the five points: as `TEMPLATE`, by its height, in the middle of it.

    So 112x96 (height x width) is the inner part of 112x112, the crop of SphereFace (Liu et al., 2017), and every square
    is 112x112 at another scale.
    """
    scale = size[0] / CROP
    # Pixel centres, not corners, have whole coordinates.
    points: np.ndarray = (TEMPLATE + 0.5) * scale - 0.5
    points[:, 0] += (size[1] - CROP * scale) / 2
    return points


def crop_face(image: np.ndarray, landmarks: np.ndarray, size: tuple[int, int] = (CROP, CROP)) -> np.ndarray:
    """Warps uint8 RGB `[H, W, 3]` so that the five landmarks `[5, 2]` fall on the template of a size (height, width).

    What lies outside the image is black. Where a face is more than twice as large as the crop, the image is
    averaged down by a whole factor first: bilinear sampling alone would pick single pixels and alias.
    """
    points = template(size)
    matrix = similarity(landmarks, points)
    factor = int(1 / np.hypot(matrix[0, 0], matrix[1, 0]))
    if factor > 1:
        height, width = (max(1, side // factor) for side in image.shape[:2])
        scale = np.array([width / image.shape[1], height / image.shape[0]])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        matrix = similarity((landmarks + 0.5) * scale - 0.5, points)
    return cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR)


class FaceAligner:
    """Finds faces with the YuNet detector (Wu et al., 2023) and crops them.

    Not safe to share between threads: the detector keeps the size of the last image.

    Args:
        boxes: that the detector looks at, several for each face: `FEW` do for images of one face, groups want `MANY`.
        size: of the crops, height and width; see `template`.

    Raises:
        BitfaceError: the detector's file is missing or can't be loaded.
    """

    FEW, MANY = 50, 5000

    def __init__(
        self, yunet_path: Path, score: float = 0.6, boxes: int = FEW, size: tuple[int, int] = (CROP, CROP)
    ) -> None:
        self.size = size
        if not Path(yunet_path).is_file():
            raise BitfaceError(f"{yunet_path}: no such file; give the YuNet face detector (.onnx)")
        try:
            with _quiet():
                self._detector = cv2.FaceDetectorYN.create(str(yunet_path), "", (CROP, CROP), score, 0.3, boxes)
        except cv2.error as error:
            raise BitfaceError(
                f"{yunet_path}: not a YuNet face detector that OpenCV {cv2.__version__} can load; "
                "the default one needs OpenCV 4.11 or later"
            ) from error

    def align(self, image: np.ndarray) -> AlignedFace | None:
        """The largest face of uint8 RGB `[H, W, 3]`, or None where no face is found."""
        return max(self.faces(image), key=lambda face: face.area, default=None)

    def faces(self, image: np.ndarray) -> list[AlignedFace]:
        """The faces of uint8 RGB `[H, W, 3]`, from the left to the right.

        The detector sees at most 1024 pixels a side; crops are taken from the image as given.
        """
        height, width = image.shape[:2]
        scale = min(1.0, _MAX_DETECTION_SIDE / max(height, width))
        small = np.ascontiguousarray(image[..., ::-1])
        if scale < 1:
            reduced = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(small, reduced, interpolation=cv2.INTER_AREA)
        self._detector.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._detector.detect(small)
        ratio = np.array([width / small.shape[1], height / small.shape[0]])
        faces: list[AlignedFace] = []
        # Each row: box (x, y, width, height), five points (x, y), score.
        for row in sorted(() if rows is None else rows.astype(np.float64), key=lambda row: row[0] + row[2] / 2):
            landmarks = (row[4:14].reshape(5, 2) + 0.5) * ratio - 0.5
            try:
                crop = crop_face(image, landmarks, self.size)
            except (ValueError, cv2.error):
                continue  # landmarks in one point: whatever was found, it can't be aligned
            x, y, across, down = (round(float(side)) for side in row[:4] * np.tile(ratio, 2))
            faces.append(AlignedFace(crop, landmarks, float(row[14]), (x, y, across, down), 0))
        return [replace(face, faces=len(faces), number=number) for number, face in enumerate(faces, 1)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps OpenCV's own notes off the terminal: loading a network warns about targets nobody asked for."""
    # Before OpenCV 4.13 this module isn't there, and neither is the warning.
    logging = getattr(cv2.utils, "logging", None)
    if logging is None:
        yield
        return
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)

"""Many small images as one."""

import math

import cv2
import numpy as np


def contact_sheet(images: np.ndarray, columns: int = 10, gap: int = 2) -> np.ndarray:
    """Lays uint8 RGB images `[N, H, W, 3]` out in rows: one uint8 RGB image, white between and behind them.

    Raises:
        ValueError: there is no image or no column.
    """
    if len(images) == 0 or columns < 1:
        raise ValueError(f"no sheet of {len(images)} images in {columns} columns")
    columns = min(columns, len(images))
    _, height, width, channels = images.shape
    rows = math.ceil(len(images) / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, channels)
    sheet = np.full(shape, 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def sheet_png(images: np.ndarray) -> bytes:
    """A contact sheet as a PNG file."""
    encoded, data = cv2.imencode(".png", cv2.cvtColor(contact_sheet(images), cv2.COLOR_RGB2BGR))
    assert encoded
    return data.tobytes()

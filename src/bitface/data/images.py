"""One encoded image → pixels, or the reason why not. Damaged and hostile files are everyday input here."""

import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bitface.errors import BitfaceError
from bitface.files import muted
from bitface.preprocess import Size

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
MAX_PIXELS = 64_000_000

# What undoes each value of the EXIF tag "orientation" (EXIF 2.32, tag 0x0112); 1 needs nothing.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# By these, height and width change places.
_TURNED = (5, 6, 7, 8)
# Tags of TIFF 6.0 that say what a number stands for, and what they say of numbers below zero and of negatives.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_SIGNED, _WHITE_IS_ZERO = 2, 0

# Without any handler Python prints the library's remarks on damaged files; whoever wants them can log them.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class ImageSkipped(BitfaceError):
    """This image can't be used. `reason` says why in a few words, without the path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_image(source: Path | bytes) -> np.ndarray:
    """Decodes an image file, or its content, to uint8 RGB `[H, W, 3]`, upright.

    The content decides on the format, not the name. EXIF orientation is applied; grey becomes three equal
    channels; transparency is composited onto black (what stands behind transparent pixels is arbitrary); CMYK
    is converted without a colour profile; grey of 9 to 16 bits is scaled by its depth and rounded, 16-bit colour keeps
    its high byte; of an animation the first frame is taken.

    Raises:
        ImageSkipped: the file is empty, truncated, no image of `FORMATS`, has more than `MAX_PIXELS` by its
            header (found before anything of that size is allocated), or floating-point, signed or 32-bit pixels.
    """
    with _reasons(source):
        return _decode(source)


def pixels_of(image: Image.Image) -> np.ndarray:
    """The pixels of an image that Pillow has opened or made, as `read_image` gives those of a file.

    Raises:
        ImageSkipped: as there, for what an image in memory can have.
    """
    with _reasons(b"opened"):
        image.load()
        return _upright_rgb(image)


def image_size(source: Path | bytes) -> Size:
    """Height and width of the image of `read_image`, by the file's header. Raises ImageSkipped."""
    with _reasons(source), Image.open(_opened(source), formats=FORMATS) as image:
        if image.format == "TIFF":  # whether these are upright before they are decoded depends on Pillow's version
            return Size(*_decode(source).shape[:2])
        width, height = image.size
        return Size(width, height) if _orientation(image) in _TURNED else Size(height, width)


def _opened(source: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _bytes_in(source: Path | bytes) -> int:
    if isinstance(source, bytes):
        return len(source)
    # Opening a pipe would block, and a device may never end.
    status = os.stat(source)
    if not stat.S_ISREG(status.st_mode):
        raise ImageSkipped("not a regular file")
    return status.st_size


@contextmanager
def _reasons(source: Path | bytes) -> Iterator[None]:
    """Whatever goes wrong with a file becomes an ImageSkipped."""
    try:
        if _bytes_in(source) == 0:
            raise ImageSkipped("empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageSkipped:
        raise
    except UnidentifiedImageError:
        raise ImageSkipped("not an image that can be read (JPEG, PNG, BMP, WEBP, PPM, TIFF, GIF)") from None
    except Image.DecompressionBombError:
        raise ImageSkipped(f"more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except MemoryError:
        raise ImageSkipped("not enough memory to decode it") from None
    # Decoders fed with damaged files raise anything: OSError, SyntaxError, struct.error, IndexError and
    # others.
    except Exception as error:
        raise ImageSkipped(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join(text.split())[:120]
    if "truncated" in text.lower():
        return "truncated: the file ends before the image does"
    return f"can't be decoded: {text or type(error).__name__}"


def _decode(source: Path | bytes) -> np.ndarray:
    with Image.open(_opened(source), formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageSkipped(f"more than {MAX_PIXELS // 1_000_000} megapixels ({width}x{height})")
        if width * height == 0:
            raise ImageSkipped(f"no pixels ({width}x{height})")
        # libtiff writes its complaints about damaged data to the terminal by itself.
        with muted() if any(tile[0] == "libtiff" for tile in image.tile) else nullcontext():
            image.load()
        return _upright_rgb(image)


def _upright_rgb(image: Image.Image) -> np.ndarray:
    """The pixels of a loaded image."""
    turn, deep = _UPRIGHT.get(_orientation(image)), _Depth.of(image)
    return _to_rgb(image if turn is None else image.transpose(turn), deep)


def _orientation(image: Image.Image) -> int:
    # Read of a loaded image, since TIFF images are then upright already and no longer say otherwise. Damaged
    # EXIF is no reason to lose good pixels.
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


@dataclass(frozen=True)
class _Depth:
    """What the numbers of a grey image of more than 8 bits stand for: Pillow gives them as a TIFF holds them.

    Attributes:
        bits: of a number; white is the largest one.
        signed: they may be below zero.
        negative: 0 is white.
    """

    bits: int = 16
    signed: bool = False
    negative: bool = False

    @staticmethod
    def of(image: Image.Image) -> "_Depth":
        tags = getattr(image, "tag_v2", None)
        if tags is None:
            return _Depth()
        bits, kinds = tags.get(_BITS_PER_SAMPLE, (16,)), tags.get(_SAMPLE_FORMAT, (1,))
        return _Depth(int(bits[0]), kinds[0] == _SIGNED, tags.get(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO)

    def grey(self, values: np.ndarray) -> np.ndarray:
        """From 0 to 255, rounded. Raises ImageSkipped where nobody knows what is white."""
        if self.bits > 16 or values.min() < 0 or values.max() >= 1 << self.bits:
            raise ImageSkipped("more than 16 bits per channel")
        if self.signed:
            raise ImageSkipped("signed pixels")
        white = (1 << self.bits) - 1
        grey = ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
        return 255 - grey if self.negative else grey


def _to_rgb(image: Image.Image, depth: _Depth) -> np.ndarray:
    if image.mode == "F":
        raise ImageSkipped("floating-point pixels")
    if image.mode.startswith("I"):
        return np.repeat(depth.grey(np.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.new("RGB", image.size)
        image.paste(colours, mask=colours.getchannel("A"))
    return np.array(image.convert("RGB"))

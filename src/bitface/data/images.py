"""One encoded image → pixels, or the reason why not. Damaged and hostile files are everyday input here."""

import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
    is converted without a colour profile; 16-bit grey is divided by 257 and rounded, 16-bit colour keeps its
    high byte; of an animation the first frame is taken.

    Raises:
        ImageSkipped: the file is empty, truncated, no image of `FORMATS`, has more than `MAX_PIXELS` by its
            header (found before anything of that size is allocated), or floating-point or 32-bit pixels.
    """
    with _reasons(source):
        return _decode(source)


def pixels_of(image: Image.Image) -> np.ndarray:
    """The pixels of an image that Pillow has opened or made, as `read_image` gives those of a file.

    Raises:
        ImageSkipped: as there, for what an image in memory can have.
    """
    with _reasons(b"opened"):
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
    turn = _UPRIGHT.get(_orientation(image))
    return _to_rgb(image if turn is None else image.transpose(turn))


def _orientation(image: Image.Image) -> int:
    # Read after decoding, since TIFF images are then upright already and no longer say otherwise. Damaged
    # EXIF is no reason to lose good pixels.
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ImageSkipped("floating-point pixels")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageSkipped("more than 16 bits per channel")
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.new("RGB", image.size)
        image.paste(colours, mask=colours.getchannel("A"))
    return np.array(image.convert("RGB"))

"""How pixels become the network's input. Travels with the model, so that no two steps can disagree.

A specification is one word: `COLOUR-MEAN-STD`, with MEAN and STD in pixel units (0 to 255), each one number or
three separated by commas. `rgb-raw` is `rgb-0-1`, `rgb-imagenet` has ImageNet's constants. COLOUR is `rgb`, `bgr`, or
`grey`, of which a network has one channel.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from bitface.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

_IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

LARGEST_SIDE = 4096
"""No image of a face network is higher or wider, in pixels."""

Triple = tuple[float, float, float]


class Size(NamedTuple):
    """Height and width of an image, in pixels; in words HEIGHTxWIDTH."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"

    @staticmethod
    def parse(value: str | int | Sequence[int]) -> "Size":
        """The size that `160` (square), `"160"`, `"112x96"` or `(112, 96)` means: height first.

        Raises:
            UsageError: it is anything else, or a side isn't within 1 to `LARGEST_SIDE`.
        """
        word = str(value) if isinstance(value, str | int) else "x".join(map(str, value))
        sides = [int(side) for side in word.split("x")] if re.fullmatch(r"[0-9]{1,5}(x[0-9]{1,5})?", word) else [0]
        if not 1 <= min(sides) <= max(sides) <= LARGEST_SIDE:
            raise UsageError(
                f"'{word}' is no image size: give 1 to {LARGEST_SIDE} pixels, as 160 or 112x96 (HEIGHTxWIDTH)"
            )
        return Size(sides[0], sides[-1])


@dataclass(frozen=True)
class Preprocess:
    """`(pixel - mean) / std` in the colour order given, as float32 `[N, channels, height, width]`.

    `mean` and `std` are in pixel units (0 to 255) and follow the colour order of the network's channels; those of grey
    are the same number three times.
    """

    color: str = "rgb"
    size: tuple[int, int] = (112, 112)
    mean: Triple = (127.5, 127.5, 127.5)
    std: Triple = (127.5, 127.5, 127.5)

    def __call__(self, images: "np.ndarray") -> "np.ndarray":
        """uint8 RGB `[N, H, W, 3]` → float32 `[N, channels, H, W]`, contiguous.

        Raises:
            ValueError: the array isn't uint8 `[N, H, W, 3]` of this size.
        """
        import numpy as np  # whoever only names a size or a preprocessing doesn't wait for it

        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (*self.size, 3):
            raise ValueError(
                f"faces must be uint8 RGB [N, {self.size[0]}, {self.size[1]}, 3], "
                f"got {images.dtype} {list(images.shape)}"
            )
        if self.color == "bgr":
            images = images[..., ::-1]
        if self.color == "grey":
            images = luma(images)
        mean, std = (np.array(values[: self.channels], np.float32) for values in (self.mean, self.std))
        inputs = np.empty((len(images), self.channels, *self.size), np.float32)
        for channel in range(self.channels):  # in planes, which is many times as fast as pixel by pixel
            np.subtract(images[..., channel], mean[channel], out=inputs[:, channel], dtype=np.float32)
        inputs /= std[:, None, None]
        return inputs

    @property
    def channels(self) -> int:
        """Of the network's image: 3, or 1 of grey."""
        return 1 if self.color == "grey" else 3

    @property
    def raw(self) -> bool:
        """Whether the pixels stay as they are."""
        return set(self.mean) == {0} and set(self.std) == {1}

    @property
    def name(self) -> str:
        """The word that parses back to this: a preset's name where there is one."""
        for name in presets(self.channels):
            preset = parse(name, self.size)
            if preset == self:
                return name
        return f"{self.color}-{_write(self.mean)}-{_write(self.std)}"

    def to_json(self) -> dict[str, Any]:
        return {"color": self.color, "size": list(self.size), "mean": list(self.mean), "std": list(self.std)}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Preprocess":
        """Raises ValueError, KeyError or TypeError on anything but `to_json`'s form."""
        mean, std = _triple(value["mean"]), _triple(value["std"])
        height, width = (int(side) for side in value["size"])
        if value["color"] not in COLORS or not all(map(isfinite, mean + std)) or 0 in std:
            raise ValueError(f"not a preprocessing: {value}")
        if value["color"] == "grey" and (len(set(mean)), len(set(std))) != (1, 1):
            raise ValueError(f"grey has one mean and one deviation: {value}")
        if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
            raise ValueError(f"not an image size: {value['size']}")
        return Preprocess(value["color"], (height, width), mean, std)


COLORS = ("rgb", "bgr", "grey")
PRESETS = tuple(
    f"{color}-{values}"
    for color in ("rgb", "bgr")
    for values in ("127.5-127.5", "127.5-128", "raw", "imagenet", "0-255")
)
GREY_PRESETS = tuple(f"grey-{values}" for values in ("127.5-127.5", "127.5-128", "raw", "0-255"))


def presets(channels: int) -> tuple[str, ...]:
    """The words that may be meant for a network with images of this many channels."""
    return GREY_PRESETS if channels == 1 else PRESETS


def luma(images: "np.ndarray") -> "np.ndarray":
    """uint8 RGB `[..., 3]` → grey `[..., 1]`: ITU-R BT.601 in the 16-bit fixed point and rounding of Pillow's `L`."""
    import numpy as np

    weights = np.array([19595, 38470, 7471], np.uint32)  # 0.299, 0.587, 0.114 times 2 ** 16
    return ((images.astype(np.uint32) @ weights + 0x8000) >> 16).astype(np.uint8)[..., None]


def parse(word: str, size: tuple[int, int] = (112, 112)) -> Preprocess:
    """The preprocessing that a word names: a preset, or `rgb-MEAN-STD` with numbers of one's own.

    Raises:
        UsageError: the word is neither.
    """
    color, _, values = word.partition("-")
    color = "grey" if color == "gray" else color
    try:
        if color not in COLORS:
            raise ValueError
        if values == "raw":
            mean, std = _triple([0]), _triple([1])
        elif values == "imagenet" and color != "grey":
            order = slice(None) if color == "rgb" else slice(None, None, -1)
            mean, std = _triple(_IMAGENET_MEAN[order]), _triple(_IMAGENET_STD[order])
        else:
            first, second = values.split("-")
            mean, std = _triple(first.split(",")), _triple(second.split(","))
        return Preprocess.from_json({"color": color, "size": size, "mean": mean, "std": std})
    except ValueError:
        raise UsageError(
            f"unknown preprocessing '{word}': use one of {', '.join(PRESETS)}, "
            "or COLOUR-MEAN-STD in pixel units such as bgr-104,117,123-1 or grey-127.5-128"
        ) from None


def _triple(values: Any) -> Triple:
    numbers = [float(value) for value in values]
    if len(numbers) == 1:
        numbers *= 3
    first, second, third = numbers
    return first, second, third


def _write(values: Triple) -> str:
    """As few digits as say the numbers exactly, without an exponent, whose minus would end them."""
    import numpy as np

    texts = [np.format_float_positional(value, trim="-") for value in values]
    return texts[0] if len(set(texts)) == 1 else ",".join(texts)

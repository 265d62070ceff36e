"""The files of an ncnn model: `model.ncnn.param`, a text with a line for each layer, and `model.ncnn.bin`, the numbers.

The format is ncnn's (https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure). A line has the kind of a
layer, its name, how many blobs it reads and gives, their names, and parameters `key=value`; a blob is read once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

PARAM, BIN = "model.ncnn.param", "model.ncnn.bin"
IMAGE, EMBEDDING = "image", "embedding"

_MAGIC = 7767517
# Before weights: what type they have.
_INT8, _FLOAT32 = 0x000D4B38, 0
# The key of an array is written as this minus the key.
_ARRAY = -23300
# ncnn reads 255 characters of a name; the rest would be another word.
_LONGEST_NAME = 200

Parameter = int | float | Sequence[int] | Sequence[float]


class ModelFiles:
    """A model in the making."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._numbers = bytearray()
        self._blobs = 0
        self._names = {IMAGE, EMBEDDING}

    def name(self, wish: str) -> str:
        """A name that no layer or blob has yet."""
        short, count = wish[:_LONGEST_NAME], 0
        result = short
        while result in self._names:
            count += 1
            result = f"{short}_{count}"
        self._names.add(result)
        return result

    def layer(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        parameters: Mapping[int, Parameter] | None = None,
    ) -> None:
        """Appends a layer; its numbers follow by `weights` and `numbers`, in ncnn's order."""
        words = [f"{kind:<24} {name:<24} {len(inputs)} {len(outputs)}", *inputs, *outputs]
        self._lines.append(" ".join([*words, *(_text(key, value) for key, value in (parameters or {}).items())]))
        self._blobs += len(outputs)

    def weights(self, values: np.ndarray) -> None:
        """int8 stays int8, anything else becomes float32."""
        integers = values.dtype == np.int8
        content = np.ascontiguousarray(values if integers else values.astype("<f4")).tobytes()
        self._numbers += np.uint32(_INT8 if integers else _FLOAT32).astype("<u4").tobytes()
        self._numbers += content + b"\0" * (-len(content) % 4)

    def numbers(self, values: np.ndarray) -> None:
        """float32 of which the layer knows the count."""
        self._numbers += np.ascontiguousarray(values, "<f4").tobytes()

    def save(self, folder: Path) -> None:
        lines = [str(_MAGIC), f"{len(self._lines)} {self._blobs}", *self._lines]
        (folder / PARAM).write_text("\n".join(lines) + "\n", encoding="ascii")
        (folder / BIN).write_bytes(self._numbers)


def _text(key: int, value: Parameter) -> str:
    if isinstance(value, int | float):
        return f"{key}={_number(value)}"
    return f"{_ARRAY - key}={','.join([str(len(value)), *map(_number, value)])}"


def _number(value: int | float) -> str:
    """ncnn takes a number with a point for a float, and reads 15 characters of it."""
    return str(value) if isinstance(value, int) else np.format_float_scientific(np.float32(value), 8, exp_digits=2)

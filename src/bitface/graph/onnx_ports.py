"""What enters the network of an ONNX file and what leaves it: which input is the image, which output the embedding."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from bitface.errors import BitfaceError, UsageError, nearest, option
from bitface.graph.onnx_context import FLOATS
from bitface.graph.onnx_limits import graphs
from bitface.preprocess import LARGEST_SIDE

# Lengths of embeddings. Norms, qualities and landmarks have fewer numbers, a head has one for each person it was
# trained on.
_SIZES = range(32, 4097)
_EMBEDDING = re.compile(r"emb|feat|descriptor|\bfc1\b", re.IGNORECASE)
_HEAD = re.compile(
    r"qual|prob|logit|softmax|score|conf|cls|class|label|land|lmk|keypoint|kpt|pose|age|gender|attr|box|spoof|live",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ImageInput:
    """The image as the file takes it; the graph takes float32 `[N, channels, height, width]` of the same values.

    Attributes:
        batch, height, width: None where they are free.
        channels_last: `[N, height, width, channels]`.
        integers: uint8 instead of floats.
    """

    name: str
    batch: int | None
    channels: int
    height: int | None
    width: int | None
    channels_last: bool = False
    integers: bool = False

    @property
    def note(self) -> str | None:
        """What of its form the graph, and whatever is exported of it, doesn't keep."""
        sides = [str(side or "any") for side in (self.height, self.width)]
        if not (self.channels_last or self.integers):
            return None
        here = ", ".join(["N", str(self.channels), *sides])
        there = ", ".join(["N", *sides, str(self.channels)]) if self.channels_last else here
        return (
            f"the file takes {'uint8' if self.integers else 'float'} images [{there}]; what bitface makes of it takes "
            f"the same values as float32 [{here}]"
        )


@dataclass(frozen=True)
class Inputs:
    """The inputs of a file: the image, `flags` that say whether it trains, and `others`, which nothing may read."""

    image: ImageInput
    flags: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        flags = [f"its input '{name}' is taken as false" for name in self.flags]
        return flags + ([self.image.note] if self.image.note else [])


def inputs_of(graph: onnx.GraphProto) -> Inputs:
    """Which input of a file is the image.

    Raises:
        BitfaceError: none is, or several are, or it is no face image.
    """
    constants = {tensor.name for tensor in graph.initializer}
    operands = {name for one in graphs(graph) for node in one.node for name in node.input}
    # Old exporters list weights as inputs, and tools that replace weights forget to take them off the list.
    inputs = [value for value in graph.input if value.name in operands and value.name not in constants]
    flags = [value for value in inputs if _is_flag(value)]
    others = [value for value in inputs if value not in flags]
    images = [value for value in others if _may_be_image(value)] or others
    if len(images) != 1:
        names = ", ".join(f"'{value.name}'" for value in images) or "none"
        raise BitfaceError(f"no face network: it has {len(images)} inputs ({names}), a face network has one image")
    return Inputs(
        _image(images[0], graph),
        tuple(value.name for value in flags),
        tuple(value.name for value in others if value is not images[0]),
    )


def _is_flag(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    sides = [side.dim_value for side in kind.shape.dim]
    return kind.elem_type == TensorProto.BOOL and kind.HasField("shape") and sides in ([], [1])


def _may_be_image(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    return len(kind.shape.dim) == 4 or not kind.HasField("shape")


def _image(value: onnx.ValueInfoProto, graph: onnx.GraphProto) -> ImageInput:
    kind, name = value.type.tensor_type, value.name
    sides = [side.dim_value if side.dim_value > 0 else None for side in kind.shape.dim]
    if kind.elem_type not in (*FLOATS, TensorProto.UINT8) or len(sides) != 4:
        raise BitfaceError(f"no face network: its input '{name}' isn't a float image batch [N, 3, H, W], or of uint8")
    batch, *rest = sides
    last = _is_channels_last(rest, name, graph)
    channels, height, width = (rest[2], *rest[:2]) if last else rest
    if channels not in (1, 3, None):
        raise BitfaceError(
            f"its input '{name}' has {channels} channels; only images of three colours or of grey, [N, 3, H, W]"
        )
    if max(height or 1, width or 1) > LARGEST_SIDE:
        raise BitfaceError(f"its input '{name}' is {height} x {width} pixels, no face image")
    return ImageInput(name, batch, channels or 3, height, width, last, kind.elem_type == TensorProto.UINT8)


def _is_channels_last(sides: Sequence[int | None], name: str, graph: onnx.GraphProto) -> bool:
    """Whether the channels are the last of an image's three sides (None: free)."""
    first, _, last = sides
    if (first in (1, 3)) != (last in (1, 3)):
        return last in (1, 3)
    readers = [node for one in graphs(graph) for node in one.node if name in node.input]
    orders = [list(one.ints) for node in readers for one in node.attribute if one.name == "perm"]
    return [0, 3, 1, 2] in orders


@dataclass(frozen=True)
class Output:
    """An output of a file.

    Attributes:
        shape: for one image; None: the file doesn't say, and nothing computes it.
        probability: a Softmax or Sigmoid gives it.
    """

    name: str
    shape: tuple[int, ...] | None
    probability: bool = False

    @property
    def size(self) -> int:
        """The length of its vector; 0: it is none."""
        longer = [side for side in self.shape or () if side != 1]
        return longer[0] if len(longer) == 1 else 0

    def __str__(self) -> str:
        sides = "?" if self.shape is None else ", ".join(["N", *map(str, self.shape)])
        return f"'{self.name}' [{sides}]"


def output_named(name: str, names: Collection[str]) -> str:
    """Raises UsageError where a file has no output of this name."""
    if name not in names:
        raise UsageError(f"has no output '{name}'{nearest(name, names)} (it has {', '.join(names)})")
    return name


def choose_output(outputs: Sequence[Output], depends: Callable[[str, str], bool]) -> tuple[Output, str]:
    """The embedding among several outputs, and a note on it.

    Args:
        depends: whether the first name is computed from the second.

    Raises:
        BitfaceError: none is a vector for each image, or more than one may be meant.
    """
    vectors = [one for one in outputs if one.size and not one.probability]
    likely = [one for one in vectors if one.size in _SIZES] or vectors
    embeddings = [one for one in likely if _EMBEDDING.search(one.name)]
    likely = embeddings or [one for one in likely if not _HEAD.search(one.name)] or likely
    # What a vector as long, or a shorter one, is made of is on the way to it; a longer one may be a head on it.
    last = [
        one
        for one in likely
        if not any(depends(other.name, one.name) and other.size <= one.size for other in likely if other is not one)
    ]
    if len(last) != 1:
        several = f"it has 1 inputs and {len(outputs)} outputs ({', '.join(map(str, outputs))})"
        if not last:
            raise BitfaceError(
                f"no face network: {several}, and none looks like an embedding; {option('output', 'NAME')} takes one"
            )
        which = " and ".join(f"'{one.name}'" for one in last)
        raise BitfaceError(f"{several}, of which {which} may be the embedding; say which: {option('output', 'NAME')}")
    left = ", ".join(str(one) for one in outputs if one is not last[0])
    return last[0], f"its output {last[0]} is taken as the embedding, without {left}; {option('output')} names another"

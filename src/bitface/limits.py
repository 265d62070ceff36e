"""What a file may hold and ask for, whoever wrote it: the caps of all readers, in one place.

Each lies far above what a face network, or a set of faces, has. A file that wants more is refused in a line, before
memory or disk is taken for it.
"""

from bitface.errors import BitfaceError

LARGEST_SEED = 1 << 31
# Bytes of a model's file, and of each file of weights beside it.
LARGEST_FILE = 2 << 30
# Bytes of what describes an artifact's network.
LARGEST_HEADER = 4 << 20
# Bytes of a recipe, a suite, a plan, …
LARGEST_YAML = 1 << 20
# Values of a YAML file, where each name that stands for others counts as all of them.
MOST_VALUES = 100_000
# Nodes of an ONNX file, constants among them; the largest face networks have some 3,000.
MOST_NODES = 20_000
# Of a graph, however it came: what is more can be written into no artifact.
MOST_OPERATORS = 10_000
MOST_TENSORS = 50_000
# Of one tensor for one image: an image of 4096 x 4096 has 50 million.
MOST_NUMBERS = 1 << 26
# Of a tensor of weights.
LARGEST_SIDE = 1 << 24
# What is packed may become so many times as large, and a little more. Images and weights hardly shrink when they are
# packed; nothing but a bomb shrinks to a thousandth.
_EXPANSION = 16
_LITTLE = 1 << 20


def largest_content(packed: int, little: int = _LITTLE) -> int:
    """The most bytes that so many packed ones may become."""
    return _EXPANSION * packed + little


class TooLarge(BitfaceError):
    """What is packed is far larger than what it is packed in."""

    def __init__(self, content: int, packed: int) -> None:
        super().__init__(f"would unpack {content:,} bytes or more from {packed:,}; pack it again, not compressed")


def check_content(content: int, packed: int, little: int = _LITTLE) -> None:
    """Raises TooLarge where so many bytes would come out of so many packed ones."""
    if content > largest_content(packed, little):
        raise TooLarge(content, packed)

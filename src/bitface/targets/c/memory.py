"""Which bytes of the scratch hold what: tensors that aren't needed at the same time share them."""

from dataclasses import dataclass

ALIGNMENT = 64


@dataclass
class Buffer:
    """A tensor, or the working memory of a step.

    Attributes:
        size: in bytes.
        first, last: the steps that write it first, and use it last.
        offset: in the scratch.
    """

    size: int
    first: int
    last: int
    offset: int = 0

    @property
    def end(self) -> int:
        return self.offset + self.size


def place(buffers: list[Buffer]) -> int:
    """Gives each buffer its offset, the largest first, each in the lowest gap; gives the bytes of all together."""
    placed: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda one: (-one.size, one.first)):
        beside = sorted(
            (other for other in placed if other.first <= buffer.last and buffer.first <= other.last),
            key=lambda one: one.offset,
        )
        offset = 0
        for other in beside:
            if offset + buffer.size <= other.offset:
                break
            offset = max(offset, -(-other.end // ALIGNMENT) * ALIGNMENT)
        buffer.offset = offset
        placed.append(buffer)
    return max((-(-buffer.end // ALIGNMENT) * ALIGNMENT for buffer in placed), default=0)

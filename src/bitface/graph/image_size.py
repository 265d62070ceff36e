"""The size of the image where a network's file leaves it free."""

from collections.abc import Callable
from dataclasses import dataclass

from bitface.errors import BitfaceError, option
from bitface.preprocess import Size


@dataclass(frozen=True)
class FreeSize:
    """The size that a network gets whose file leaves height and width free, and whose size that is, in words."""

    size: Size
    whose: str

    @property
    def note(self) -> str:
        return (
            f"the file leaves height and width free: {self.size} is taken, {self.whose}; {option('size')} names another"
        )


ASSUMED = FreeSize(Size(112, 112), "which is assumed")
ChooseSize = Callable[[], FreeSize]


@dataclass
class WantedSize:
    """What was asked for, and what is found once a file has said what it leaves free.

    Attributes:
        size: None: nobody asked.
        choose: called only where a side is free and nobody asked.
        free: the size of a file that doesn't fix one, after `settle`.
    """

    size: Size | None = None
    choose: ChooseSize = lambda: ASSUMED
    free: FreeSize | None = None

    def settle(self, height: int | None, width: int | None) -> Size:
        """The image's size, given the sides of a file (None: free). A choice that a fixed side doesn't fit is dropped.

        Raises:
            BitfaceError: the file fixes another size than is asked for.
        """
        if self.size:
            check_size(self.size, height, width)
        if height and width:
            return Size(height, width)
        self.free = FreeSize(self.size, "as asked for") if self.size else self.choose()
        if not _fits(self.free.size, height, width):
            self.free = FreeSize(Size(height or ASSUMED.size.height, width or ASSUMED.size.width), ASSUMED.whose)
        return self.free.size


def check_size(size: Size, height: int | None, width: int | None) -> None:
    """Raises BitfaceError where another size is asked for than that of a file, whose free sides are None."""
    if not _fits(size, height, width):
        raise BitfaceError(
            f"takes images of {height or 'any'}x{width or 'any'} (height x width) alone, so {option('size', size)} "
            "can't be; "
            "leave it out"
        )


def _fits(size: Size, height: int | None, width: int | None) -> bool:
    return height in (None, size.height) and width in (None, size.width)

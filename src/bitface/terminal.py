"""What is printed for people: nothing that a file, a list or a network is called can steer their terminal."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

# Control characters but tab and line feed; what turns the direction of writing, or ends a line unseen; halves of
# characters, as which Python reads bytes of a name that are no text.
_UNSEEN = (
    *(code for code in range(32) if chr(code) not in "\t\n"), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F,
    *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF, *range(0xD800, 0xE000),
)  # fmt: skip
_WORDS = {code: chr(code).encode("unicode_escape").decode("ascii") for code in _UNSEEN if not 0xDC80 <= code <= 0xDCFF}
_WORDS |= {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}  # of a name that isn't UTF-8


def escaped(text: str) -> str:
    """A text whose control characters are written out: `\\x1b` for an escape."""
    return text.translate(_WORDS)


class Terminal(Console):
    """Rich's console for texts that somebody else wrote: they are printed as they are, but escaped."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(escaped(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Rich's own controls move the cursor of a progress bar.
            yield segment if segment.control else segment._replace(text=escaped(segment.text))

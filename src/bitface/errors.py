"""What can go wrong, said in one line: what, where, and what to do."""

import difflib
from collections.abc import Iterable


class BitfaceError(Exception):
    """A failure the user can act on. The command line prints its message alone and exits 1."""

    exit_code = 1


class UsageError(BitfaceError):
    """The request itself is wrong (unknown bits, unknown preset, impossible option). Exits 2."""

    exit_code = 2


def nearest(word: object, words: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message about an unknown word: the known one that looks most like it, or nothing."""
    near = difflib.get_close_matches(str(word), list(words), 1, cutoff)
    return f"; did you mean '{near[0]}'?" if near else ""

"""What can go wrong, said in one line: what, where, and what to do."""


class BitfaceError(Exception):
    """A failure the user can act on. The command line prints its message alone and exits 1."""

    exit_code = 1


class UsageError(BitfaceError):
    """The request itself is wrong (unknown bits, unknown preset, impossible option). Exits 2."""

    exit_code = 2

"""In which order rows are computed, and where they lie: at once, or the first maps row by row where scratch is short.

The first calls of a program, from the image on, may form a chain: in each step the last of them gives some rows of its
map, those before it the rows that these need and nobody has computed. No row is computed twice. A map within the chain
is a ring of as many rows as are still read, so that it never exists as a whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bitface.errors import BitfaceError
from bitface.targets.c.memory import Buffer, place
from bitface.targets.c.program import SLACK, Program, Ref, Rows

# Rows that the last call of a chain gives at once, the fastest first.
_BANDS = (64, 32, 16, 8, 4, 2, 1)
# An end below all rows, whatever a window adds.
_NONE = -(1 << 30)


@dataclass(frozen=True)
class Schedule:
    """Attributes:
    ends: of each step, the rows that each call of the chain has computed after it; empty: all calls are computed
        at once.
    held: of each buffer of the chain's maps, the rows that it holds.
    buffers: with their places.
    scratch: in bytes.
    """

    ends: tuple[tuple[int, ...], ...]
    held: dict[int, int]
    buffers: tuple[Buffer, ...]
    scratch: int = 0

    @property
    def chain(self) -> int:
        """Its calls."""
        return len(self.ends[0]) if self.ends else 0


def schedule(program: Program, most: int | None = None) -> Schedule:
    """The fastest whose scratch isn't larger than `most` bytes.

    Raises:
        BitfaceError: there is none.
    """
    whole = _placed(Schedule((), {}, tuple(program.buffers)))
    if most is None or whole.scratch <= most:
        return whole
    later = _peaks(program)
    candidates = sorted(_chains(program), key=lambda one: len(one.ends) * one.chain)
    bounds = [max(_size(one), later[one.chain]) for one in candidates]
    for one, bound in zip(candidates, bounds, strict=True):
        if bound <= most and (placed := _placed(one)).scratch <= most:
            return placed
    least = whole.scratch
    for bound, one in sorted(zip(bounds, candidates, strict=True), key=lambda pair: pair[0]):
        if bound >= least:
            break
        least = min(least, _placed(one).scratch)
    raise BitfaceError(f"its maps don't fit into {most:,} bytes of scratch; the least is {least:,}")


def _chains(program: Program) -> Iterator[Schedule]:
    """Every one that can be computed row by row; the scratch isn't known yet."""
    for length, call in enumerate(program.calls, 1):
        if call.rows is None:
            return
        for band in _BANDS:
            if band < call.rows.out_height:
                yield _chain(program, length, band)


def _chain(program: Program, length: int, band: int) -> Schedule:
    rows = [call.rows for call in program.calls[:length] if call.rows is not None]
    readers: dict[int, list[int]] = {}
    for index, one in enumerate(rows):
        for buffer in one.reads:
            readers.setdefault(buffer, []).append(index)
    remaining = {one.writes for one in rows if program.buffers[one.writes].last >= length}
    ends: list[tuple[int, ...]] = []
    last = -(-rows[-1].out_height // band) * band
    while not ends or any(ends[0]):
        ends.insert(0, _step(rows, readers, remaining, last))
        last -= band
    del ends[0]
    held = {}
    for index, one in enumerate(rows):
        whole = one.writes in remaining
        held[one.writes] = one.out_height if whole else _most_at_once(rows, index, readers.get(one.writes, []), ends)
    return Schedule(tuple(ends), held, _buffers(program, rows, held))


def _step(rows: list[Rows], readers: dict[int, list[int]], remaining: set[int], last: int) -> tuple[int, ...]:
    """The ends of all calls where the last's is `last`; from below 0 on, so that no step computes more than others."""
    ends = [last] * len(rows)
    for index in reversed(range(len(rows) - 1)):
        one = rows[index]
        ends[index] = max((rows[reader].needed(ends[reader]) for reader in readers.get(one.writes, [])), default=_NONE)
        if one.writes in remaining and last >= rows[-1].out_height:
            ends[index] = one.out_height
    return tuple(min(max(end, 0), one.out_height) for end, one in zip(ends, rows, strict=True))


def _most_at_once(rows: list[Rows], index: int, readers: list[int], ends: list[tuple[int, ...]]) -> int:
    """The rows of a call's result that are read in a step, or still will be."""
    most, before = 1, (0,) * len(rows)
    for step in ends:
        first = min((rows[reader].first(before[reader]) for reader in readers), default=0)
        most, before = max(most, step[index] - first), step
    return most


def _buffers(program: Program, rows: list[Rows], held: dict[int, int]) -> tuple[Buffer, ...]:
    """All buffers; the maps of a chain are in use until its end, and its calls share what they work in."""
    last = len(rows) - 1
    buffers = list(program.buffers)
    for one in rows:
        buffer = buffers[one.writes]
        size = program.row_bytes(one.writes, one.out_height) * held[one.writes] + SLACK
        buffers[one.writes] = replace(buffer, size=size, first=0, last=max(last, buffer.last))
    works = {
        argument.buffer
        for call in program.calls[: len(rows)]
        for argument in call.arguments
        if isinstance(argument, Ref) and argument.buffer not in held
    }
    if works:
        shared = Buffer(max(buffers[work].size for work in works), 0, last)
        for work in works:
            buffers[work] = shared
    return tuple(buffers)


def _size(chain: Schedule) -> int:
    """The bytes of what is in use while a chain is computed."""
    used = {id(one): one for one in chain.buffers if one.first < chain.chain}
    return sum(one.size for one in used.values())


def _peaks(program: Program) -> list[int]:
    """Of each call, the most bytes that it or a later one needs at once; 0 behind the last."""
    peaks = [0]
    for step in reversed(range(len(program.calls))):
        used = sum(buffer.size for buffer in program.buffers if buffer.first <= step <= buffer.last)
        peaks.append(max(peaks[-1], used))
    return peaks[::-1]


def _placed(one: Schedule) -> Schedule:
    """With places for its buffers; one that several calls share stays one."""
    copies = {id(buffer): replace(buffer) for buffer in one.buffers}
    scratch = place(list(copies.values()))
    return replace(one, buffers=tuple(copies[id(buffer)] for buffer in one.buffers), scratch=scratch)

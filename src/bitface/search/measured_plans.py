"""What a search has measured of whole plans, kept until it ends, so that an interruption costs one plan."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from bitface.data.faces import manifest_hash
from bitface.search.sweep import SweptNetwork
from bitface.training.checkpoint import Checkpoint

STATE = "search.unfinished.safetensors"
Figures = dict[str, float]


class MeasuredPlans:
    """Figures of whole plans, written to a folder as soon as they are measured, and taken from there later.

    They are kept under the plan's bits and what they were measured on, so that they hold whatever else a search is
    asked for: another budget, other widths, more tries.
    """

    def __init__(self, out: Path, experiment: SweptNetwork, convention: str) -> None:
        """`convention`: how sums, streams and channels are treated; plans of others are kept beside.

        Raises:
            BitfaceError: the folder holds those of another network or of other faces.
        """
        self.path, self.convention = out / STATE, convention
        self.identity = {**experiment.identity, "judging faces": manifest_hash(experiment.spare)}
        self.entries: dict[str, Figures] = {}
        if self.path.exists():
            self.entries = Checkpoint.read(self.path, self.identity, "search").numbers

    def figures(self, what: str, bits: Sequence[int], measure: Callable[[], Figures]) -> Figures:
        """The figures of a plan; measured where they aren't kept.

        Args:
            what: is measured, on what.
            bits: of everything that plans differ in, in one order.
        """
        key = f"{what}, {self.convention}: {' '.join(map(str, bits))}"
        if key not in self.entries:
            self.entries[key] = measure()
            Checkpoint(self.identity, len(self.entries), {}, self.entries).write(self.path)
        return self.entries[key]

    def forget(self) -> None:
        """The search has ended."""
        with suppress(OSError):
            self.path.unlink()

"""Verification over a list of pairs, or over all pairs of its images, as a protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitface.config import FilePath
from bitface.data.packs import is_pack, unpacked_pack
from bitface.errors import UsageError, option
from bitface.evaluation.figures.operating import FARS
from bitface.evaluation.figures.results import VerificationResult
from bitface.evaluation.lists.pairs import PairList, read_pairs
from bitface.evaluation.protocols.base import Comparisons, Embeddings, FaceProtocol, both_sides
from bitface.evaluation.protocols.registry import PROTOCOLS, Description, Opened, files_of
from bitface.evaluation.protocols.verification import verify


@dataclass(frozen=True, eq=False)
class PairProtocol(FaceProtocol):
    """Ten-fold verification: a `base.FaceProtocol` around a list of pairs.

    Attributes:
        name: what a table calls it.
        pairs: the list, from `read_pairs`.
        all_pairs: AUC, EER and TAR over all pairs of the images rather than over the list; see `verify`.
    """

    name: str
    pairs: PairList
    all_pairs: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """The images of the list."""
        return self.pairs.paths

    def people(self) -> tuple[str, ...]:
        """By the list, or by the folders."""
        return self.pairs.identities

    def comparisons(self) -> Comparisons:
        """The listed pairs of images."""
        pairs = self.pairs
        return Comparisons(pairs.paths, pairs.left, pairs.right, pairs.same, pairs.fold)

    def score(
        self,
        gallery: Embeddings,
        probe: Embeddings | None = None,
        *,
        fars: Sequence[float] = FARS,
        seed: int = 0,
        at: Sequence[float] = (),
    ) -> VerificationResult:
        """The result for embeddings of `paths`, in that order.

        Without probes this is what `verify` says of the gallery. With them, the left image of each pair is the
        gallery's and the right one the probes'; all pairs are then all ordered pairs of two different images.

        Args:
            gallery, probe: by the models of the two sides, see `base.FaceProtocol`.
            fars: where to report TAR.
            seed: of the bootstrap by subject, which gives the intervals over all pairs.
            at: thresholds found elsewhere, at which to report both error rates.

        Raises:
            BitfaceError: the embeddings don't fit the list or each other, or, for all pairs, the images' people
                contradict the list.
            UsageError: a FAR isn't between 0 and 1.
        """
        enrolled, asking = both_sides(len(self.paths), gallery, probe)
        other = None if probe is None else asking
        return verify(enrolled, self.pairs, fars, self.all_pairs, seed=seed, at=at, probe=other)


def listed_pairs(
    pairs: Path, root: Path | None, part: str | None = None, all_pairs: bool = False, name: str | None = None
) -> tuple[PairProtocol, Path]:
    """The protocol of a list of pairs in any form (see `read_pairs`) or of a `.bin` pack, and its folder.

    Raises:
        BitfaceError: the list or the pack can't be read, or images are missing.
        UsageError: a list without a folder.
    """
    listed = pairs
    if is_pack(pairs):
        root, listed = unpacked_pack(pairs)
    elif root is None:
        raise UsageError(f"{pairs}: a list of pairs needs {option('root')}, the folder that its paths start at")
    return PairProtocol(name or pairs.stem, read_pairs(listed, root, part), all_pairs), root


@PROTOCOLS.register("pairs")
@dataclass(frozen=True)
class PairFiles(Description):
    """A list of pairs in any form, or a `.bin` pack, which needs no `root`."""

    pairs: FilePath
    root: FilePath | None = None
    part: str | None = None
    all_pairs: bool = False

    def open(self, name: str) -> Opened:
        """See `listed_pairs`."""
        protocol, folder = listed_pairs(self.pairs, self.root, self.part, self.all_pairs, name)
        return Opened(protocol, files_of(folder, protocol.paths), protocol.pairs.notes)

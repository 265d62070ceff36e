"""Verification over a list of pairs, or over all pairs of its images, as a protocol."""

from collections.abc import Sequence

from bitface.evaluation.figures.operating import FARS
from bitface.evaluation.figures.results import VerificationResult
from bitface.evaluation.lists.pairs import PairList
from bitface.evaluation.protocols.base import Embeddings, both_sides
from bitface.evaluation.protocols.verification import verify


class PairProtocol:
    """Ten-fold verification: a `protocol.FaceProtocol` around a list of pairs.

    Attributes:
        name: what a table calls it.
        pairs: the list, from `read_pairs`.
        all_pairs: AUC, EER and TAR over all pairs of the images rather than over the list; see `verify`.
        paths: the images of the list.
    """

    def __init__(self, name: str, pairs: PairList, all_pairs: bool = False) -> None:
        self.name, self.pairs, self.all_pairs = name, pairs, all_pairs
        self.paths = pairs.paths

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
            gallery, probe: by the models of the two sides, see `protocol.FaceProtocol`.
            fars: where to report TAR.
            seed: of the bootstrap by subject, which gives the intervals over all pairs.
            at: thresholds found elsewhere, at which to report both error rates.

        Raises:
            BitfaceError: the embeddings don't fit the list or each other, or, for all pairs, the images' people
                contradict the list.
            UsageError: a FAR isn't between 0 and 1.
        """
        enrolled, asking = both_sides(len(self.paths), gallery, probe)
        other = (None, None) if probe is None else (asking.values, asking.valid)
        return verify(
            enrolled.values, self.pairs, fars, self.all_pairs,
            valid=enrolled.valid, seed=seed, at=at, probe=other[0], probe_valid=other[1],
        )  # fmt: skip

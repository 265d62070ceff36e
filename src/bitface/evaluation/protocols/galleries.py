"""1:N identification of templates in galleries, as a protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitface.config import FilePath, FilesByName
from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools
from bitface.evaluation.figures.operating import FARS, Distinct, check_fars
from bitface.evaluation.figures.results import Counts, ScoreSummary, summarise
from bitface.evaluation.lists.templates import SearchList, read_media_list, read_searches
from bitface.evaluation.protocols.base import Embeddings, FaceProtocol, both_sides
from bitface.evaluation.protocols.closed_set import RANKS, diagnoses, failure_warnings
from bitface.evaluation.protocols.open_set import (
    FPIRS,
    GalleryResult,
    Searches,
    SearchResult,
    rank_rates,
    search,
    tpir_at_fpir,
)
from bitface.evaluation.protocols.registry import PROTOCOLS, Description, Opened
from bitface.evaluation.protocols.templates import people_of, photographs, templates_within
from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.pooling import Pooled, pool
from bitface.evaluation.scores.similarity import FAILED


@dataclass(frozen=True, eq=False)
class SearchProtocol(FaceProtocol):
    """1:N identification of probes in each gallery.

    Attributes:
        name: what a table calls it.
        searches: see `template_lists`.
        norm, quality: see `pooling.pool`.
        fpirs, ranks: what to report.
    """

    name: str
    searches: SearchList
    norm: bool = True
    quality: bool = False
    fpirs: tuple[float, ...] = FPIRS
    ranks: tuple[int, ...] = RANKS

    @property
    def paths(self) -> tuple[str, ...]:
        """The N distinct images."""
        return self.searches.templates.paths

    def people(self) -> tuple[str | None, ...] | None:
        """By the subjects of the templates."""
        return people_of(self.searches.templates)

    def within(self, images: Bools) -> "SearchProtocol":
        """The probes of the group in galleries of the group: templates of which every image is in it."""
        templates = self.searches.templates
        inside = templates_within(templates, images)
        assert templates.subject is not None
        probes = self.searches.probes[inside[self.searches.probes]]
        galleries = {name: members[inside[members]] for name, members in self.searches.galleries.items()}
        galleries = {
            name: members
            for name, members in galleries.items()
            if np.isin(templates.subject[probes], templates.subject[members]).any()
        }
        if not galleries:
            raise BitfaceError("no probe of the group has its mate in a gallery")
        return replace(self, searches=SearchList(templates, galleries, probes))

    def score(
        self,
        gallery: Embeddings,
        probe: Embeddings | None = None,
        *,
        fars: Sequence[float] = FARS,
        seed: int = 0,
        at: Sequence[float] = (),
    ) -> SearchResult:
        """Rank-k and TPIR at FPIR of every gallery. `fars` are FPIRs of `verification` only: see `fpirs`.

        Raises:
            BitfaceError: the embeddings don't fit the protocol, or the two models' sizes differ.
            UsageError: an FPIR isn't between 0 and 1, or a rank is below 1.
        """
        gallery, probe = both_sides(len(self.paths), gallery, probe)
        diagnosis = diagnoses(gallery, probe, len(self.paths))
        templates, probes = self.searches.templates, self.searches.probes
        left, right = np.zeros(len(templates), bool), np.zeros(len(templates), bool)
        left[np.concatenate(list(self.searches.galleries.values()))] = True
        right[probes] = True
        enrolled = self._pool(gallery, left | right if probe is gallery else left)
        searched = enrolled if probe is gallery else self._pool(probe, right)
        results = []
        for name, members in self.searches.galleries.items():
            searches = search(enrolled, members, searched, probes, templates)
            hits = np.bincount(searches.rank, minlength=len(members) + 2)[1:-1]
            ranks = rank_rates(searches, len(members), self.ranks, seed)
            points = tpir_at_fpir(searches, self.fpirs, seed=seed)
            results.append(
                GalleryResult(name, len(members), ranks, points, np.cumsum(hits) / len(searches.rank), searches)
            )
        lacking = [int(np.count_nonzero(side)) for side in (left & ~enrolled.usable, right & ~searched.usable)]
        warnings = [
            *failure_warnings(
                (lacking[0], int(np.count_nonzero(left)), "gallery templates"),
                (lacking[1], len(probes), "probe templates"),
            ),
            *diagnosis,
            *templates.notes,
        ]
        failed = int(np.count_nonzero(enrolled.failed_images | searched.failed_images))
        summary = _summary([one.searches for one in results], (len(self.paths), failed), check_fars(fars), at)
        return SearchResult(tuple(results), len(probes), sum(lacking), tuple(warnings), summary)

    def _pool(self, embeddings: Embeddings, selection: Bools) -> Pooled:
        return pool(embeddings, self.searches.templates, selection, norm=self.norm, quality=self.quality)


def _summary(
    searches: Sequence[Searches], images: tuple[int, int], fpirs: tuple[float, ...], at: Sequence[float]
) -> ScoreSummary | None:
    """The searches of all galleries, judged by one threshold.

    Args:
        images: how many there are, and how many failed.
    """
    others = np.concatenate([one.non_mated for one in searches])
    if not len(others):
        return None
    # A mate that doesn't come first is missed at every threshold.
    mated = np.concatenate([np.where(one.rank <= 1, one.mated, FAILED) for one in searches])
    # Without a usable image of the probe, or of its mate.
    failed_mated = sum(int(np.count_nonzero(one.mated == FAILED)) for one in searches)
    failed_pairs = failed_mated + int(np.count_nonzero(others == FAILED))
    counts = Counts(*images, None, len(mated), len(others), failed_pairs, Distinct(len(mated), len(others)))
    return summarise(mated, ImpostorArray(others), fpirs, "searches", counts, at, failed_mated)


@PROTOCOLS.register("galleries")
@dataclass(frozen=True)
class GalleryFiles(Description):
    """NIST's CSV files of galleries, by their names, and of probes; `media`: the list of images, where it is apart."""

    galleries: FilesByName
    probes: FilePath
    root: FilePath
    media: FilePath | None = None
    points: FilePath | None = None
    image: str = "{FILENAME}"
    norm: bool = True
    quality: bool = False

    def open(self, name: str) -> Opened:
        """See `read_searches`."""
        templates = read_media_list(self.media, self.points) if self.media else None
        searches = read_searches(self.galleries, self.probes, templates, self.image)
        protocol = SearchProtocol(name, searches, self.norm, self.quality)
        return Opened(protocol, photographs(self.root, searches.templates), searches.templates.notes)

"""Closed-set identification over a folder of people, as a protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bitface.config import FilePath
from bitface.data.faces import find_images
from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Ints
from bitface.evaluation.figures.operating import FARS, Distinct, check_fars
from bitface.evaluation.figures.results import PROBES, Counts, ScoreSummary, summarise
from bitface.evaluation.lists.pairs import identity_of
from bitface.evaluation.protocols.base import Embeddings, FaceProtocol, both_sides
from bitface.evaluation.protocols.closed_set import (
    RANKS,
    ClosedSetResult,
    check_ranks,
    diagnoses,
    failure_warnings,
    identify,
    part,
)
from bitface.evaluation.protocols.registry import PROTOCOLS, Description, Opened, files_of
from bitface.evaluation.scores.nearest import Rows
from bitface.evaluation.scores.similarity import row_scores
from bitface.evaluation.scores.tiles import TiledImpostors


@dataclass(frozen=True, eq=False)
class ClosedSetProtocol(FaceProtocol):
    """The first image of each person is enrolled, the others are probes.

    Attributes:
        paths: N distinct images, sorted.
        whom: [N], the person that each shows.
        enrolled, probes: positions in `paths`. People with a single image are enrolled only.
        ranks: where to report the share found.
    """

    paths: tuple[str, ...]
    whom: tuple[str, ...]
    enrolled: Ints
    probes: Ints
    ranks: tuple[int, ...] = RANKS
    name: str = "closed-set identification"

    @staticmethod
    def of(
        paths: Sequence[str], ranks: Sequence[int] = RANKS, whom: Sequence[str] | None = None
    ) -> "ClosedSetProtocol":
        """The protocol of some images, in any order.

        Args:
            whom: the person that each shows; None: the folder that it lies in names them.

        Raises:
            BitfaceError: an image is named twice or lies in no folder; there are fewer than two people, or nobody has
                two images.
            UsageError: a rank below 1.
        """
        named = sorted(zip(paths, whom or map(identity_of, paths), strict=True))
        images, people = tuple(path for path, _ in named), tuple(person for _, person in named)
        if twice := [path for path, following in pairwise(images) if path == following]:
            raise BitfaceError(f"{twice[0]}: is named more than once; name every image once")
        if "" in people:
            stray = images[people.index("")]
            raise BitfaceError(f"{stray}: lies in no folder that names a person; identification needs Person/image.jpg")
        first = np.sort(np.unique(np.array(people), return_index=True)[1])
        probes = np.setdiff1d(np.arange(len(images)), first)
        if len(first) < 2 or not len(probes):
            raise BitfaceError(
                f"{len(images)} images of {len(first)} people; identification needs at least two people, "
                "one of them with two images"
            )
        return ClosedSetProtocol(images, people, first, probes, check_ranks(ranks))

    def people(self) -> tuple[str, ...]:
        """Whom each image shows."""
        return self.whom

    def within(self, images: Bools) -> "ClosedSetProtocol":
        """The people of the group among themselves: its probes in a gallery of its enrolled images."""
        enrolled, probes = (rows[images[rows]] for rows in (self.enrolled, self.probes))
        people = np.array(self.people())
        probes = probes[np.isin(people[probes], people[enrolled])]
        if len(enrolled) < 2 or not len(probes):
            raise BitfaceError(
                f"{len(enrolled)} people are enrolled and {len(probes)} images are probes; identification needs two "
                "people and a probe"
            )
        return replace(self, enrolled=enrolled, probes=probes)

    def score(
        self,
        gallery: Embeddings,
        probe: Embeddings | None = None,
        *,
        fars: Sequence[float] = FARS,
        seed: int = 0,
        at: Sequence[float] = (),
    ) -> ClosedSetResult:
        """Rank-k of the probes by one model in the gallery by another; `fars` and `at` are those of `verification`.

        For the arguments and what is raised see `base.FaceProtocol.score`.
        """
        left, right = both_sides(len(self.paths), gallery, probe)
        people = np.array(self.people())
        enrolled, asking = part(left, self.enrolled), part(right, self.probes)
        result = identify(enrolled, people[self.enrolled], asking, people[self.probes], self.ranks, seed=seed)
        failures = failure_warnings(
            (result.failed_enrolled, result.enrolled, "enrolled images"),
            (result.failed_probes, len(self.probes), "probes"),
        )
        sides = ((enrolled, people[self.enrolled]), (asking, people[self.probes]))
        return replace(
            result,
            warnings=(*failures, *diagnoses(left, right, len(self.paths))),
            compare=partial(_compared, *sides, check_fars(fars), at),
        )


def _compared(
    gallery: tuple[Rows, NDArray[np.str_]],
    probes: tuple[Rows, NDArray[np.str_]],
    fars: tuple[float, ...],
    at: Sequence[float],
) -> ScoreSummary:
    """Every probe with every enrolled image: genuine where both show one person. Pairs of a failed image score -1.

    Raises:
        BitfaceError: there are no impostor pairs.
    """
    (rows, people), (asking, labels) = gallery, probes
    (unit, usable), (other, other_usable) = rows.unit(slice(None)), asking.unit(slice(None))
    names, person = np.unique(np.concatenate((people, labels)), return_inverse=True)
    person, other_person = person[: len(people)], person[len(people) :]
    mates = [np.flatnonzero(person == one) for one in range(len(names))]
    left = np.concatenate([mates[one] for one in other_person])
    right = np.repeat(np.arange(len(labels)), [len(mates[one]) for one in other_person])
    genuine = row_scores(np.concatenate((unit, other)), np.concatenate((usable, other_usable)), left, right + len(unit))
    count = len(people) * len(labels) - len(genuine)
    failed_genuine = int(np.count_nonzero(~(usable[left] & other_usable[right])))
    failed = len(people) * len(labels) - int(usable.sum()) * int(other_usable.sum()) - failed_genuine
    probe_side = (other[other_usable], other_person[other_usable])
    impostors = TiledImpostors(unit[usable], person[usable], failed, probe=probe_side)
    counts = Counts(
        images=len(people) + len(labels),
        failed_images=int(np.count_nonzero(~usable)) + int(np.count_nonzero(~other_usable)),
        identities=len(names),
        genuine=len(genuine),
        impostor=count,
        failed_pairs=failed_genuine + failed,
        distinct=Distinct(len(genuine), count),
    )
    return summarise(genuine, impostors, fars, PROBES, counts, at, failed_genuine)


@PROTOCOLS.register("people")
@dataclass(frozen=True)
class PeopleFolder(Description):
    """A folder with a folder for each person."""

    people: FilePath

    def open(self, name: str) -> Opened:
        """See `ClosedSetProtocol.of`."""
        protocol = ClosedSetProtocol.of([file.relative for file in find_images([self.people])])
        return Opened(replace(protocol, name=name), files_of(self.people, protocol.paths))

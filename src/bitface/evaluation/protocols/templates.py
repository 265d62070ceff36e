"""1:1 verification of templates, the protocol of IJB-B and IJB-C: listed pairs of templates, one score for each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bitface.evaluation.arrays import Bools, Floats, Ints, score_array
from bitface.evaluation.figures.bootstrap import SubjectScores, with_subject_intervals
from bitface.evaluation.figures.operating import FARS, OperatingPoint, check_fars
from bitface.evaluation.figures.results import Counts, ScoreSummary, summarise
from bitface.evaluation.lists.templates import Positions, TemplateList, TemplatePairs
from bitface.evaluation.protocols.base import Embeddings, Figure, both_sides, tar_figures
from bitface.evaluation.protocols.closed_set import diagnoses
from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.pooling import Pooled, pair_scores, pool


@dataclass(frozen=True, eq=False)
class TemplateResult:
    """What verification of templates found.

    Attributes:
        summary: AUC, EER and TAR at each FAR, over the pairs of the list.
        templates, failed_templates: those in pairs, and those among them without a usable image.
        norm, quality: how templates were pooled, see `pool`.
    """

    summary: ScoreSummary
    templates: int
    failed_templates: int
    norm: bool
    quality: bool
    warnings: tuple[str, ...]

    def figures(self) -> list[Figure]:
        """TAR at each FAR, then AUC and EER."""
        return [*tar_figures(self.summary.tar), Figure("AUC", self.summary.auc), Figure("EER", self.summary.eer)]

    def to_json(self, curve: bool = False) -> dict[str, Any]:
        """Everything as plain JSON values without NaN; `curve` adds the ROC curve."""
        return {
            **self.summary.to_json(curve),
            "templates": self.templates,
            "failed_templates": self.failed_templates,
            "pooling": {"norm": self.norm, "quality": self.quality},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, eq=False)
class TemplateProtocol:
    """1:1 verification over listed pairs of templates.

    Attributes:
        name: what a table calls it.
        templates, pairs: see `template_lists`.
        norm, quality: see `pool`. InsightFace's published figures use both.
    """

    name: str
    templates: TemplateList
    pairs: TemplatePairs
    norm: bool = True
    quality: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """The N distinct images."""
        return self.templates.paths

    def score(
        self, gallery: Embeddings, probe: Embeddings | None = None, *, fars: Sequence[float] = FARS, seed: int = 0
    ) -> TemplateResult:
        """AUC, EER and TAR at each FAR; the first template of a pair is of the gallery, the second of the probes.

        Intervals are bootstrapped by subject with the threshold held fixed, and never narrower than Wilson's. Where no
        file names subjects, templates that genuine pairs link, directly or through others, are of one subject.

        Raises:
            BitfaceError: the embeddings don't fit the protocol, or the two models' sizes differ.
            UsageError: a FAR isn't between 0 and 1.
        """
        targets = check_fars(fars)
        gallery, probe = both_sides(len(self.paths), gallery, probe)
        # First of all, while there is memory to spare: it converts a good many embeddings at once.
        found = diagnoses(gallery, probe, len(self.paths))
        left, right = self._pooled(gallery, probe)
        pairs = self.pairs
        scores = pair_scores(left, right, pairs.left, pairs.right)
        genuine = score_array(scores[pairs.same], "genuine")
        impostors = ImpostorArray(scores[~pairs.same])
        del scores
        lacking = [side & ~pooled.usable for side, pooled in zip(self._used(), (left, right), strict=True)]
        counts = Counts(
            images=len(self.paths),
            failed_images=int(np.count_nonzero(left.failed_images | right.failed_images)),
            identities=_known(self.templates),
            genuine=len(genuine),
            impostor=impostors.count,
            failed_pairs=int(np.count_nonzero(lacking[0][pairs.left] | lacking[1][pairs.right])),
            distinct=pairs.distinct,
        )
        summary = summarise(genuine, impostors, targets, "templates", counts)
        summary = replace(summary, tar=self._by_subject(summary.tar, genuine, seed))
        templates = int(np.count_nonzero(np.logical_or(*self._used())))
        failed = int(np.count_nonzero(lacking[0] | lacking[1]))
        warnings = (*self._failures(counts, templates, failed), *found, *self.templates.notes)
        return TemplateResult(summary, templates, failed, self.norm, self.quality, warnings)

    def _used(self) -> tuple[Bools, Bools]:
        """Which templates stand left in a pair, and which right."""
        sides = np.zeros((2, len(self.templates)), bool)
        sides[0, self.pairs.left] = sides[1, self.pairs.right] = True
        return sides[0], sides[1]

    def _pooled(self, gallery: Embeddings, probe: Embeddings) -> tuple[Pooled, Pooled]:
        left, right = self._used()
        if probe is gallery:
            both = pool(gallery, self.templates, left | right, norm=self.norm, quality=self.quality)
            return both, both
        return (
            pool(gallery, self.templates, left, norm=self.norm, quality=self.quality),
            pool(probe, self.templates, right, norm=self.norm, quality=self.quality),
        )

    def _by_subject(self, points: tuple[OperatingPoint, ...], genuine: Floats, seed: int) -> tuple[OperatingPoint, ...]:
        left, right = self.pairs.left[self.pairs.same], self.pairs.right[self.pairs.same]
        subject = self.templates.subject
        whose = _linked(left, right, len(self.templates)) if subject is None else subject[left]
        subjects, owner = np.unique(whose, return_inverse=True)
        none = np.empty(0, dtype=np.int64)
        # Without a tail of impostor scores the thresholds stay where they are, and images don't matter.
        known = SubjectScores(np.zeros(len(subjects), dtype=np.int64), genuine, owner, np.empty(0), none, none)
        return with_subject_intervals(points, known, seed=seed)

    def _failures(self, counts: Counts, templates: int, failed: int) -> list[str]:
        found = []
        if failed:
            found.append(
                f"{failed} of {templates} templates have no usable image; their {counts.failed_pairs} pairs score -1"
            )
        if counts.failed_images:
            found.append(
                f"{counts.failed_images} of {counts.images} images have no usable embedding; "
                "their templates are made of the others"
            )
        if repeated := self.pairs.repeated_genuine + self.pairs.repeated_impostor:
            found.append(
                f"{repeated} pairs are listed more than once, and count as often, though not as further evidence"
            )
        return found


def _known(templates: TemplateList) -> int | None:
    return None if templates.subject is None else len(np.unique(templates.subject[templates.subject >= 0]))


def _linked(left: Positions, right: Positions, count: int) -> Ints:
    """A number for each pair that is equal for those whose templates are linked, directly or through others."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for first, second in zip(left.tolist(), right.tolist(), strict=True):
        parent[root(first)] = root(second)
    return np.array([root(node) for node in left.tolist()], dtype=np.int64)

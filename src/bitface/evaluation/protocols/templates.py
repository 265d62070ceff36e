"""1:1 verification of templates, the protocol of IJB-B and IJB-C: listed pairs of templates, one score for each."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitface.config import FilePath, FilePaths
from bitface.data.faces import FaceFile
from bitface.errors import UsageError
from bitface.evaluation.arrays import Bools, Floats, Ints, first_times, score_array
from bitface.evaluation.figures.bootstrap import SubjectScores, with_subject_intervals
from bitface.evaluation.figures.decisions import Decisions
from bitface.evaluation.figures.figure import Figure, tar_figures
from bitface.evaluation.figures.operating import FARS, OperatingPoint, check_fars
from bitface.evaluation.figures.results import Counts, Result, ScoreSummary, summarise
from bitface.evaluation.lists.templates import (
    Positions,
    TemplateList,
    TemplatePairs,
    read_media_list,
    read_template_files,
    read_template_pairs,
)
from bitface.evaluation.protocols.base import Comparisons, Embeddings, FaceProtocol, both_sides
from bitface.evaluation.protocols.closed_set import diagnoses
from bitface.evaluation.protocols.registry import PROTOCOLS, Description, Opened, files_of
from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.pooling import Pooled, pair_scores, pool


@dataclass(frozen=True, eq=False)
class TemplateResult(Result):
    """What verification of templates found.

    Attributes:
        summary: AUC, EER and TAR at each FAR, over the pairs of the list.
        templates, failed_templates: those in pairs, and those among them without a usable image.
        norm, quality: how templates were pooled, see `pool`.
        genuine, person: [G], the scores of the genuine pairs and whose each is; not in the JSON.
        first: [G], false where one repeats another before it, in either order; not in the JSON.
    """

    summary: ScoreSummary
    templates: int
    failed_templates: int
    norm: bool
    quality: bool
    warnings: tuple[str, ...]
    genuine: Floats = field(repr=False)
    person: Ints = field(repr=False)
    first: Bools = field(repr=False)

    def verification(self) -> ScoreSummary:
        """The operating points."""
        return self.summary

    def decisions(self) -> list[Decisions]:
        """The distinct genuine pairs at each threshold."""
        return [
            Decisions(figure.name, (self.genuine >= point.threshold)[self.first], self.person[self.first])
            for figure, point in zip(tar_figures(self.summary.tar), self.summary.tar, strict=True)
            if point.threshold is not None
        ]

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
class TemplateProtocol(FaceProtocol):
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

    def people(self) -> tuple[str | None, ...] | None:
        """By the subjects of the templates, where a file names them."""
        return people_of(self.templates)

    def comparisons(self) -> Comparisons:
        """The listed pairs of templates."""
        names = tuple(f"template {one}" for one in self.templates.ids.tolist())
        return Comparisons(names, self.pairs.left, self.pairs.right, self.pairs.same)

    def vectors(self, embeddings: Embeddings) -> tuple[Floats, Bools]:
        """The pooled templates."""
        pooled = pool(embeddings, self.templates, norm=self.norm, quality=self.quality)
        return pooled.unit, pooled.usable

    def within(self, images: Bools) -> "TemplateProtocol":
        """The pairs of templates of which every image is in the group."""
        inside, pairs = templates_within(self.templates, images), self.pairs
        selection = inside[pairs.left] & inside[pairs.right]
        return replace(self, pairs=pairs.chosen(selection))

    def score(
        self,
        gallery: Embeddings,
        probe: Embeddings | None = None,
        *,
        fars: Sequence[float] = FARS,
        seed: int = 0,
        at: Sequence[float] = (),
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
        problems = diagnoses(gallery, probe, len(self.paths))
        left, right = self._pooled(gallery, probe)
        pairs = self.pairs
        scores = pair_scores(left, right, pairs.left, pairs.right)
        genuine = score_array(scores[pairs.same], "genuine")
        impostors = ImpostorArray(scores[~pairs.same])
        del scores
        lacking = [side & ~pooled.usable for side, pooled in zip(self._used(), (left, right), strict=True)]
        failed_pairs = lacking[0][pairs.left] | lacking[1][pairs.right]
        counts = Counts(
            images=len(self.paths),
            failed_images=int(np.count_nonzero(left.failed_images | right.failed_images)),
            identities=_known(self.templates),
            genuine=len(genuine),
            impostor=impostors.count,
            failed_pairs=int(np.count_nonzero(failed_pairs)),
            distinct=pairs.distinct,
        )
        summary = summarise(
            genuine, impostors, targets, "templates", counts, at, int(np.count_nonzero(failed_pairs & pairs.same))
        )
        person = self._genuine_person()
        summary = replace(summary, tar=_by_subject(summary.tar, genuine, person, seed))
        templates = int(np.count_nonzero(np.logical_or(*self._used())))
        failed = int(np.count_nonzero(lacking[0] | lacking[1]))
        warnings = (*self._failures(counts, templates, failed), *problems, *self.templates.notes)
        first = first_times(pairs.left, pairs.right)[pairs.same]
        return TemplateResult(summary, templates, failed, self.norm, self.quality, warnings, genuine, person, first)

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

    def _genuine_person(self) -> Ints:
        """Whose each genuine pair is, numbered from 0."""
        left, right = self.pairs.left[self.pairs.same], self.pairs.right[self.pairs.same]
        subject = self.templates.subject
        whose = _linked(left, right, len(self.templates)) if subject is None else subject[left]
        return np.unique(whose, return_inverse=True)[1]

    def _failures(self, counts: Counts, templates: int, failed: int) -> list[str]:
        warnings = []
        if failed:
            warnings.append(
                f"{failed} of {templates} templates have no usable image; their {counts.failed_pairs} pairs score -1"
            )
        if counts.failed_images:
            warnings.append(
                f"{counts.failed_images} of {counts.images} images have no usable embedding; "
                "their templates are made of the others"
            )
        if repeated := self.pairs.repeated_genuine + self.pairs.repeated_impostor:
            warnings.append(
                f"{repeated} pairs are listed more than once, and count as often, though not as further evidence"
            )
        return warnings


def people_of(templates: TemplateList) -> tuple[str | None, ...] | None:
    """`[N]`, the name of each image's subject; None where no file names subjects."""
    if templates.subject is None:
        return None
    names: list[str | None] = [None] * len(templates.paths)
    for image, template in zip(templates.image.tolist(), templates.template.tolist(), strict=True):
        if (subject := int(templates.subject[template])) >= 0:
            names[image] = templates.subjects[subject]
    return tuple(names)


def templates_within(templates: TemplateList, images: Bools) -> Bools:
    """`[T]`, the templates of which every image is among `images` `[N]`."""
    outside = np.zeros(len(templates), bool)
    outside[templates.template[~images[templates.image]]] = True
    return ~outside


def _by_subject(
    points: tuple[OperatingPoint, ...], genuine: Floats, person: Ints, seed: int
) -> tuple[OperatingPoint, ...]:
    none = np.empty(0, dtype=np.int64)
    # Without a tail of impostor scores the thresholds stay where they are, and images don't matter.
    images = np.zeros(int(person.max(initial=-1)) + 1, dtype=np.int64)
    return with_subject_intervals(points, SubjectScores(images, genuine, person, np.empty(0), none, none), seed=seed)


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


@PROTOCOLS.register("templates")
@dataclass(frozen=True)
class TemplateFiles(Description):
    """Files of templates: InsightFace's text file (with `points`, the landmarks and scores), or NIST's CSV files."""

    templates: FilePaths
    matches: FilePath
    root: FilePath
    points: FilePath | None = None
    image: str = "{FILENAME}"
    norm: bool = True
    quality: bool = False

    def open(self, name: str) -> Opened:
        """See `evaluation.lists.templates`."""
        if all(path.suffix.lower() == ".csv" for path in self.templates):
            templates = read_template_files(self.templates, self.image)
        elif len(self.templates) > 1:
            raise UsageError(
                f"the protocol '{name}': several files of templates must all be CSV files of NIST's release"
            )
        else:
            templates = read_media_list(self.templates[0], self.points)
        pairs = read_template_pairs(self.matches, templates)
        protocol = TemplateProtocol(name, templates, pairs, self.norm, self.quality)
        return Opened(protocol, photographs(self.root, templates), templates.notes)


def photographs(root: Path, templates: TemplateList) -> list[FaceFile]:
    """The images, each with its landmarks where a file gave them: then it is cut out of the photograph."""
    if templates.landmarks is None:
        return files_of(root, templates.paths)
    return [
        FaceFile(root, path, tuple((float(x), float(y)) for x, y in points))
        for path, points in zip(templates.paths, templates.landmarks, strict=True)
    ]

"""Verification of videos, the protocol of YouTube Faces (Wolf, Hassner and Maoz, CVPR 2011).

Pairs of videos in ten splits, each judged by the threshold that the others chose. A pair is compared in two ways: by
the cosine of the videos' mean embeddings, which is the headline, and by the mean similarity of all pairs of their
frames. The latter is the dot product of the two means of unit vectors before they are brought to length 1, so that it
costs no more than the former.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bitface.config import FilePath
from bitface.evaluation.arrays import Bools, Floats, Ints, first_times, score_array
from bitface.evaluation.figures.decisions import Decisions
from bitface.evaluation.figures.figure import Figure
from bitface.evaluation.figures.folds import fold_accuracy
from bitface.evaluation.figures.operating import FARS, Distinct, check_fars
from bitface.evaluation.figures.results import Counts, Result, ScoreSummary, VerificationResult, summarise
from bitface.evaluation.lists.videos import VideoPairs, read_video_pairs
from bitface.evaluation.protocols.base import Comparisons, Embeddings, FaceProtocol, both_sides
from bitface.evaluation.protocols.closed_set import diagnoses
from bitface.evaluation.protocols.registry import PROTOCOLS, Description, Opened, files_of
from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.similarity import RESOLUTION, row_scores, unit_rows

_ROWS = 4096
# Means of unit vectors are rounded to the grid of unit vectors, for the same reason (see `similarity`).
_GRID = math.sqrt(RESOLUTION)


@dataclass(frozen=True, eq=False)
class VideoResult(Result):
    """What verification of videos found, by each way of comparing two of them.

    Attributes:
        mean: by the cosine of the mean embeddings.
        pairwise: by the mean similarity of all pairs of frames.
        videos, failed_videos: those in pairs, and those among them without a usable frame.
    """

    mean: VerificationResult
    pairwise: VerificationResult
    videos: int
    failed_videos: int
    warnings: tuple[str, ...]

    def verification(self) -> ScoreSummary:
        """The operating points by mean embeddings."""
        return self.mean.summary

    def decisions(self) -> list[Decisions]:
        """Those by mean embeddings."""
        return self.mean.decisions()

    def figures(self) -> list[Figure]:
        """Accuracy, TAR at each FAR, AUC and EER, by mean embeddings and then by pairs of frames."""
        return [*self.mean.figures(), *self.pairwise.figures(", pairs of frames")]

    def to_json(self, curve: bool = False) -> dict[str, Any]:
        """Everything as plain JSON values without NaN; `curve` adds the ROC curves."""
        return {
            "mean": self.mean.to_json(curve),
            "pairwise": self.pairwise.to_json(curve),
            "videos": self.videos,
            "failed_videos": self.failed_videos,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, eq=False)
class YtfProtocol(FaceProtocol):
    """Verification over listed pairs of videos.

    Attributes:
        name: what a table calls it.
        pairs: see `video_lists`.
    """

    name: str
    pairs: VideoPairs

    @property
    def paths(self) -> tuple[str, ...]:
        """The N distinct images."""
        return self.pairs.paths

    def people(self) -> tuple[str, ...]:
        """By the names of the videos, `Person_Name/0`."""
        names = [video.rpartition("/")[0] for video in self.pairs.videos]
        return tuple(names[video] for video in self.pairs.video.tolist())

    def comparisons(self) -> Comparisons:
        """The listed pairs of videos."""
        pairs = self.pairs
        return Comparisons(pairs.videos, pairs.left, pairs.right, pairs.same, pairs.fold)

    def vectors(self, embeddings: Embeddings) -> tuple[Floats, Bools]:
        """The mean embeddings of the videos."""
        return unit_rows(self._sums(embeddings)[0])

    def within(self, images: Bools) -> "YtfProtocol":
        """The pairs of videos of which every frame is in the group."""
        pairs = self.pairs
        inside = np.bincount(pairs.video[images], minlength=len(pairs.videos)) > 0
        inside[pairs.video[~images]] = False
        return replace(self, pairs=pairs.chosen(inside[pairs.left] & inside[pairs.right]))

    def score(
        self,
        gallery: Embeddings,
        probe: Embeddings | None = None,
        *,
        fars: Sequence[float] = FARS,
        seed: int = 0,
        at: Sequence[float] = (),
    ) -> VideoResult:
        """Accuracy over the splits, AUC, EER and TAR at each FAR, by either way of comparing; `seed` is of no use here.

        Frames without a usable embedding are left out. A video without any usable frame scores -1.

        Raises:
            BitfaceError: the embeddings don't fit the protocol, or the two models' sizes differ.
            UsageError: a FAR isn't between 0 and 1.
        """
        targets = check_fars(fars)
        gallery, probe = both_sides(len(self.paths), gallery, probe)
        problems = diagnoses(gallery, probe, len(self.paths))
        sides = [self._sums(side) for side in ([gallery] if probe is gallery else [gallery, probe])]
        sums, frames, failed_frames = (np.concatenate(parts) for parts in zip(*sides, strict=True))
        # The probes' videos, where they differ, stand below the gallery's.
        left, right = self.pairs.left, self.pairs.right + (len(sides) - 1) * len(self.pairs.videos)
        means = np.rint(sums / np.maximum(frames, 1)[:, None] / _GRID) * _GRID
        first = first_times(self.pairs.left, self.pairs.right)
        failed = (frames[left] == 0) | (frames[right] == 0)
        lacking = np.unique(np.concatenate((left[frames[left] == 0], self.pairs.right[frames[right] == 0])))
        counts = Counts(
            images=len(self.paths),
            failed_images=int(np.count_nonzero(failed_frames.reshape(len(sides), -1).any(axis=0))),
            identities=None,
            genuine=int(np.count_nonzero(self.pairs.same)),
            impostor=int(np.count_nonzero(~self.pairs.same)),
            failed_pairs=int(np.count_nonzero(failed)),
            distinct=Distinct.of(self.pairs.same, first),
        )
        failed_genuine = int(np.count_nonzero(failed & self.pairs.same))
        mean, pairwise = (
            self._result(row_scores(unit, usable, left, right), first, counts, targets, at, failed_genuine)
            for unit, usable in (unit_rows(sums), (means, frames > 0))
        )
        videos = len(self.pairs.videos)
        warnings = (*_failures(counts, videos, len(lacking)), *problems)
        return VideoResult(mean, pairwise, videos, len(lacking), warnings)

    def _sums(self, embeddings: Embeddings) -> tuple[Floats, Ints, Bools]:
        """The sum of each video's unit vectors, how many there are, and the frames that give none.

        Unit vectors lie on a grid, so that their sums aren't rounded, and don't depend on the blocks.
        """
        sums = np.zeros((len(self.pairs.videos), embeddings.values.shape[1]))
        usable = np.zeros(len(self.paths), bool)
        for begin in range(0, len(self.paths), _ROWS):
            part = slice(begin, begin + _ROWS)
            valid = None if embeddings.valid is None else embeddings.valid[part]
            unit, usable[part] = unit_rows(embeddings.values[part], valid)
            videos, begins = np.unique(self.pairs.video[part], return_index=True)
            sums[videos] += np.add.reduceat(unit, begins, axis=0)
        return sums, np.bincount(self.pairs.video[usable], minlength=len(self.pairs.videos)), ~usable

    def _result(
        self,
        scores: Floats,
        first: Bools,
        counts: Counts,
        fars: tuple[float, ...],
        at: Sequence[float],
        failed_genuine: int,
    ) -> VerificationResult:
        same = self.pairs.same
        genuine, impostors = score_array(scores[same], "genuine"), ImpostorArray(scores[~same])
        summary = summarise(genuine, impostors, fars, "videos", counts, at, failed_genuine)
        accuracy = fold_accuracy(scores, same, self.pairs.fold, int(np.count_nonzero(first)))
        return VerificationResult(accuracy, summary, (), same, scores, first)


def _failures(counts: Counts, videos: int, failed: int) -> list[str]:
    warnings = []
    if failed:
        warnings.append(f"{failed} of {videos} videos have no usable frame; their {counts.failed_pairs} pairs score -1")
    if counts.failed_images:
        warnings.append(
            f"{counts.failed_images} of {counts.images} frames have no usable embedding; "
            "their videos are made of the others"
        )
    return warnings


@PROTOCOLS.register("videos")
@dataclass(frozen=True)
class VideoFiles(Description):
    """A list of pairs of videos, and the folder of their frames; `frames`: at most so many of each video."""

    videos: FilePath
    root: FilePath
    frames: int | None = None

    def open(self, name: str) -> Opened:
        """See `read_video_pairs`."""
        pairs = read_video_pairs(self.videos, self.root, self.frames)
        return Opened(YtfProtocol(name, pairs), files_of(self.root, pairs.paths))

"""What each step learns from: its faces, as the student sees them, and what the teacher says of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from bitface.data.crops import Damaged, noted, pixels
from bitface.data.workers import in_order
from bitface.training.faces import Teach, TrainingFaces
from bitface.training.sampler import Sampler
from bitface.training.settings import Training
from bitface.training.teacher import Targets
from bitface.training.views import Blending, blended, view

# Views uint8 [B, H, W, 3], the faces that they are of [B], which of them are mirrored [B], what couldn't be read.
Batch = tuple[np.ndarray, np.ndarray, np.ndarray, list[Damaged]]


@dataclass(frozen=True)
class Step:
    """What one step learns from: views uint8 `[B, H, W, 3]`, targets float32 `[B, D]`, labels int64 `[B]`."""

    images: np.ndarray
    targets: np.ndarray
    labels: np.ndarray


class Loader:
    """Gives what any step learns from, or a rank's part of it: a function of the seed and the step alone.

    Faces are read, and seen as views, in this process or ahead of need in others (`TrainingFaces.workers`).

    Args:
        part: of a step's faces, a rank's own, such as `slice(32, 64)` of 64.
    """

    def __init__(self, faces: TrainingFaces, training: Training, part: slice = slice(None)) -> None:
        self.faces, self.training, self.part = faces, training, part
        self.sampler = Sampler(faces, training)
        self._ahead: Iterator[Batch] | None = None
        self._next = -1

    def take(self, step: int, teach: Teach, cached: Targets | None) -> Step:
        """The views of a step with the teacher's embeddings.

        Args:
            cached: embeddings of the images and of their mirror images, `[2, N, D]`; None where the teacher is live.
        """
        images, rows, mirrored, damaged = self._batch(step)
        noted(self.faces.images, images, rows, damaged)
        # One person, or one image seen several times.
        labels = rows if self.faces.labels is None else self.faces.labels[rows]
        targets = teach(images) if cached is None else cached[mirrored.astype(int), rows]
        return Step(images, targets, labels)

    def close(self) -> None:
        """Ends the processes that read ahead."""
        self._ahead = None

    def __getstate__(self) -> dict[str, Any]:
        """What a spawned process gets."""
        return {**vars(self), "_ahead": None}

    def _batch(self, step: int) -> Batch:
        if not self.faces.workers:
            return self.views(step)
        if self._ahead is None or step != self._next:
            self._ahead = in_order(self.views, count(step), self.faces.workers)
        self._next = step + 1
        return next(self._ahead)

    def views(self, step: int) -> Batch:
        """What the student sees in a step, without the teacher."""
        training, rows = self.training, self.sampler.rows(step)
        places = np.arange(len(rows))[self.part]
        random = np.random.default_rng((training.seed, 3, step))
        if training.teacher == "cached":
            mirrored = ((random.random(len(rows)) < 0.5) & (training.views != "none"))[places]
            images, own, damaged = pixels(self.faces.images, rows[places])
            images[mirrored] = images[mirrored, :, ::-1]
            return images, own, mirrored, damaged
        blending = Blending.of(len(rows), training.mix, random)
        partners = np.setdiff1d(blending.partners[places[blending.mixed[places]]], places)
        needed = np.concatenate([places, partners])
        faces, own, damaged = self.faces.images, rows[needed], list[Damaged]()
        singly: Iterable[np.ndarray]
        if isinstance(faces, np.ndarray):
            singly = [faces[row] for row in own.tolist()]  # seen where they are, without a copy of all
        else:
            singly, own, damaged = pixels(faces, own)
        # Each place draws from its own stream, so that any rank sees at it what another would.
        bits = np.random.PCG64((training.seed, 3, step))
        first, stream, views = bits.state, np.random.Generator(bits), []
        for image, place in zip(singly, needed.tolist(), strict=True):
            bits.state = first
            bits.advance((place + 1) << 32)
            views.append(view(image, training.views, stream))
        seen = dict(zip(needed.tolist(), views, strict=True))
        return blended(seen, places, blending), own[: len(places)], np.zeros(len(places), bool), damaged

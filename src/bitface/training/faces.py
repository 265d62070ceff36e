"""The faces of a training: which ones a step takes, and what the student sees of them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bitface.errors import UsageError
from bitface.training.settings import Training
from bitface.training.views import blend, view

# uint8 RGB [N, H, W, 3] → the teacher's embeddings [N, D], float32.
Teach = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class TrainingFaces:
    """Faces to learn from.

    Attributes:
        images: uint8 RGB `[N, H, W, 3]`.
        labels: identities 0 to C-1, `[N]`, or None.
    """

    images: np.ndarray
    labels: np.ndarray | None = None

    @property
    def classes(self) -> int:
        return 0 if self.labels is None else int(self.labels.max()) + 1


def digest(faces: TrainingFaces) -> str:
    """Names the faces, their order and their labels: SHA-256 in hexadecimal."""
    result = hashlib.sha256(repr(faces.images.shape).encode())
    result.update(np.ascontiguousarray(faces.images).data)
    result.update(b"" if faces.labels is None else faces.labels.astype(np.int64).tobytes())
    return result.hexdigest()


@dataclass(frozen=True)
class Step:
    """What one step learns from: views uint8 `[B, H, W, 3]`, targets float32 `[B, D]`, labels int64 `[B]`."""

    images: np.ndarray
    targets: np.ndarray
    labels: np.ndarray


class Sampler:
    """Gives the faces of any step: a function of the seed and the step alone."""

    def __init__(self, faces: TrainingFaces, training: Training) -> None:
        self.faces, self.training = faces, training
        self._identities: list[np.ndarray] = []
        if faces.labels is not None and training.per_identity > 1:
            order = np.argsort(faces.labels, kind="stable")
            self._identities = np.split(order, np.flatnonzero(np.diff(faces.labels[order])) + 1)
        if training.batch > len(faces.images) * self._repeats:
            raise UsageError(
                f"'batch' is {training.batch}, but there are {len(faces.images)} faces to learn from; give more faces "
                "or a smaller batch"
            )

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.faces.images) * self._repeats // self.training.batch)

    @property
    def _repeats(self) -> int:
        """How often a face stands in a batch as another view of itself."""
        return 1 if self._identities else self.training.per_identity

    def rows(self, step: int) -> np.ndarray:
        """The faces of a step, `[B]`, each epoch in another order."""
        each, training = self.training.per_identity, self.training
        random = np.random.default_rng((training.seed, 1, step))
        if self._identities:
            people = random.choice(
                len(self._identities), training.batch // each, replace=len(self._identities) < training.batch // each
            )
            groups = [random.choice(rows := self._identities[one], each, replace=len(rows) < each) for one in people]
            return np.concatenate(groups)
        count = training.batch // self._repeats
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((training.seed, 2, epoch)).permutation(len(self.faces.images))
        return np.repeat(order[place * count : (place + 1) * count], self._repeats)

    def take(self, step: int, teach: Teach, cached: np.ndarray | None) -> Step:
        """The views of a step with the teacher's embeddings.

        Args:
            cached: embeddings of the images and of their mirror images, `[2, N, D]`; None where the teacher is live.
        """
        rows, training = self.rows(step), self.training
        random = np.random.default_rng((training.seed, 3, step))
        # One person, or one image seen several times.
        labels = rows if self.faces.labels is None else self.faces.labels[rows]
        if cached is not None:
            mirrored = (random.random(len(rows)) < 0.5) & (training.views != "none")
            images = self.faces.images[rows]
            images[mirrored] = images[mirrored, :, ::-1]
            return Step(images, cached[mirrored.astype(int), rows], labels)
        images = np.stack([view(self.faces.images[row], training.views, random) for row in rows])
        if training.mix:
            images = blend(images, training.mix, random)
        return Step(images, teach(images), labels)

"""Which faces a step takes."""

import numpy as np

from bitface.errors import UsageError, setting
from bitface.training.faces import TrainingFaces
from bitface.training.settings import Training


class Sampler:
    """Gives the faces of any step: a function of the seed and the step alone.

    Neither the number of processes that read the faces nor that of the ranks that share a step changes it: a rank takes
    a contiguous part of `rows`.
    """

    def __init__(self, faces: TrainingFaces, training: Training) -> None:
        self.faces, self.training = faces, training
        self._by_person = self._begins = np.zeros(0, np.int64)
        if faces.labels is not None and training.per_identity > 1:
            self._by_person = np.argsort(faces.labels, kind="stable")
            changes = np.flatnonzero(np.diff(faces.labels[self._by_person])) + 1
            self._begins = np.concatenate([[0], changes, [len(faces.labels)]])
        self._order: tuple[int, np.ndarray] = (-1, self._by_person)
        if training.batch > len(faces.images) * self._repeats:
            raise UsageError(
                f"'batch' is {training.batch}, but there are {len(faces.images)} faces to learn from; give more faces "
                f"or a smaller {setting('batch')}"
            )

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.faces.images) * self._repeats // self.training.batch)

    @property
    def _repeats(self) -> int:
        """How often a face stands in a batch as another view of itself."""
        return 1 if len(self._begins) else self.training.per_identity

    def rows(self, step: int) -> np.ndarray:
        """The faces of a step, of all ranks together, `[B]`; each epoch in another order."""
        each, training = self.training.per_identity, self.training
        if len(self._begins):
            random = np.random.default_rng((training.seed, 1, step))
            people, count = len(self._begins) - 1, training.batch // each
            groups = []
            for one in random.choice(people, count, replace=people < count):
                own = self._by_person[self._begins[one] : self._begins[one + 1]]
                groups.append(random.choice(own, each, replace=len(own) < each))
            return np.concatenate(groups)
        count = training.batch // self._repeats
        epoch, place = divmod(step, self.steps_per_epoch)
        return np.repeat(self._order_of(epoch)[place * count : (place + 1) * count], self._repeats)

    def _order_of(self, epoch: int) -> np.ndarray:
        """Drawn once an epoch: of millions of faces it takes as long as a step."""
        if self._order[0] != epoch:
            random = np.random.default_rng((self.training.seed, 2, epoch))
            self._order = epoch, random.permutation(len(self.faces.images))
        return self._order[1]

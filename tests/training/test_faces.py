"""The faces of a training."""

import numpy as np

from bitface.training import TrainingFaces, digest
from support.training import faces


def test_the_digest_tells_faces_order_and_labels_apart() -> None:
    learned = faces(6)
    others = [
        TrainingFaces(learned.images[::-1]),
        TrainingFaces(learned.images, np.zeros(6, int)),
        TrainingFaces(learned.images, np.arange(6)),
        TrainingFaces(learned.images[:5]),
    ]
    assert len({digest(one) for one in (learned, *others)}) == 5

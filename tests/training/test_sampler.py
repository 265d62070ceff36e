"""Which faces a step takes."""

from dataclasses import replace

import numpy as np
import pytest

from bitface.errors import UsageError
from bitface.training import Training
from bitface.training.sampler import Sampler
from support.training import faces


def test_every_face_once_an_epoch_each_time_in_another_order() -> None:
    sampler = Sampler(faces(24), Training(batch=8))
    assert sampler.steps_per_epoch == 3
    epochs = [np.concatenate([sampler.rows(3 * epoch + step) for step in range(3)]) for epoch in range(2)]
    assert all(sorted(rows) == list(range(24)) for rows in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    again = Sampler(faces(24), Training(batch=8))
    assert np.array_equal(again.rows(4), sampler.rows(4))  # whatever was drawn before
    assert not np.array_equal(Sampler(faces(24), Training(batch=8, seed=1)).rows(4), sampler.rows(4))


def test_people_times_images() -> None:
    learned = faces(24, people=6)
    sampler = Sampler(learned, Training(batch=12, per_identity=3))
    assert learned.labels is not None
    for step in range(5):
        labels = learned.labels[sampler.rows(step)].reshape(4, 3)
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == 4
        assert len(set(sampler.rows(step))) == 12


def test_a_person_with_few_images_is_seen_several_times() -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 1])
    sampler = Sampler(replace(faces(7), labels=labels), Training(batch=6, per_identity=3))
    assert all((labels[sampler.rows(step)] == 1).sum() == 3 for step in range(3))


def test_views_without_labels() -> None:
    rows = Sampler(faces(24), Training(batch=8, per_identity=2)).rows(0).reshape(4, 2)
    assert (rows[:, 0] == rows[:, 1]).all()
    assert len(set(rows[:, 0])) == 4


def test_a_batch_larger_than_the_data() -> None:
    with pytest.raises(UsageError, match="'batch' is 64, but there are 24 faces"):
        Sampler(faces(24), Training())
    Sampler(faces(32), Training(per_identity=2))

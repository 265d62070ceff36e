"""What a step learns from."""

from dataclasses import replace

import numpy as np
import pytest

from bitface.training import Training
from bitface.training.loader import Loader, Step
from support.training import faces, teach


@pytest.mark.parametrize("teacher", ["cached", "live"])
def test_targets_are_those_of_what_the_student_sees(teacher: str) -> None:
    learned = faces(24)
    plain = np.asarray(learned.images)
    cached = np.stack([teach(plain), teach(plain[:, :, ::-1])]) if teacher == "cached" else None
    loader = Loader(learned, Training(batch=24, teacher=teacher))
    step = loader.take(3, teach, cached)
    np.testing.assert_allclose(step.targets, teach(step.images), rtol=1e-6)
    chosen = learned.images[loader.sampler.rows(3)]
    mirrored = [not np.array_equal(image, other) for image, other in zip(step.images, chosen, strict=True)]
    assert 4 < sum(mirrored) < 20
    assert np.array_equal(step.labels, loader.sampler.rows(3))
    again = loader.take(3, teach, cached)
    assert np.array_equal(again.images, step.images)


@pytest.mark.parametrize("views", ["mild", "strong"])
def test_live_views(views: str) -> None:
    learned = faces(24)
    loader = Loader(learned, Training(batch=24, teacher="live", views=views, mix=0.5))
    step, again, other = (loader.take(number, teach, None) for number in (0, 0, 1))
    assert step.images.shape == (24, 8, 8, 3)
    assert step.images.dtype == np.uint8
    assert np.array_equal(step.images, again.images)
    assert not np.array_equal(step.images, other.images)
    np.testing.assert_allclose(step.targets, teach(step.images), rtol=1e-6)


def same(first: Step, second: Step) -> bool:
    return all(np.array_equal(value, vars(second)[name]) for name, value in vars(first).items())


@pytest.mark.parametrize("settings", [{"teacher": "cached"}, {"teacher": "live", "views": "strong", "mix": 0.5}])
def test_ranks_together_see_what_one_sees(settings: dict[str, str]) -> None:
    learned, training = faces(24), Training(batch=12, **settings)  # type: ignore[arg-type]
    plain = np.asarray(learned.images)
    cached = np.stack([teach(plain), teach(plain[:, :, ::-1])])
    targets = cached if training.teacher == "cached" else None
    for step in (0, 5):
        whole = Loader(learned, training).take(step, teach, targets)
        for ranks in (2, 3, 4):
            size = 12 // ranks
            parts = [Loader(learned, training, slice(k * size, (k + 1) * size)) for k in range(ranks)]
            steps = [part.take(step, teach, targets) for part in parts]
            together = Step(*(np.concatenate([vars(one)[name] for one in steps]) for name in vars(whole)))
            assert same(whole, together)


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_change_nothing(workers: int) -> None:
    learned, training = faces(24), Training(batch=8, teacher="live", views="strong", mix=0.5)
    alone, helped = Loader(learned, training), Loader(replace(learned, workers=workers), training)
    try:
        for step in (0, 1, 2, 7, 8, 0):  # in order, ahead, back
            assert same(alone.take(step, teach, None), helped.take(step, teach, None))
    finally:
        helped.close()

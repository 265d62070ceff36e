"""What a step learns from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bitface.data.crops import Crops, Damage
from bitface.data.datasets.rec import RecordFaces
from bitface.data.workers import in_order
from bitface.store import Store
from bitface.training import Training, TrainingFaces, teacher
from bitface.training.loader import Loader, Step
from support.packed_sets import crops, jpeg, write_rec
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


@pytest.mark.parametrize("views", ["mild", "strong", "severe"])
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


def from_records(folder: Path, broken: tuple[int, ...] = (), workers: int = 0) -> TrainingFaces:
    images = [b"none" if place in broken else jpeg(image) for place, image in enumerate(crops(24, side=32))]
    labels = np.arange(24) // 4
    dataset = RecordFaces(write_rec(folder, images, labels.tolist()))
    return TrainingFaces(Crops(dataset, (32, 32), Damage(24, True, folder / "skipped.csv")), labels, workers)


@pytest.mark.parametrize("settings", [{"teacher": "cached"}, {"teacher": "live", "views": "mild"}])
def test_damaged_records_change_neither_the_order_nor_the_labels(tmp_path: Path, settings: dict[str, str]) -> None:
    training = Training(batch=8, **settings)  # type: ignore[arg-type]
    broken = (3, 4, 20)
    whole = from_records(tmp_path / "whole")
    plain = np.asarray(whole.images)
    targets = np.stack([teach(plain), teach(plain[:, :, ::-1])]) if training.teacher == "cached" else None
    other = np.array([5 if row in (3, 4) else 21 if row == 20 else row for row in range(24)])
    assert whole.labels is not None
    replaced = TrainingFaces(plain[other], whole.labels[other])
    expected, same_targets = Loader(replaced, training), None if targets is None else targets[:, other]
    steps = [expected.take(step, teach, same_targets) for step in range(6)]
    for workers in (0, 1, 4):
        loader = Loader(from_records(tmp_path / f"{workers}", broken, workers), training)
        found = [loader.take(step, teach, targets) for step in range(6)]
        loader.close()
        assert all(same(one, two) for one, two in zip(steps, found, strict=True))
        assert len((tmp_path / f"{workers}" / "skipped.csv").read_text().splitlines()) == 4


def test_teacher_embeddings_of_faces_on_disk_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher, "_BLOCK", 4)
    monkeypatch.setattr(teacher, "_KEPT_EVERY", 2)
    faces, calls = from_records(tmp_path / "set"), list[int]()
    plain = np.asarray(faces.images)

    def count(images: np.ndarray) -> np.ndarray:
        if len(calls) == 10:
            raise KeyboardInterrupt
        calls.append(len(images))
        return teach(images)

    with pytest.raises(KeyboardInterrupt):
        teacher.cached_targets(faces, count, "a", Store(tmp_path / "store"))
    calls.clear()
    targets = teacher.cached_targets(faces, count, "a", Store(tmp_path / "store"))
    assert calls == [4] * 4  # four blocks were there, twice each
    assert isinstance(targets, teacher.StoredTargets)
    expected = np.stack([teach(plain), teach(plain[:, :, ::-1])])
    np.testing.assert_array_equal(np.asarray(targets), expected)
    rows = np.array([3, 1, 7])
    np.testing.assert_array_equal(targets[np.array([0, 1, 1]), rows], expected[[0, 1, 1], rows])
    (entry,) = (tmp_path / "store" / "embeddings").iterdir()
    entry.with_name(f".{entry.stem}").mkdir()  # left by a process that was killed when all was there
    again = teacher.cached_targets(faces, count, "a", Store(tmp_path / "store"))
    np.testing.assert_array_equal(np.asarray(again), expected)
    assert calls == [4] * 4
    assert [path.suffix for path in (tmp_path / "store" / "embeddings").iterdir()] == [".npy"]


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_change_nothing(workers: int) -> None:
    learned, training = faces(24), Training(batch=8, teacher="live", views="strong", mix=0.5)
    alone, helped = Loader(learned, training), Loader(replace(learned, workers=workers), training)
    try:
        for step in (0, 1, 2, 7, 8, 0):  # in order, ahead, back
            assert same(alone.take(step, teach, None), helped.take(step, teach, None))
    finally:
        helped.close()


@pytest.mark.slow
def test_spawned_processes_see_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system doesn't fork, all of it is pickled; a restarted reader, too."""
    monkeypatch.setattr(in_order.__module__ + "._START", "spawn")
    training = Training(batch=8)
    alone, helped = (Loader(from_records(tmp_path / f"{n}", (4,), n), training) for n in (0, 1))
    targets = np.zeros((2, 24, 3), np.float32)
    try:
        for step in (0, 1, 5):
            assert same(alone.take(step, teach, targets), helped.take(step, teach, targets))
    finally:
        helped.close()

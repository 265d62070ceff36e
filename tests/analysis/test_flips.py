import numpy as np
import pytest

from bitface.analysis import flips as module
from bitface.analysis.flips import Pairs, flips, thresholds
from bitface.errors import BitfaceError
from bitface.evaluation import tar_at_far, unit_rows


def models(people: int = 12, each: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), each)
    teacher = rng.normal(size=(people, 12))[labels] + 0.7 * rng.normal(size=(people * each, 12))
    student = teacher + 0.5 * rng.normal(size=teacher.shape)
    return unit_rows(teacher)[0], unit_rows(student)[0], labels


def listed(labels: np.ndarray) -> Pairs:
    left, right = np.triu_indices(len(labels), 1)
    return Pairs(left, right, labels[left] == labels[right])


@pytest.mark.parametrize("block", [7, 1024])
@pytest.mark.parametrize("as_list", [True, False])
def test_against_a_loop(monkeypatch: pytest.MonkeyPatch, block: int, as_list: bool) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    teacher, student, labels = models()
    at = (0.45, 0.5)
    found = flips(teacher, student, listed(labels) if as_list else Pairs(labels=labels), 1e-2, at)
    expected = {}
    for a in range(len(labels)):
        for b in range(a + 1, len(labels)):
            before, after = teacher[a] @ teacher[b], student[a] @ student[b]
            if (before >= at[0]) != (after >= at[1]):
                same = labels[a] == labels[b]
                moved = (before - at[0]) - (after - at[1])
                expected[a, b] = (bool(same), moved if same else -moved)
    lost = [same for same, damage in expected.values() if damage > 0]
    assert (found.rejected, found.accepted) == (sum(lost), len(lost) - sum(lost))
    assert found.gained == len(expected) - len(lost)
    assert (found.genuine, found.impostor) == (12 * 15, 72 * 71 // 2 - 12 * 15)
    worst = [expected[one.left, one.right] for one in found.worst]
    assert len(worst) == min(100, len(expected))
    damages = sorted((damage for _, damage in expected.values()), reverse=True)
    assert [one.damage for one in found.worst] == pytest.approx(damages[:100])
    assert [one.same for one in found.worst] == [same for same, _ in worst]
    involved = {row for one in found.worst if one.lost for row in (one.left, one.right)}
    assert set(np.flatnonzero(found.faces)) == involved


def test_thresholds_are_those_of_the_operating_points() -> None:
    teacher, _, labels = models(20, 8)
    pairs = listed(labels)
    assert pairs.left is not None
    scores = np.einsum("nd,nd->n", teacher[pairs.left], teacher[pairs.right])
    points = tar_at_far(scores[pairs.same], scores[~pairs.same], (1e-4, 1e-3, 1e-2, 1e-1))
    expected = {point.far: point.threshold for point in points if point.supported}
    assert set(expected) == {1e-3, 1e-2, 1e-1}
    assert thresholds(teacher, pairs) == expected
    assert thresholds(teacher, Pairs(labels=labels)) == expected


def test_the_same_model_flips_nothing() -> None:
    teacher, _, labels = models()
    found = flips(teacher, teacher, Pairs(labels=labels), 1e-2, (0.4, 0.4))
    assert found.worst == ()
    assert not found.faces.any()
    assert found.rejected == found.accepted == found.gained == 0


def test_without_impostors_there_is_no_threshold() -> None:
    teacher, _, _ = models()
    with pytest.raises(BitfaceError):
        thresholds(teacher, Pairs(labels=np.zeros(len(teacher), np.int64)))

from typing import Any

import pytest

from bitface.errors import UsageError
from bitface.training import Training
from bitface.training.schedule import share_of_rate


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "unknown key 'epoch'; did you mean 'epochs'"),
        ({"epochs": "three"}, "'epochs' of the training can't be 'three'"),
        ({"batch": 32.5}, "'batch' of the training can't be 32.5"),
        ({"freeze_ranges": 1}, "'freeze_ranges' of the training can't be 1"),
        ({"rate": True}, "'rate' of the training can't be True"),
        ({"rate": -1.0}, "'rate' of the training is -1.0: use 1e-08 to 10"),
        ({"optimizer": "lion"}, "use one of adam, adamw, sgd"),
        ({"schedule": "linear"}, "use one of one-cycle"),
        ({"batch": 9, "per_identity": 2}, "multiple of 'per_identity'"),
        ({"views": "strong"}, "teacher: live"),
        ({"mix": 0.5}, "teacher: live"),
        ({"milestones": ["early"]}, "milestones"),
        ({"milestones": [2.0]}, "milestones"),
        ({"seed": -1}, "seed"),
    ],
)
def test_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Training.from_json(values)


def test_read() -> None:
    training = Training.from_json({"epochs": 3, "milestones": [0.5, 0.9], "loss": {"ekd": 1}})
    assert training == Training(epochs=3, milestones=(0.5, 0.9), loss={"ekd": 1})


def test_schedules() -> None:
    def shares(**settings: object) -> list[float]:
        return [share_of_rate(Training(**settings), step, 100) for step in range(100)]  # type: ignore[arg-type]

    cycle = shares(schedule="one-cycle", warm_up=0.1)
    assert max(cycle) == pytest.approx(cycle[10]) == pytest.approx(1)
    assert cycle[:11] == sorted(cycle[:11])
    assert cycle[10:] == sorted(cycle[10:], reverse=True)
    assert 0.01 <= cycle[-1] < 0.02
    assert shares(schedule="cosine")[50] == pytest.approx(0.505)
    assert set(shares(schedule="constant")) == {1.0}
    steps = shares(schedule="step", milestones=(0.5, 0.8), gamma=0.1)
    assert [steps[0], steps[49], steps[50], steps[79], steps[80]] == pytest.approx([1, 1, 0.1, 0.1, 0.01])

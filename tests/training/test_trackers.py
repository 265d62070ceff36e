"""Where a training's progress is kept."""

import json
from pathlib import Path

import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.training import Status, fit
from bitface.training.trackers import TRACKERS, tracked
from support.ranks import on_ranks
from support.training import trainee
from training.test_loop import SHORT


def logged(folder: str) -> bool:
    with tracked("jsonl", Path(folder), {"epochs": 5}) as listener:
        fit(trainee(SHORT), SHORT, watch=listener)
    return listener is not None


def test_a_line_for_each_step(tmp_path: Path) -> None:
    logged(str(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 16))
    assert rows[-1].keys() == {"step", "loss", "images_per_second", "agreement"}


def test_of_several_ranks_the_first_keeps_it(tmp_path: Path) -> None:
    assert on_ranks(2, logged, str(tmp_path)) == [True, False]
    assert len((tmp_path / "log.jsonl").read_text("utf-8").splitlines()) == 15


def test_nobody_listens(tmp_path: Path) -> None:
    with tracked(None, tmp_path, {}) as listener:
        assert listener is None


def test_what_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"),
        tracked("tensorbord", tmp_path, {}),
    ):
        pass
    with (
        pytest.raises(BitfaceError, match="wandb isn't installed here: pip install 'bitface\\[wandb\\]'"),
        tracked("wandb", tmp_path, {}),
    ):
        pass
    with pytest.raises(BitfaceError, match="can't be written"), tracked("jsonl", tmp_path / "none", {}):
        pass


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_with_its_package(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    with tracked(name, tmp_path, {"epochs": 5}) as listener:
        assert listener is not None
        listener(Status(1, 2, 0.5, 10.0, None))
    assert list(tmp_path.rglob("events*" if name == "tensorboard" else "loss"))
    assert set(TRACKERS) == {"jsonl", "tensorboard", "wandb", "mlflow"}

"""Where a training's progress is kept."""

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.training import Status, fit
from bitface.training.trackers import TRACKERS, Tell, tracked
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


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
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


def test_what_a_tracker_raises_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(folder: Path, about: Mapping[str, Any], stack: ExitStack) -> Tell:
        if about["lost"] == "at once":
            raise RuntimeError("no server\nand more")

        def tell(step: int, figures: Mapping[str, float]) -> None:
            raise ConnectionError("no server")

        return tell

    monkeypatch.setitem(TRACKERS._things, "remote", refused)
    with pytest.raises(BitfaceError, match=r"^remote can't be opened: no server$"):
        log(tmp_path, "at once")
    with pytest.raises(BitfaceError, match=r"^remote can't be told of step 1: no server$"):
        log(tmp_path, "later")


def log(folder: Path, lost: str) -> None:
    with tracked("remote", folder, {"lost": lost}) as listener:
        assert listener is not None
        listener(Status(1, 2, 0.5, 10.0, None))


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_with_its_package(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with tracked(name, tmp_path, {"epochs": 5}) as listener:
        assert listener is not None
        listener(Status(1, 2, 0.5, 10.0, None))
    assert list(tmp_path.rglob({"tensorboard": "events*", "mlflow": "loss", "wandb": "run-*.wandb"}[name]))
    assert set(TRACKERS) == {"jsonl", "tensorboard", "wandb", "mlflow"}

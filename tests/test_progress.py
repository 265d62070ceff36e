"""Progress in a log."""

import time

import pytest

from bitface import progress
from bitface.training import Status
from bitface.training.progress import training_line


def test_remaining_time_of_a_resumed_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Steps of an earlier run say nothing about this one's pace."""
    clock = iter([0.0, 2.0, 62.0, 122.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.shown() as steps:
        tell = steps("training")
        tell(1000, 2000)  # 2 seconds in: what was done before, and a step
        tell(1030, 2000)
        tell(1060, 2000, "loss 0.1")
    assert capsys.readouterr().err.splitlines() == [
        "training 1030/2000, 32.3 min left",
        "training 1060/2000, 31.3 min left, loss 0.1",
    ]


def test_remaining_time_of_slow_steps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 60.0, 120.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.shown() as steps:
        tell = steps("measuring")
        tell(1, 3)
        tell(2, 3)
    assert capsys.readouterr().err.splitlines() == ["measuring 1/3, 2.0 min left", "measuring 2/3, 1.0 min left"]


def test_remaining_time_of_a_training(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its clock starts with its first step, however long the calibration before it took."""
    clock = iter([100.0, 100.0, 140.0])
    with progress.shown() as steps:
        watch = training_line(steps)
        monkeypatch.setattr(time, "monotonic", lambda: next(clock))
        watch(Status(1, 101, 0.5, 64.0, None))
        watch(Status(21, 101, 0.4, 64.0, 0.9))
    assert capsys.readouterr().err.splitlines() == [
        "training 21/101, 2.7 min left, loss 0.4, agreement 0.9000, 64 images/s"
    ]


def test_the_end_of_a_long_step_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 60.0, 120.0, 130.0, 131.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.shown() as steps:
        tell = steps("measuring")
        tell(1, 2)
        tell(2, 2)
        tell = steps("reading")  # a short one says nothing
        tell(2, 2)
    assert capsys.readouterr().err.splitlines() == ["measuring 1/2, 1.0 min left", "measuring 2/2, 2.0 min"]


def test_no_bar_stands_at_its_end() -> None:
    """What is done goes, and what comes after it shows that something is done."""
    with progress._on_terminal() as bars:
        board = progress._Bars(bars)

        def seen() -> list[str]:
            return [task.description for task in bars.tasks if task.visible]

        assert seen() == ["working"]
        first, second = board.step("reading"), board.step("calibrating")
        assert seen() == ["reading", "calibrating"]
        first(1, 2)
        second(3, 3)
        assert seen() == ["reading"]
        first(2, 2)
        assert seen() == ["working"]
        assert all(task.total is None for task in bars.tasks if task.visible)

"""The loop: what it keeps, where it stops, and that a resumed training is the uninterrupted one."""

import itertools
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bitface import signals
from bitface.errors import BitfaceError, UsageError
from bitface.quant.quantizers import LsqQuantizer
from bitface.training import Interrupted, Status, Training, fit, loop
from bitface.training.checkpoint import Checkpoint
from support.training import faces, trainee

SHORT = Training(loss={"feature": {"form": "cosine"}}, epochs=5, batch=8, rate=0.01, precision="f32")
SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine"},
    "sgd": {"optimizer": "sgd", "schedule": "step", "milestones": (0.5,)},
    "averaged": {"average": 0.9},
    "live": {"teacher": "live", "views": "mild", "mix": 0.3},
    "bf16": {"precision": "bf16"},
    "ekd": {"loss": {"ekd": {"memory": 64}, "relational": 1.0}, "per_identity": 2},
    "arcface": {"loss": {"arcface": {"s": 16}}},
    "rcm": {"loss": {"rcm": {"s": 16, "lam": 1}}, "per_identity": 2},
    "rcm, moving centres": {"loss": {"rcm": {"s": 16, "centers": "ema"}}},
}


def state(one: Any) -> dict[str, torch.Tensor]:
    return {**one.model.state_dict(), **{f"loss {key}": value for key, value in one.loss.state_dict().items()}}


def people(training: Training) -> int:
    return 6 if isinstance(training.loss, Mapping) and {"arcface", "rcm"} & set(training.loss) else 0


@pytest.mark.parametrize("name", SETTINGS)
def test_the_loss_falls(name: str) -> None:
    training = replace(SHORT, **SETTINGS[name], epochs=30)
    one = trainee(training, faces(24, people(training)))
    losses: list[float] = []
    history = fit(one, training, watch=lambda status: losses.append(status.loss))
    assert history.steps == len(losses) == 30 * (6 if name == "ekd" else 3)
    assert sum(losses[-9:]) < sum(losses[:9]) or name == "ekd"  # whose thresholds come one after the other
    assert history.images == history.steps * 8


@pytest.mark.parametrize("stop", [1, 4, 14])
@pytest.mark.parametrize("name", SETTINGS)
def test_resumed_is_uninterrupted(name: str, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The signal itself is sent to a process of its own, in the tests of the command line: here it could hit the
    # process that runs the tests.
    asked = [False]
    monkeypatch.setattr(signals, "asking", lambda: nullcontext(lambda: asked[0]))
    training = replace(SHORT, **SETTINGS[name])
    learned = faces(24, people(training))
    whole = trainee(training, learned)
    fit(whole, training)

    def interrupt(status: Status) -> None:
        asked[0] = status.step == stop

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Interrupted, match=rf"stopped after step {stop} of \d+; go on with the same again"):
        fit(trainee(training, learned), training, {"network": "a"}, path, watch=interrupt)
    asked[0] = False
    resumed = trainee(training, learned)
    for parameter in resumed.model.parameters():
        parameter.data += 1  # all that counts is in the checkpoint
    fit(resumed, training, {"network": "a"}, path, resume=True)
    expected, found = state(whole), state(resumed)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key


def test_a_finished_training_has_nothing_to_resume(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    one, other = trainee(SHORT), trainee(SHORT)
    fit(one, SHORT, checkpoint=path)
    calls: list[Status] = []
    history = fit(other, SHORT, checkpoint=path, resume=True, watch=calls.append)
    assert not calls
    assert history.steps == 15
    assert all(torch.equal(value, state(other)[key]) for key, value in state(one).items())


def test_the_best_state_is_the_result() -> None:
    one = trainee(SHORT)
    figures = iter([0.1, 0.9, 0.3, *[0.2] * 20])
    seen: list[dict[str, torch.Tensor]] = []

    def evaluate() -> float:
        seen.append({key: value.clone() for key, value in one.model.state_dict().items()})
        return next(figures)

    one.evaluate = evaluate
    fit(one, SHORT)
    assert all(torch.equal(value, one.model.state_dict()[key]) for key, value in seen[1].items())


def test_averaged_weights() -> None:
    training = replace(SHORT, average=0.8)
    one = trainee(training, evaluate=False)
    oracle = {key: value.clone() for key, value in one.model.named_parameters()}

    def follow(status: Status) -> None:
        decay = min(0.8, (1 + status.step) / (10 + status.step))
        for key, value in one.model.named_parameters():
            oracle[key] = decay * oracle[key] + (1 - decay) * value.detach()

    fit(one, training, watch=follow)
    for key, value in one.model.named_parameters():
        torch.testing.assert_close(value, oracle[key], rtol=1e-5, atol=1e-6)


def test_a_diverging_loss_stops_and_keeps_the_last_good_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "checkpoint.safetensors"
    one = trainee(SHORT)

    def poison(status: Status) -> None:
        if status.step == 3:
            one.model.fc.bias.data[0] = float("nan")

    with pytest.raises(BitfaceError, match=r"the loss is nan at step 4 of 15; lower 'rate'.*checkpoint\.safetensors"):
        fit(one, SHORT, checkpoint=path, watch=poison)
    kept = Checkpoint.read(path, {})
    assert kept.step == 3
    assert all(value.isfinite().all() for value in kept.groups["model"].values())


def test_minutes() -> None:
    ticks = itertools.count(0, 0.5)  # half a second from one look at the clock to the next
    history = fit(trainee(SHORT), SHORT, minutes=0.1, clock=lambda: next(ticks))
    assert (history.steps, history.seconds) == (12, 6.0)


@pytest.mark.parametrize("name", ["ekd", "rcm"])
def test_measuring_the_rate_changes_nothing(name: str) -> None:
    training = replace(SHORT, **SETTINGS[name])
    one, other = (trainee(training, faces(24, people(training))) for _ in range(2))
    run = loop._Run(one, training, {}, None)
    assert run._seconds_per_step() > 0
    assert all(torch.equal(value, state(other)[key]) for key, value in state(one).items())


def test_quantizers_learn_at_their_own_rate_or_not_at_all() -> None:
    for training, rates in (
        (replace(SHORT, quantizer_rate=4.0), {0.01, 0.04}),
        (replace(SHORT, freeze_ranges=True), {0.01}),
    ):
        one = trainee(training)
        one.model.add_module("quantizer", LsqQuantizer(4, True, True))
        run = loop._Run(one, training, {}, None)
        assert {group["highest"] for group in run.optimizer.param_groups} == rates
        decayed = [p for group in run.optimizer.param_groups if group["weight_decay"] for p in group["params"]]
        assert all(parameter.dim() > 1 for parameter in decayed)


@pytest.mark.parametrize(
    ("settings", "known", "message"),
    [
        ({"loss": {"ekd": 1.0}}, 0, "set 'per_identity' to 2"),
        ({"loss": {"ekd": 1.0}, "per_identity": 2}, 24, "every person has one image"),
        ({"loss": {"arcface": 1.0}, "mix": 0.2, "teacher": "live"}, 6, "'mix' blends people"),
        ({"batch": 64}, 0, "there are 24 faces"),
    ],
)
def test_what_does_not_go_together(settings: dict[str, Any], known: int, message: str) -> None:
    training = replace(SHORT, **settings)
    with pytest.raises(UsageError, match=message):
        fit(trainee(training, faces(24, known)), training)


def test_labels_are_missed() -> None:
    training = replace(SHORT, loss={"arcface": 1.0})
    with pytest.raises(UsageError, match="needs labelled faces"):
        trainee(training)
    one = trainee(training, faces(24, 6))
    one.faces = faces(24)
    with pytest.raises(UsageError, match="labels="):
        fit(one, training)


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    fit(trainee(SHORT), SHORT, {"network": "a", "plan": "w4a4"}, path)
    with pytest.raises(BitfaceError, match=r"another training \(other plan\)"):
        fit(trainee(SHORT), SHORT, {"network": "a", "plan": "w8a8"}, path, resume=True)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BitfaceError, match="no readable checkpoint"):
        fit(trainee(SHORT), SHORT, {"network": "a", "plan": "w4a4"}, path, resume=True)

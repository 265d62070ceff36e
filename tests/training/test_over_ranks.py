"""A training on several ranks is that on one: its losses, its weights, and checkpoints that go on anywhere."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bitface import ranks
from bitface.errors import BitfaceError
from bitface.quant.quantizers import QUANTIZERS
from bitface.training import Interrupted, Status, Training, fit, loop
from support.ranks import on_ranks
from support.training import faces, trainee
from training.test_loop import SETTINGS, SHORT, state

CASES: dict[str, dict[str, Any]] = {
    **SETTINGS,
    "sampled": {"loss": {"arcface": {"s": 16, "sample": 0.5}}},
    "sampled rcm": {"loss": {"rcm": {"s": 16, "lam": 1, "sample": 0.5}}, "optimizer": "sgd"},
    # With centres of an epoch, embeddings of the running statistics count, which hold Adam's noise (see NOISE).
    "rcm": {**SETTINGS["rcm"], "optimizer": "sgd"},
    "biased": {"loss": {"softmax": {"bias": True}}},
}


def trained(
    training: Training, statistics: bool = True, checkpoint: str | None = None, stop: int | None = None
) -> dict[str, Any]:
    """Losses and the state at the end; stopped, as by Ctrl-C in one rank, after so many steps."""
    count = 6 if {"arcface", "rcm", "softmax"} & set(training.loss) else 0  # type: ignore[arg-type]
    one = replace(trainee(training, faces(24, count)), train_statistics=statistics)
    losses: list[float] = []
    asked = [False]

    def watch(status: Status) -> None:
        losses.append(status.loss)
        asked[0] = stop is not None and status.step == stop - 1 and ranks.rank() == ranks.count() - 1

    loop._interruptible = lambda: nullcontext(lambda: asked[0])  # type: ignore
    path = None if checkpoint is None else Path(checkpoint)
    try:
        fit(one, training, {"network": "a"}, path, resume=True, watch=watch)
    except Interrupted:
        return {"losses": losses}
    return {"losses": losses, "state": {key: value.double().tolist() for key, value in state(one).items()}}


def alike(ours: Any, theirs: Any, rel: float = 1e-4) -> None:
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=rel, atol=1e-6)


# What BatchNorm takes out again: its gradient is nothing but rounding errors, which Adam makes large.
NOISE = ("conv.bias", "norm.running_mean")


@pytest.mark.parametrize(
    ("name", "count"), [*((name, 2) for name in CASES), ("adam", 3), ("ekd", 3), ("sampled rcm", 3)]
)
def test_any_number_of_ranks_gives_the_same_training(name: str, count: int) -> None:
    training = replace(SHORT, **CASES[name])
    (alone,) = on_ranks(1, trained, training)
    for result in on_ranks(count, trained, training):
        alike(result["losses"], alone["losses"], 2e-2 if name == "bf16" else 1e-4)
        for key, value in result["state"].items():
            ours, whole = torch.tensor(value), torch.tensor(alone["state"][key])
            if ours.shape == whole.shape and key not in NOISE and name != "bf16":  # split classes have fewer rows
                torch.testing.assert_close(ours, whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_parts_of_a_batch_give_its_gradient(count: int) -> None:
    """Whatever the loss looks at; BatchNorms with statistics of their own."""
    whole, parts = (replace(SHORT, **SETTINGS["ekd"], accumulate=number) for number in (1, 3))
    (expected,) = on_ranks(1, trained, whole, False)
    for result in on_ranks(count, trained, parts, False):
        alike(result["losses"], expected["losses"])
        for key, value in result["state"].items():
            torch.testing.assert_close(torch.tensor(value), torch.tensor(expected["state"][key]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["averaged", "ekd", "sampled"])
def test_two_ranks_are_gone_on_with_by_any_number(name: str, tmp_path: Path) -> None:
    training = replace(SHORT, **CASES[name])
    (whole,) = on_ranks(1, trained, training)
    for count in (1, 3):
        path = str(tmp_path / f"{count}.safetensors")
        begun = on_ranks(2, trained, training, True, path, 7)
        assert all(len(result["losses"]) == 7 for result in begun)
        for result in on_ranks(count, trained, training, True, path):
            alike([*begun[0]["losses"], *result["losses"]], whole["losses"])


def refused(settings: dict[str, Any]) -> str:
    with pytest.raises(BitfaceError) as caught:
        fit(trainee(SHORT, faces(24, seed=ranks.rank())), replace(SHORT, **settings), {"faces": str(ranks.rank())})
    return str(caught.value)


def test_ranks_with_other_faces() -> None:
    assert all("rank 1 has other faces than rank 0" in text for text in on_ranks(2, refused, {}))


def watched(method: str) -> list[float]:
    """The range that a quantizer finds in three batches of which each rank sees a part."""
    quantizer = QUANTIZERS[method](4, True, False)
    torch.manual_seed(0)
    for _ in range(3):
        quantizer(torch.randn(8, 5)[ranks.part(8)])
    return [quantizer.low.item(), quantizer.high.item()]


@pytest.mark.parametrize("method", ["minmax", "ema"])
def test_ranges_are_those_of_the_whole_batch(method: str) -> None:
    (alone,) = on_ranks(1, watched, method)
    assert on_ranks(3, watched, method) == [alone] * 3

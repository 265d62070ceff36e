"""A training on several ranks is that on one: its losses, its weights, and checkpoints that go on anywhere."""

import resource
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bitface import ranks, signals
from bitface.data.crops import Crops, Damage
from bitface.data.datasets.rec import RecordFaces
from bitface.errors import BitfaceError
from bitface.losses import build_sum
from bitface.losses.feature import FeatureLoss
from bitface.preprocess import parse
from bitface.quant import BitPlan, Calibration, learn
from bitface.quant.fused import fused
from bitface.quant.post_training import calibrated
from bitface.quant.quantizers import QUANTIZERS
from bitface.store import Store
from bitface.training import Interrupted, Status, Trainee, Training, TrainingFaces, fit, loop, teacher
from bitface.training.checkpoint import Checkpoint
from support import quantized
from support.packed_sets import crops, jpeg, write_rec
from support.ranks import on_ranks
from support.training import faces, teach, trainee
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

    signals.asking = lambda: nullcontext(lambda: asked[0])  # type: ignore
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


State = dict[str, torch.Tensor]


def quantized_steps(name: str, states: list[State] | None) -> tuple[list[float], list[np.ndarray], list[State]]:
    """Loss and gradients of each step of a student at w4a4, and its state after it.

    Args:
        states: of another training, which take the place of its own after each step.
    """
    torch.manual_seed(0)
    network, learned = quantized.network(quantized.Mixed(), 16), quantized.faces(40, 16)
    student = calibrated(network, learned[:8], BitPlan.parse("w4a4"), Calibration("minmax"))
    learn.make_learnable(student)
    training = replace(SHORT, **CASES[name], optimizer="sgd", rate=1e-3, epochs=2)
    loss = build_sum(training.loss, 12, 6, generator=torch.Generator().manual_seed(0))
    targets = np.random.default_rng(0).standard_normal((2, 40, 12)).astype(np.float32)
    assert network.preprocess is not None
    one = Trainee(
        student.graph, loss, TrainingFaces(learned, np.arange(40) % 6), network.preprocess, None, targets,
        run=fused(student.graph),
    )  # fmt: skip
    losses, gradients, after = list[float](), list[np.ndarray](), list[State]()

    @torch.no_grad()
    def watch(status: Status) -> None:
        losses.append(status.loss)
        rows = [p.grad for p in student.graph.parameters() if p.grad is not None]
        rows += [ranks.gathered(p.grad, 6) for p in loss.parameters() if p.grad is not None]  # the classes' vectors
        gradients.append(np.concatenate([row.flatten().numpy() for row in rows]))
        after.append({key: value.clone() for key, value in state(one).items()})
        if states is not None:
            for key, value in state(one).items():
                whole = states[status.step - 1][key]
                value.copy_(whole if whole.shape == value.shape else whole[ranks.part(6)])

    fit(one, training, watch=watch)
    return losses, gradients, after


def from_states(name: str, states: list[State]) -> tuple[list[float], list[np.ndarray]]:
    return quantized_steps(name, states)[:2]


@pytest.mark.parametrize("name", ["arcface", "sampled", "rcm, moving centres", "ekd"])
def test_at_the_same_states_ranks_have_the_same_losses_and_gradients(name: str) -> None:
    """Roundings make two trainings part where a sum differs in its last digit; so each step begins at one state."""
    losses, gradients, states = quantized_steps(name, None)
    assert len(losses) >= 10
    for ours, own in on_ranks(3, from_states, name, states):
        assert ours == pytest.approx(losses, rel=1e-5)
        for vector, expected in zip(own, gradients, strict=True):
            assert np.linalg.norm(vector - expected) < 1e-4 * np.linalg.norm(expected)


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


def from_records(folder: Path, broken: tuple[int, ...] = ()) -> TrainingFaces:
    images = [b"none" if place in broken else jpeg(image) for place, image in enumerate(crops(24, side=32))]
    dataset = RecordFaces(write_rec(folder, images, [place // 4 for place in range(24)]))
    return TrainingFaces(Crops(dataset, (32, 32), Damage(24, True)), np.arange(24) // 4)


def taught(folder: str, in_memory: bool, count: int) -> tuple[bytes, int]:
    """The teacher's embeddings of faces, and of how many faces and mirror images this rank asked it."""
    whole, asked = from_records(Path(folder) / str(ranks.rank())), list[int]()
    images = np.asarray(whole.images)[:count] if in_memory else whole.images[:count]

    def ask(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return teach(images)

    targets = teacher.cached_targets(TrainingFaces(images), ask, "a", Store(Path(folder) / "store"))
    return np.asarray(targets).tobytes(), sum(asked)


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(("count", "expected_asked"), [(18, [12, 12, 12]), (2, [2, 2, 4])])
def test_each_rank_asks_the_teacher_of_its_part(
    tmp_path: Path, in_memory: bool, count: int, expected_asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "_BLOCK", 3)
    monkeypatch.setattr(teacher, "_KEPT_EVERY", 3)
    (expected, _) = taught(str(tmp_path / "one"), in_memory, count)
    results = on_ranks(3, taught, str(tmp_path / "several"), in_memory, count)
    assert [content for content, _ in results] == [expected] * 3
    assert [asked for _, asked in results] == expected_asked
    assert [asked for _, asked in on_ranks(3, taught, str(tmp_path / "several"), in_memory, count)] == [0] * 3


def centres(folder: str, workers: int) -> list[bytes]:
    """What a loss that looks at all faces has seen of them."""
    learned = from_records(Path(folder) / str(ranks.rank()), (5,))
    one = trainee(SHORT, replace(learned, workers=workers))
    one.preprocess, one.model, one.targets = parse("rgb-127.5-127.5", (32, 32)), nn.Flatten(), None
    one.model.register_parameter("something", nn.Parameter(torch.zeros(1)))
    seen: list[list[torch.Tensor]] = []

    class Looks(FeatureLoss):
        wants_refresh = True

        def refresh(self, faces: Any) -> None:
            seen.extend([list(block) for block in faces])

    one.loss = Looks()
    loop._Run(one, replace(SHORT, teacher="live", optimizer="sgd"), {}, None)._refresh()
    assert max(len(block[0]) for block in seen) <= SHORT.batch
    return [torch.cat([block[place] for block in seen]).numpy().tobytes() for place in range(3)]


@pytest.mark.parametrize("workers", [0, 2])
def test_all_faces_are_seen_in_their_order(tmp_path: Path, workers: int) -> None:
    expected = centres(str(tmp_path), 0)
    assert on_ranks(3, centres, str(tmp_path), workers) == [expected] * 3
    labels = np.frombuffer(expected[2], np.int64).tolist()
    assert labels == [place // 4 if place != 5 else 1 for place in range(24)]


def damaged(folder: str) -> list[str]:
    faces = from_records(Path(folder) / str(ranks.rank()), (5, 17))
    one = replace(trainee(SHORT, faces, evaluate=False), model=nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)))
    one.preprocess = parse("rgb-127.5-127.5", (32, 32))
    fit(one, SHORT)
    assert isinstance(faces.images, Crops)
    return sorted(faces.images.damage.reasons)


def test_damaged_images_are_known_to_all_ranks(tmp_path: Path) -> None:
    assert on_ranks(2, damaged, str(tmp_path)) == [["000000005.jpg", "000000017.jpg"]] * 2


def full(checkpoint: str) -> str:
    """A training whose first rank finds no room on the disk after some steps."""
    steps, allowed = list[int](), resource.getrlimit(resource.RLIMIT_FSIZE)
    loop.CHECKPOINT_SECONDS = 0.0

    def watch(status: Status) -> None:
        steps.append(status.step)
        if status.step == 3 and ranks.is_first():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, allowed[1]))

    with pytest.raises(BitfaceError) as caught:
        fit(trainee(SHORT), SHORT, {"network": "a"}, Path(checkpoint), watch=watch)
    return f"{len(steps)} {caught.value}"


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    first, second = on_ranks(2, full, str(path))
    assert first == f"3 {path}: can't be written (File too large)"
    assert "another rank has ended; go on with the same again" in second
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    state = Checkpoint.read(path, {"network": "a"})
    assert state.step == 3


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

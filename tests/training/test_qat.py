"""Quantization-aware training as a whole, and after `kill -9`."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network
from bitface.losses import build_sum
from bitface.quant import BitPlan, Calibration, learn
from bitface.quant.post_training import calibrated
from bitface.quant.quantizers import QUANTIZERS
from bitface.quant.reconstruct import Reconstruction
from bitface.quant.student import Student
from bitface.runtime import Embedder, Model
from bitface.store import Store
from bitface.training import History, Method, Session, Teacher, Training, TrainingFaces, loop, qat, train
from bitface.training.distil import agreement, likeness
from bitface.training.teacher import cached_targets
from support.quantized import Mixed, PreActivation, faces, network

STEPS = 12
TRAINING = Training(loss={"feature": {"form": "cosine"}}, epochs=STEPS / 4, batch=8, rate=3e-3, precision="f32")

REBUILT = Calibration(reconstruction=Reconstruction(steps=4, tuning=4, batch=8))
METHODS = {
    "plain": Method(TRAINING),
    "rebuilt": Method(TRAINING, calibration=REBUILT),
    "averaged": Method(replace(TRAINING, average=0.5)),
}


def teacher(size: int = 16) -> Network:
    return network(Mixed() if size == 16 else PreActivation(), size)


def trained(
    bits: str = "w4a4",
    method: Method = Method(TRAINING),
    size: int = 16,
    **options: Any,
) -> tuple[Network, Network, History]:
    """Teacher, student and what the training did."""
    net, learned = teacher(size), faces(40, size)
    embed = Embedder(Model(Path("net"), "float", net), "torch").embed
    student, layers, history = train(
        net, TrainingFaces(learned[:32]), learned[32:], BitPlan.parse(bits), method, Teacher(embed), Session(**options)
    )
    assert {str(layer.bits) for layer in layers} >= {bits}
    return net, student, history


class Clock:
    """Stands still but for what it is told to let pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def slowed(self, call: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """The function, and it takes so long."""

        def run(*args: Any) -> Any:
            self.now += seconds
            return call(*args)

        return run


def best(history: History) -> float:
    return max(row["agreement"] for row in history.rows)


def test_what_cannot_be_trained_is_said_before_the_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qat, "calibrated", lambda *args: pytest.fail("calibrated first"))
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"batch": 4096}, "'batch' is 4096"),
        ({"loss": {"ekd": 1.0}}, "'per_identity'"),
    )
    for changes, message in wrong:
        with pytest.raises(UsageError, match=message):
            trained(method=Method(replace(TRAINING, **changes)))


def test_the_teacher_is_part_of_the_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("bitface.training.distil")  # the package has a function of that name
    clock = Clock()
    monkeypatch.setattr(module, "cached_targets", clock.slowed(module.cached_targets, 120))
    with pytest.raises(
        BitfaceError, match=r"the teacher's embeddings took 2 minutes and left nothing of 2 .*give more"
    ):
        trained(minutes=2, clock=clock)
    monkeypatch.setattr(loop._Run, "_seconds_per_step", lambda self: 0.5)
    assert trained(minutes=2.1, clock=clock)[2].steps == 12


def test_the_calibration_is_part_of_the_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(qat, "calibrated", clock.slowed(calibrated, 60))
    monkeypatch.setattr(loop._Run, "_seconds_per_step", lambda self: 0.5)
    with pytest.raises(BitfaceError, match=r"the calibration took 1 minutes and left nothing of 0.5 .*; give more"):
        trained(minutes=0.5, clock=clock)
    assert trained(minutes=1.1, clock=clock)[2].steps == 12


@pytest.mark.parametrize("size", [16, 8])
def test_a_student_learns_its_teacher(size: int) -> None:
    # So slow that 32 faces aren't learned by heart, which does faces that were held out no good.
    longer = Method(Training(loss={"feature": {"form": "cosine"}}, epochs=40, batch=8, rate=3e-4, precision="f32"))
    net, student, history = trained("w3a3", longer, size)
    _, plain, first = trained("w3a3", Method(Training(loss={"feature": 1.0}, epochs=0.25, batch=8, rate=1e-8)), size)
    assert best(history) > best(first)
    held_out = faces(40, size)[32:]
    found = Embedder(Model(Path("student"), "float", student), "torch").embed(held_out)
    expected = Embedder(Model(Path("net"), "float", net), "torch").embed(held_out)
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.mean() == pytest.approx(best(history), abs=0.02)  # the integers are what was trained
    assert plain.fingerprint() != student.fingerprint()


def test_the_same_seed_gives_the_same_integers() -> None:
    assert trained()[1].fingerprint() == trained()[1].fingerprint()
    other = Method(Training(**{**vars(TRAINING), "seed": 1}))
    assert trained()[1].fingerprint() != trained(method=other)[1].fingerprint()


CODE = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from training import test_qat
from bitface.training import loop
loop.CHECKPOINT_SECONDS = 0.0
method = test_qat.METHODS[{name!r}]
print(test_qat.trained(method=method, checkpoint=Path(sys.argv[1]), resume=True)[1].fingerprint())
"""


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", 5),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("plain", 1),
                ("plain", 2),
                ("plain", 11),
                ("rebuilt", 1),
                ("rebuilt", 5),
                ("averaged", 5),
            ]
        ),
    ],
)
def test_killed_and_resumed_it_ends_with_the_same_integers(name: str, written: int, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    code = CODE.format(tests=str(Path(__file__).parents[1]), name=name)
    command = [sys.executable, "-c", code, str(checkpoint)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    seen: set[int] = set()
    while len(seen) < written and process.poll() is None:
        if checkpoint.exists():
            seen.add(checkpoint.stat().st_ino)
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.wait()

    def finished(path: Path) -> str:
        call = [*command[:-1], str(path)]
        return subprocess.run(call, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    resumed, whole = finished(checkpoint), finished(tmp_path / "other.safetensors")
    assert resumed == whole
    assert len(whole) == 64


def test_a_checkpoint_of_other_bits_or_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "checkpoint.safetensors"
    trained(checkpoint=path)
    with pytest.raises(BitfaceError, match="other plan"):
        trained("w8a8", checkpoint=path, resume=True)
    with pytest.raises(BitfaceError, match="other settings"):
        trained(method=Method(TRAINING, activations="pact"), checkpoint=path, resume=True)


@pytest.mark.parametrize("method", [name for name in QUANTIZERS if name != "dorefa"])
def test_frozen_ranges_stay(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: list[list[float]] = []
    weights = "dorefa" if method == "pact" else method
    settle, plain = learn.settle, learn.make_learnable

    def seen(student: Student) -> None:
        quantizers = [*student.activation_quantizers.values()]
        quantizers += [layer.weight_quantizer for layer in student.quantized_layers().values() if weights == method]
        numbers = [torch.cat([one.scale, one.zero_point.float()]).tolist() for one in quantizers]
        ranges.append([number for row in numbers for number in row])

    def made(student: Student, *methods: str) -> None:
        plain(student, *methods)
        seen(student)

    def settled(student: Student) -> None:
        seen(student)
        settle(student)

    monkeypatch.setattr(learn, "make_learnable", made)
    monkeypatch.setattr(learn, "settle", settled)
    for frozen in (True, False):
        trained(method=Method(replace(TRAINING, freeze_ranges=frozen), weights, method))
    assert ranges[0] == pytest.approx(ranges[1], rel=1e-6)
    assert ranges[2] != pytest.approx(ranges[3], rel=1e-3), "otherwise they move"


def test_parts_of_a_batch_are_no_batches_to_watch() -> None:
    parts = replace(TRAINING, accumulate=4)
    for activations in ("minmax", "ema", "percentile"):
        with pytest.raises(UsageError, match=f"'accumulate' is 4, and the ranges of '{activations}' follow whole"):
            Method(parts, activations=activations)
    whole = Method(replace(TRAINING, freeze_ranges=True), "minmax", "minmax")
    divided = replace(whole, training=replace(whole.training, accumulate=4))
    figures = [[row["agreement"] for row in trained(method=one)[2].rows] for one in (whole, divided)]
    assert figures[0] == pytest.approx(figures[1], abs=1e-3)


def test_a_checkpoint_of_other_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.safetensors"
    monkeypatch.setattr(loop._Run, "_seconds_per_step", lambda self: 15.0)
    steps = trained(checkpoint=path, minutes=1, clock=Clock())[2].steps
    assert trained(checkpoint=path, resume=True, minutes=1, clock=Clock())[2].steps == steps
    for minutes in (2, None):
        with pytest.raises(BitfaceError, match="other minutes"):
            trained(checkpoint=path, resume=True, minutes=minutes, clock=Clock())


def test_teacher_embeddings_are_computed_once(tmp_path: Path) -> None:
    images, calls = faces(10, 8), []

    def teach(block: np.ndarray) -> np.ndarray:
        calls.append(len(block))
        return block.astype(np.float32).mean((1, 2))

    store = Store(tmp_path)

    def targets(images: np.ndarray, name: str) -> np.ndarray:
        return np.asarray(cached_targets(TrainingFaces(images), teach, name, store))

    first = targets(images, "a")
    np.testing.assert_allclose(first[0], images.astype(np.float32).mean((1, 2)))
    assert first.shape == (2, 10, 3)
    assert calls == [10, 10]
    assert np.array_equal(targets(images, "a"), first)
    assert calls == [10, 10]
    targets(images[::-1], "a")  # another order
    targets(images, "b")  # another teacher
    assert calls == [10] * 6
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    assert np.array_equal(targets(images, "a"), first)
    assert calls == [10] * 8


def test_likeness_is_blind_to_a_common_turn() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(20, 6, generator=generator)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    assert likeness(3 * teacher @ turn, teacher) == pytest.approx(1, abs=1e-6)
    assert agreement(teacher @ turn, teacher) < 0.6
    noisy = teacher + torch.randn(20, 6, generator=generator)
    rows, others = (torch.nn.functional.normalize(one) for one in (noisy, teacher))
    pairs = [(float(rows[i] @ rows[j]), float(others[i] @ others[j])) for i in range(20) for j in range(i)]
    assert likeness(noisy, teacher) == pytest.approx(np.corrcoef(np.transpose(pairs))[0, 1], abs=1e-5)
    assert likeness(teacher[:1], teacher[:1]) == likeness(torch.ones(5, 3), torch.ones(5, 3)) == 0


@pytest.mark.parametrize(
    ("loss", "keeps"),
    [
        ({"feature": 1.0}, True),
        ({"arcface": 1.0}, False),
        ({"arcface": 1.0, "feature": 0.1}, True),
        ({"rcm": 1.0}, False),
    ],
)
def test_losses_say_whether_embeddings_stay_in_place(loss: dict[str, float], keeps: bool) -> None:
    assert build_sum(loss, 8, 3).keeps_direction == keeps

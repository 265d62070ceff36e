import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from bitface.losses import build
from bitface.losses.ekd import hardest_pairs, rank_score
from bitface.losses.thresholds import Thresholds, highest
from support import loss_oracles as oracles

FORMS = ("ekd", "ekd-shift")


def faces(
    seed: int, rows: int = 8, width: int = 5, people: int = 12, noise: float = 0.3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    student = teacher + noise * torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return student, teacher, torch.randint(0, people, (rows,), generator=generator)


@pytest.mark.parametrize("memory", [0, 5, 20, 100])
@pytest.mark.parametrize("form", FORMS)
def test_a_training_matches_loops(form: str, memory: int) -> None:
    loss = build(form, 5, memory=memory, hardest=15).double()
    slow = oracles.EKD(memory, 15, form)
    for step in range(7):
        student, teacher, labels = faces(step)
        wanted = slow.step(student.tolist(), teacher.tolist(), labels.tolist())
        assert loss(student, teacher, labels).item() == pytest.approx(wanted, rel=1e-8, abs=1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_gradients(form: str) -> None:
    options: dict[str, Any] = {"tau": 0.5} if form == "ekd" else {}
    loss = build(form, 5, memory=20, hardest=10, positive_weight=2, negative_weight=3, **options).double()
    for step in range(4):
        loss(*faces(step))
    # Thresholds have no gradient: they must stand still to be compared with differences.
    loss.eval()
    student, teacher, labels = faces(9)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, labels), student.requires_grad_())


def test_the_gradient_is_that_of_the_batch_before_the_memory_moved() -> None:
    """`backward` comes after the step has overwritten rows of the memory that the gradient needs."""
    loss = build("ekd-shift", 5, memory=8, hardest=10).double()
    for step in range(3):
        loss(*faces(step))
    kept = {key: value.clone() for key, value in loss.state_dict().items()}
    student, teacher, labels = faces(9)
    moved = student.clone().requires_grad_()
    loss(moved, teacher, labels).backward()
    thresholds = {key: value.clone() for key, value in loss.state_dict().items() if "thresholds" in key}
    loss.load_state_dict(kept | thresholds)
    still = student.clone().requires_grad_()
    loss.eval()(still, teacher, labels).backward()
    assert torch.equal(moved.grad, still.grad)


def test_the_memory_gets_no_gradient_and_no_graph() -> None:
    loss = build("ekd", 5, memory=16).double()
    student, teacher, labels = faces(0)
    loss(student.requires_grad_(), teacher.requires_grad_(), labels).backward()
    assert teacher.grad is None
    assert not loss.memory.student.requires_grad


@pytest.mark.parametrize("count", [0, 1, 7, 50])
def test_highest(count: int) -> None:
    scores = torch.from_numpy(np.random.default_rng(0).integers(0, 20, 50) / 20)
    assert highest(scores, count).tolist() == sorted(scores.tolist(), reverse=True)[:count]


def test_thresholds_of_known_scores() -> None:
    scores = torch.arange(1_000_000, 0, -1, dtype=torch.float64) / 1_000_000
    thresholds = Thresholds(0.99).double()
    thresholds.update(scores, scores - 1, 1_000_000)
    student, teacher = thresholds.values()
    # As many scores are above each as its FPR allows.
    assert [(scores > t).sum().item() for t in student + 1e-12] == [100_000, 10_000, 1000, 100, 10, 1]
    assert torch.allclose(teacher, student - 1)


def test_thresholds_wait_for_enough_negatives() -> None:
    thresholds = Thresholds(0.9)
    scores = torch.linspace(1, 0, 2000)
    for negatives, reached in ((9, 0), (10, 1), (99, 1), (100, 2), (999, 2), (1000, 3), (50, 3)):
        thresholds.update(scores, scores, negatives)
        assert len(thresholds.values()[0]) == reached


def test_the_average_begins_at_the_first_value() -> None:
    thresholds = Thresholds(0.99).double()
    for _ in range(3):
        thresholds.update(torch.full((2,), 0.4), torch.full((2,), 0.7), 10)
        assert [t.item() for t in thresholds.values()] == pytest.approx([0.4, 0.7], rel=1e-6)


def test_a_memory_keeps_low_thresholds_apart() -> None:
    """A batch of 64 alone has 1968 negatives at most: FPR 1e-4 to 1e-6 would all be its hardest pair."""
    alone, remembering = build("ekd", 16, memory=0), build("ekd", 16, memory=2048)
    for step in range(40):
        student, teacher = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(step)).unbind()
        labels = torch.arange(64) // 2 + 32 * step
        alone(student, teacher, labels)
        remembering(student, teacher, labels)
    assert len(alone.thresholds.values()[0]) == 3
    thresholds = remembering.thresholds.values()[0]
    assert len(thresholds) == 5
    assert (thresholds.diff() > 0.01).all()


def test_faces_of_one_label_are_never_negatives_across_the_memory() -> None:
    loss = build("ekd", 5, memory=64, hardest=1000).double()
    student, teacher, labels = faces(0, rows=16, people=1)
    for _ in range(3):
        # All one person: no negative at all, in the batch or in the memory.
        assert loss(student, teacher, labels).item() == 0
    assert loss.thresholds.weight.max() == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_without_positives(form: str) -> None:
    loss: Any = build(form, 5, memory=0, negative_weight=0).double()
    student, teacher, _ = faces(0)
    value = loss(student.requires_grad_(), teacher, torch.arange(8))
    value.backward()
    assert value.item() == 0
    assert student.grad.abs().max() == 0
    loss.negative_weight = 1.0
    assert loss(student, teacher, torch.arange(8)).item() > 0


@pytest.mark.parametrize("form", FORMS)
def test_a_single_face_and_an_agreeing_student(form: str) -> None:
    loss = build(form, 5).double()
    student = torch.randn(1, 5, dtype=torch.float64).requires_grad_()
    loss(student, student.detach(), torch.tensor([0])).backward()
    assert student.grad.abs().max() == 0
    for step in range(3):
        _, teacher, labels = faces(step)
        assert loss(teacher.clone().requires_grad_(), teacher, labels).item() == 0


def test_rank_scores_count_thresholds() -> None:
    scores = torch.tensor([-1.0, 0.15, 0.25, 1.0], dtype=torch.float64, requires_grad=True)
    ranks = rank_score(scores, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), 0.001)
    assert ranks.tolist() == pytest.approx([0, 1, 2, 3], abs=1e-12)
    ranks.sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[0] == 0


def test_ties_at_the_edge_are_cut() -> None:
    scores = torch.tensor([[0.5, 0.9, 0.5], [0.5, 0.1, 0.7]])
    rows, columns = hardest_pairs(scores, torch.tensor([0.9, 0.7, 0.5]))
    assert (
        sorted(scores[rows, columns].tolist(), reverse=True) == scores.flatten().sort(descending=True)[0][:3].tolist()
    )
    assert len({*zip(rows.tolist(), columns.tolist(), strict=True)}) == 3


def test_equal_embeddings_have_finite_gradients() -> None:
    loss = build("ekd", 3, memory=0, hardest=5).double()
    same = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1, 2]]
    loss(same.requires_grad_(), torch.randn(6, 3, dtype=torch.float64), torch.arange(6)).backward()
    assert torch.isfinite(same.grad).all()


@pytest.mark.parametrize("form", FORMS)
def test_eval_mode_moves_nothing(form: str) -> None:
    loss = build(form, 5, memory=16).double()
    loss(*faces(0))
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    loss.eval()(*faces(1))
    assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())


def test_a_step_sorts_a_part_of_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, sort, sizes = build("ekd", 128, memory=4096), np.sort, []
    monkeypatch.setattr(np, "sort", lambda values: sizes.append(values.size) or sort(values))
    for step in range(33):
        student, teacher = torch.randn(2, 128, 128).unbind()
        sizes.clear()
        with torch.profiler.profile(record_shapes=True) if step == 32 else nullcontext() as seen:
            loss(student.requires_grad_(), teacher, torch.arange(128) // 4 + 32 * step).backward()
    pairs = 128 * (4096 + 128)
    for event in seen.events():
        if event.name in ("aten::sort", "aten::argsort", "aten::topk"):
            sizes.append(math.prod(event.input_shapes[0]))
    # Of both networks the highest tenth; all of them took ten times as long.
    assert pairs / 10 < sum(sizes) < pairs / 4

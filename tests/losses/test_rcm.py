import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from bitface.losses import build
from bitface.losses.margin import MARGINS
from bitface.losses.rcm import FORMS, rcm_target
from support import loss_oracles as oracles

Rows = Sequence[Sequence[float]]

LABELS = torch.tensor([0, 2, 1, 2, 0, 1])
ERRORS = ("scalar", "vector")


def made(**options: Any) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """A loss that has its centres, and a batch."""
    generator = torch.Generator().manual_seed(3)
    loss = build("rcm", 5, 3, generator=generator, s=10.0, **options).double()
    teacher = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    student = teacher + 0.5 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    loss.refresh([(student.flip(1) + teacher, teacher, LABELS)])
    return loss, student, teacher


def loop_means(x: Rows, labels: Sequence[int], classes: int) -> list[list[float]]:
    return [
        [
            oracles.mean(column)
            for column in zip(*(row for row, y in zip(x, labels, strict=True) if y == c), strict=True)
        ]
        for c in range(classes)
    ]


def oracle(
    student: Rows,
    teacher: Rows,
    labels: Sequence[int],
    c_q: Rows,
    c: Rows,
    weights: Rows,
    margin: str,
    form: str,
    error: str,
    lam: float,
    s: float,
    m: float,
) -> float:
    errors = []
    for f_q, f, y in zip(student, teacher, labels, strict=True):
        if error == "scalar":
            errors.append(abs(oracles.angle(f, f_q) - oracles.angle(c[y], c_q[y])))
        else:
            errors.append(oracles.angle(oracles.rotated(f, c[y], c_q[y]), f_q))

    def target(angle: float, i: int) -> float:
        base = oracles.TARGETS[margin]
        if form == "A":
            return base(angle + lam * errors[i], m)
        if form == "B":
            return base(angle, m) - lam * errors[i]
        return base((1 + lam * errors[i]) * angle, m)

    return oracles.margin_loss(student, weights, labels, s, target)


@pytest.mark.parametrize(("margin", "form", "error"), itertools.product(MARGINS, FORMS, ERRORS))
def test_rcm_matches_loops(margin: str, form: str, error: str) -> None:
    loss, student, teacher = made(margin=margin, form=form, error=error, lam=5.0)
    labels = LABELS.tolist()
    c_q = loop_means((student.flip(1) + teacher).tolist(), labels, 3)
    c = loop_means(teacher.tolist(), labels, 3)
    weights, m = loss.margin.weight.tolist(), loss.margin.m
    wanted = oracle(student.tolist(), teacher.tolist(), labels, c_q, c, weights, margin, form, error, 5.0, 10.0, m)
    assert loss(student, teacher, LABELS).item() == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize(("form", "error", "centers"), itertools.product(FORMS, ERRORS, ("epoch", "ema")))
def test_gradients(form: str, error: str, centers: str) -> None:
    loss, student, teacher = made(form=form, error=error, lam=0.7, centers=centers)
    loss.eval()

    def value(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(loss, {"margin.weight": weight}, (x, teacher, LABELS))

    inputs = student.requires_grad_(), loss.margin.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(value, inputs)


def test_no_gradient_goes_to_the_teacher_or_the_centres() -> None:
    loss, student, teacher = made(centers="ema")
    teacher.requires_grad_()
    student.requires_grad_()
    loss(student, teacher, LABELS).backward()
    assert teacher.grad is None
    assert student.grad.abs().max() > 0
    assert not loss.centers.student.requires_grad
    assert not loss.centers.teacher.requires_grad


def test_the_slope_by_the_individual_error_has_one_factor_s() -> None:
    # Equation 14 prints s squared; differentiating -log softmax gives λ s (1 - p) sin θ*.
    s, m, lam = 64.0, 0.5, 1.3
    others = torch.tensor([0.1, -0.2, 0.05], dtype=torch.float64)
    for theta, error in ((0.9, 0.1), (1.2, 0.02), (0.4, 0.5)):
        at = torch.tensor([error], dtype=torch.float64, requires_grad=True)
        angle = torch.tensor([theta], dtype=torch.float64)
        true = rcm_target(angle, at, lam, "A", lambda a: torch.cos(a + m))
        logits = s * torch.cat((true, others))
        F.cross_entropy(logits[None], torch.tensor([0])).backward()
        star = theta + m + lam * error
        p = torch.softmax(logits.detach(), 0)[0].item()
        assert at.grad.item() == pytest.approx(lam * s * (1 - p) * math.sin(star), rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_more_error_never_costs_less_even_beyond_pi(form: str) -> None:
    error = torch.linspace(0, 3, 3001, dtype=torch.float64)
    for margin in MARGINS:
        loss: Any = build("rcm", 4, 2, margin=margin)
        target = loss.margin.target
        assert (rcm_target(torch.full_like(error, 1.4), error, 5.0, form, target).diff() <= 0).all()


@pytest.mark.parametrize("margin", MARGINS)
def test_without_lambda_it_is_the_margin_loss(margin: str) -> None:
    loss, student, teacher = made(margin=margin, lam=0)
    assert torch.allclose(loss(student, teacher, LABELS), loss.margin(student, teacher, LABELS))


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("form", FORMS)
def test_a_student_equal_to_its_teacher_gets_the_plain_margin(form: str, error: str) -> None:
    loss, _, teacher = made(form=form, error=error, lam=3.0)
    loss.refresh([(teacher, teacher, LABELS)])
    assert torch.allclose(loss(teacher, teacher, LABELS), loss.margin(teacher, teacher, LABELS), rtol=0, atol=1e-6)


@pytest.mark.parametrize("error", ERRORS)
def test_a_rotation_of_everything_changes_nothing(error: str) -> None:
    loss, student, teacher = made(error=error, lam=3.0)
    before = loss(student, teacher, LABELS)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    loss.refresh([((student.flip(1) + teacher) @ turn, teacher @ turn, LABELS)])
    with torch.no_grad():
        loss.margin.weight.copy_(loss.margin.weight @ turn)
    assert torch.allclose(loss(student @ turn, teacher @ turn, LABELS), before)


def test_classes_without_a_centre_get_the_plain_margin() -> None:
    loss, student, teacher = made()
    loss.refresh([(student[:1] * 3, teacher[:1] + 1, LABELS[:1])])
    assert loss.centers.known.tolist() == [True, False, False]
    assert (loss.errors(student, teacher, LABELS) > 0).tolist() == (LABELS == 0).tolist()


@pytest.mark.parametrize("size", [1, 4, 5])
def test_centres_of_faces_that_come_some_at_a_time(size: int) -> None:
    loss, student, teacher = made()
    starts = range(0, len(LABELS), size)
    loss.refresh((student[k : k + size], teacher[k : k + size], LABELS[k : k + size]) for k in starts)
    for center, rows in ((loss.centers.student, student), (loss.centers.teacher, teacher)):
        expected = loop_means(rows.tolist(), LABELS.tolist(), 3)
        assert center.flatten().tolist() == pytest.approx([x for row in expected for x in row], rel=1e-12)


def test_centres_by_epoch_must_have_been_set() -> None:
    loss = build("rcm", 4, 2)
    assert loss.wants_refresh
    with pytest.raises(RuntimeError, match="refresh"):
        loss(torch.randn(2, 4), torch.randn(2, 4), torch.tensor([0, 1]))


def test_moving_centres_match_loops() -> None:
    loss = build("rcm", 4, 5, centers="ema", momentum=0.8).double()
    assert not loss.wants_refresh
    centers: dict[int, dict[str, list[float]]] = {}
    for step in range(6):
        generator = torch.Generator().manual_seed(step)
        student, teacher = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
        labels = torch.randint(0, 4, (6,), generator=generator)
        before = dict(centers)
        errors = loss.errors(student, teacher, labels)
        assert (errors > 0).tolist() == [int(y) in before for y in labels]
        loss(student, teacher, labels)
        for y in set(labels.tolist()):
            for which, x in (("student", student), ("teacher", teacher)):
                mine = [oracles.mean(column) for column in zip(*x[labels == y].tolist(), strict=True)]
                old = centers.get(y, {}).get(which)
                new = mine if old is None else [0.8 * a + 0.2 * b for a, b in zip(old, mine, strict=True)]
                centers.setdefault(y, {})[which] = new
    assert set(centers) == set(loss.centers.known.nonzero()[:, 0].tolist())
    for y, both in centers.items():
        assert loss.centers.student[y].tolist() == pytest.approx(both["student"], rel=1e-12)
        assert loss.centers.teacher[y].tolist() == pytest.approx(both["teacher"], rel=1e-12)


def test_eval_mode_moves_nothing() -> None:
    loss, student, teacher = made(centers="ema")
    before = loss.centers.student.clone()
    loss.eval()(student, teacher, LABELS)
    assert torch.equal(loss.centers.student, before)


def test_a_student_equal_to_its_teacher_has_finite_gradients() -> None:
    for error in ERRORS:
        loss = build("rcm", 8, 3, error=error)
        teacher = torch.randn(6, 8)
        loss.refresh([(teacher, teacher, LABELS)])
        student = teacher.clone().requires_grad_()
        loss(student, teacher, LABELS).backward()
        assert torch.isfinite(student.grad).all()

import itertools
import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from bitface.losses import build
from bitface.losses.margin import MARGINS, falling_cosine
from support import loss_oracles as oracles

LABELS = torch.tensor([0, 2, 1, 2, 0, 1])


def made(name: str, width: int = 5, **options: Any) -> tuple[Any, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    loss = build(name, width, 3, generator=generator, **options).double()
    return loss, torch.randn(6, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("s", [1.0, 30.0])
@pytest.mark.parametrize("name", MARGINS)
def test_margins_match_loops(name: str, s: float) -> None:
    loss, student = made(name, s=s)
    # One face near each end of the angle's range.
    with torch.no_grad():
        student[0] = loss.weight[0] + 0.01 * student[0]
        student[1] = -loss.weight[2] + 0.01 * student[1]
    wanted = oracles.margin_loss(
        student.tolist(), loss.weight.tolist(), LABELS.tolist(), s, lambda a, _: oracles.TARGETS[name](a, loss.m)
    )
    assert loss(student, student, LABELS).item() == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("bias", [False, True])
def test_softmax_matches_loops(bias: bool) -> None:
    loss, student = made("softmax", bias=bias)
    if bias:
        torch.nn.init.normal_(loss.bias)
    offsets = loss.bias.tolist() if bias else [0, 0, 0]
    losses = [
        oracles.cross_entropy([oracles.dot(f, w) + b for w, b in zip(loss.weight.tolist(), offsets, strict=True)], y)
        for f, y in zip(student.tolist(), LABELS.tolist(), strict=True)
    ]
    assert loss(student, student, LABELS).item() == pytest.approx(oracles.mean(losses), rel=1e-12)


def test_l2_softmax_matches_loops() -> None:
    loss, student = made("l2-softmax", s=7.0)
    losses = [
        oracles.cross_entropy([7 * oracles.dot(oracles.unit(f), w) for w in loss.weight.tolist()], y)
        for f, y in zip(student.tolist(), LABELS.tolist(), strict=True)
    ]
    assert loss(student, student, LABELS).item() == pytest.approx(oracles.mean(losses), rel=1e-12)


@pytest.mark.parametrize("name", ["softmax", "l2-softmax", *MARGINS])
def test_gradients_of_embeddings_and_weights(name: str) -> None:
    scale: dict[str, Any] = {} if name == "softmax" else {"s": 8.0}
    loss, student = made(name, **scale)

    def value(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(loss, {"weight": weight}, (x, x.detach(), LABELS))

    inputs = student.requires_grad_(), loss.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(value, inputs)


@pytest.mark.parametrize("name", MARGINS)
def test_targets_fall_with_the_angle_and_never_help(name: str) -> None:
    loss, _ = made(name)
    angle = torch.linspace(0, 20, 40_001, dtype=torch.float64)
    target = loss.target(angle)
    assert (target.diff() <= 0).all()
    assert (target <= falling_cosine(angle) + 1e-12).all()


def test_the_falling_cosine_is_continuous() -> None:
    angle = torch.linspace(0, 20, 40_001, dtype=torch.float64)
    assert falling_cosine(angle).diff().abs().max() < 1e-3
    assert falling_cosine(angle).tolist() == pytest.approx([oracles.psi(a) for a in angle.tolist()], abs=1e-9)


@pytest.mark.parametrize(("name", "m"), [("arcface", 0.0), ("cosface", 0.0), ("sphereface", 1)])
def test_without_a_margin_all_are_softmax_of_cosines(name: str, m: float) -> None:
    loss, student = made(name, m=m, s=16.0)
    logits = 16 * F.normalize(student) @ F.normalize(loss.weight).T
    assert torch.allclose(loss(student, student, LABELS), F.cross_entropy(logits, LABELS))


@pytest.mark.parametrize("name", MARGINS)
def test_embeddings_on_their_class_and_opposite_have_finite_gradients(name: str) -> None:
    loss: Any = build(name, 8, 3)
    for sign in (1, -1):
        student = (sign * loss.weight.detach()[LABELS]).requires_grad_()
        value = loss(student, student, LABELS)
        value.backward()
        assert math.isfinite(value.item())
        assert torch.isfinite(student.grad).all()
        assert torch.isfinite(loss.weight.grad).all()


def test_weights_follow_the_generator() -> None:
    one, two = (
        build("arcface", 8, 3, generator=torch.Generator().manual_seed(5)).get_parameter("weight") for _ in range(2)
    )
    assert torch.equal(one, two)
    assert one.shape == (3, 8)
    torch.manual_seed(9)
    three = build("arcface", 8, 3).get_parameter("weight")
    torch.manual_seed(9)
    assert torch.equal(three, build("arcface", 8, 3).get_parameter("weight"))
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise((two, three)))

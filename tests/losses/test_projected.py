"""Losses between embeddings of two sizes."""

import pytest
import torch
from torch.nn.functional import normalize

from bitface.losses import build
from bitface.losses.projected import Projected

TEACHER = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [3, 7, 11])
def test_no_cosine_changes(size: int) -> None:
    student = torch.randn(12, size, generator=torch.Generator().manual_seed(1))
    loss = Projected(build("relational", max(size, 8)), size, 8)
    plain = build("relational", 8)(student, TEACHER, None)
    assert float(loss(student, TEACHER, None).detach()) == pytest.approx(float(plain), rel=1e-4)


def test_a_shorter_student_comes_as_near_as_its_size_allows() -> None:
    # Teachers of three dimensions in a space of eight: three numbers say everything, once the turn is found.
    basis = torch.linalg.qr(torch.randn(8, 3, generator=torch.Generator().manual_seed(2)))[0]
    teacher = torch.randn(64, 3, generator=torch.Generator().manual_seed(3)) @ basis.T
    torch.manual_seed(0)
    loss = Projected(build("feature", 8, form="cosine"), 3, 8)
    student = torch.randn(64, 3, requires_grad=True)
    optimizer = torch.optim.Adam([student, *loss.parameters()], 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        value = loss(student, teacher, None)
        value.backward()
        optimizer.step()
    assert float(value.detach()) < 1e-3
    ours, theirs = (normalize(rows) @ normalize(rows).T for rows in (student.detach(), teacher))
    assert torch.allclose(ours, theirs, atol=0.05)


def test_the_turn_comes_back_from_a_checkpoint() -> None:
    student = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    first, second = (Projected(build("feature", 8, form="cosine"), 3, 8) for _ in range(2))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(student, TEACHER, None), second(student, TEACHER, None))


def test_a_longer_student_learns_zeros() -> None:
    loss = Projected(build("feature", 10, form="cosine"), 10, 8)
    assert not list(loss.parameters())
    padded = torch.cat((TEACHER, torch.zeros(12, 2)), 1)
    assert float(loss(padded, TEACHER, None)) == pytest.approx(0, abs=1e-6)


def test_class_weights_begin_in_the_larger_space() -> None:
    labels = torch.arange(12) % 4
    loss = Projected(build("arcface", 8, 4), 5, 8)
    assert loss.needs_labels
    loss.begin([(TEACHER, labels)])
    value = loss(torch.randn(12, 5, requires_grad=True), TEACHER, labels)
    value.backward()
    assert value.isfinite()

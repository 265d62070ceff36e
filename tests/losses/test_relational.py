import pytest
import torch

from bitface.losses.relational import RelationalLoss
from support import loss_oracles as oracles


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_relations_match_loops(distance: str) -> None:
    student = torch.randn(5, 4, dtype=torch.float64).requires_grad_()
    teacher = torch.randn(5, 9, dtype=torch.float64)
    s, t = student.tolist(), teacher.tolist()
    gaps = [oracles.cosine(s[i], s[j]) - oracles.cosine(t[i], t[j]) for i in range(5) for j in range(5) if i != j]
    wanted = oracles.mean(g * g if distance == "squared" else abs(g) for g in gaps)
    loss = RelationalLoss(distance)
    assert loss(student, teacher, None).item() == pytest.approx(wanted, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, None), student)


def test_a_rotation_of_all_embeddings_costs_nothing() -> None:
    teacher = torch.randn(6, 5, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    assert RelationalLoss()(teacher @ turn, teacher, None).item() < 1e-28


def test_a_single_face_has_no_relations() -> None:
    student = torch.randn(1, 4).requires_grad_()
    value = RelationalLoss()(student, torch.randn(1, 4), None)
    value.backward()
    assert value.item() == 0
    assert student.grad.abs().max() == 0

from collections.abc import Sequence

import pytest
import torch

from bitface.losses.feature import FORMS, FeatureLoss
from support import loss_oracles as oracles


def batch(seed: int = 0, rows: int = 5, width: int = 7) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, width, generator=generator, dtype=torch.float64) for _ in range(2)]


def expected(form: str, s: Sequence[float], t: Sequence[float]) -> float:
    if form == "mimic":
        return sum((x - y) ** 2 for x, y in zip(s, t, strict=True))
    if form == "cosine":
        return 1 - oracles.cosine(s, t)
    return oracles.mean((x - y) ** 2 for x, y in zip(oracles.unit(s), oracles.unit(t), strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_feature_distances_match_loops(form: str) -> None:
    student, teacher = batch()
    value = FeatureLoss(form)(student, teacher, None)
    pairs = zip(student.tolist(), teacher.tolist(), strict=True)
    assert value.item() == pytest.approx(oracles.mean(expected(form, s, t) for s, t in pairs), rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_feature_gradients(form: str) -> None:
    student, teacher = batch()
    teacher.requires_grad_()
    loss = FeatureLoss(form)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher.detach(), None), student.requires_grad_())
    loss(student, teacher, None).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("form", FORMS)
def test_equal_embeddings_cost_nothing_and_stay_finite(form: str) -> None:
    student = torch.randn(4, 8).requires_grad_()
    value = FeatureLoss(form)(student, student.detach().clone(), None)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(student.grad).all()


def test_only_mimic_sees_the_length() -> None:
    student, teacher = batch()
    for form in FORMS:
        loss = FeatureLoss(form)
        same = torch.allclose(loss(3 * student, teacher, None), loss(student, teacher, None))
        assert same == (form != "mimic")


def test_the_cosine_of_nearly_equal_half_precision_rows() -> None:
    student = torch.randn(3, 16).to(torch.bfloat16)
    value = FeatureLoss("cosine")(student, student.float() * 2, None)
    assert value.dtype == torch.float32
    assert value.item() < 1e-12

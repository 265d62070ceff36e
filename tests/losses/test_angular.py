import math

import pytest
import torch

from bitface.errors import UsageError
from bitface.losses import angular_error, individual_error
from bitface.losses.angular import ERROR_FORMS, turn_along
from support import loss_oracles as oracles


def rows(count: int, width: int = 6, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, width, generator=generator, dtype=torch.float64) for _ in range(count)]


def test_angular_error_matches_arccos() -> None:
    f, f_q = rows(2)
    wanted = [oracles.angle(a, b) for a, b in zip(f.tolist(), f_q.tolist(), strict=True)]
    assert angular_error(f, f_q).tolist() == pytest.approx(wanted, rel=1e-12)


def test_the_ends_of_the_angle_are_exact_and_have_finite_slopes() -> None:
    f = torch.randn(5, 64)
    for factor, wanted in ((3.0, 0.0), (-0.5, math.pi)):
        f_q = (factor * f).requires_grad_()
        angle = angular_error(f, f_q)
        angle.sum().backward()
        assert angle.tolist() == pytest.approx([wanted] * 5, abs=2e-6)
        assert torch.isfinite(f_q.grad).all()
    # arccos of a float32 sees nothing below 3e-4.
    tiny = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1e-5]])
    assert angular_error(*tiny).item() == pytest.approx(1e-5, rel=1e-3)


def test_a_row_of_zeros_is_at_a_right_angle() -> None:
    assert angular_error(torch.zeros(1, 4), torch.ones(1, 4)).item() == pytest.approx(math.pi / 2)


def test_individual_errors_match_loops() -> None:
    f, f_q, c, c_q = rows(4)
    lists = list(zip(*(x.tolist() for x in (f, f_q, c, c_q)), strict=True))
    scalar = [abs(oracles.angle(a, a_q) - oracles.angle(b, b_q)) for a, a_q, b, b_q in lists]
    vector = [oracles.angle(oracles.rotated(a, b, b_q), a_q) for a, a_q, b, b_q in lists]
    assert individual_error(f, f_q, c, c_q).tolist() == pytest.approx(scalar, rel=1e-11)
    assert individual_error(f, f_q, c, c_q, "vector").tolist() == pytest.approx(vector, rel=1e-11)


def test_turning_moves_the_centre_and_keeps_lengths_and_what_is_across() -> None:
    f, c, c_q, x = rows(4)
    turned = turn_along(f, c, c_q)
    assert torch.allclose(turned.norm(dim=1), f.norm(dim=1))
    assert angular_error(turn_along(c, c, c_q), c_q).max() < 1e-7
    plane, _ = torch.linalg.qr(torch.stack((c, c_q), 2))
    across = x - (plane @ (plane.mT @ x[:, :, None]))[:, :, 0]
    assert torch.allclose(turn_along(across, c, c_q), across)


def test_a_class_that_turns_as_one_has_no_individual_error() -> None:
    f, c, c_q = rows(3)
    f_q = 2 * turn_along(f, c, c_q)
    assert individual_error(f, f_q, c, c_q, "vector").max() < 1e-7


def test_only_the_vector_form_sees_an_equal_turn_the_other_way() -> None:
    def at(angle: float) -> torch.Tensor:
        return torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)

    c, c_q, f = at(0.0), at(0.3), at(0.1)
    assert individual_error(f, at(0.1 - 0.3), c, c_q).item() == pytest.approx(0, abs=1e-12)
    assert individual_error(f, at(0.1 - 0.3), c, c_q, "vector").item() == pytest.approx(0.6, rel=1e-12)


@pytest.mark.parametrize("form", ERROR_FORMS)
def test_gradients_of_individual_errors(form: str) -> None:
    f, f_q, c, c_q = rows(4)
    assert torch.autograd.gradcheck(lambda x: individual_error(f, x, c, c_q, form), f_q.requires_grad_())


def test_opposite_centres_give_something_finite() -> None:
    f, f_q, c, _ = rows(4)
    assert torch.isfinite(individual_error(f, f_q, c, -c, "vector")).all()


def test_an_unknown_form() -> None:
    f, f_q, c, c_q = rows(4)
    with pytest.raises(UsageError, match="scalar or vector"):
        individual_error(f, f_q, c, c_q, "tensor")

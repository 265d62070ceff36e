"""Angles between embeddings: what quantization turns, for a whole class and for each face (Wu et al., CVPR 2020)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from bitface.errors import UsageError

ERROR_FORMS = ("scalar", "vector")


def unit(x: Tensor) -> Tensor:
    """Rows scaled to length 1, in float32 at least; a row of zeros stays one."""
    return F.normalize(x.float() if x.dtype in (torch.bfloat16, torch.float16) else x, dim=1)


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """The angles between rows of `[N, D]` and `[N, D]`: `[N]`, radians, 0 to π; π/2 beside a row of zeros.

    By half the angle (Kahan): arccos loses half of the digits near 0 and has no finite slope there, this neither.
    """
    a, b = unit(a), unit(b)
    apart, together = torch.linalg.vector_norm(a - b, dim=1), torch.linalg.vector_norm(a + b, dim=1)
    return 2 * torch.atan2(apart, together)


def angular_error(f: Tensor, f_q: Tensor) -> Tensor:
    """A-QE, the angle by which quantization turns an embedding (equation 6).

    Args:
        f: embeddings of the full-precision network, `[N, D]`.
        f_q: those of the quantized one, `[N, D]`.

    Returns:
        `[N]`, radians, 0 to π.
    """
    return angle_between(f, f_q)


def turn_along(x: Tensor, c: Tensor, c_q: Tensor) -> Tensor:
    """Rows of `x` turned as `c` must be turned to point along `c_q`, in the plane of these two; all `[N, D]`.

    Where `c` and `c_q` are opposite no single plane is meant; the result is finite all the same.
    """
    u, v = unit(c), unit(c_q)
    x = x.to(u.dtype)
    # Two reflections make the rotation: across the bisector u+v, then along v.
    bisector = u + v
    onto = (bisector * x).sum(1, True) / (1 + (u * v).sum(1, True)).clamp(min=1e-6)
    return x - onto * bisector + 2 * (u * x).sum(1, True) * v


def individual_error(f: Tensor, f_q: Tensor, c: Tensor, c_q: Tensor, form: str = "scalar") -> Tensor:
    """What is left of A-QE once the rotation of the whole class is taken out.

    `scalar`: |A-QE(f) - A-QE(c)| (equation 12), which is 0 for a face that turns by as much as its class, even if
    elsewhere. `vector`: the angle between `f_q` and `f` turned along with its class, which is 0 for a face that
    turns exactly as its class does.

    Args:
        f, f_q: embeddings before and after quantization, `[N, D]`.
        c, c_q: the centres of each one's class before and after quantization, `[N, D]`.

    Returns:
        `[N]`, radians.

    Raises:
        UsageError: the form is unknown.
    """
    if form == "scalar":
        return (angular_error(f, f_q) - angular_error(c, c_q)).abs()
    if form == "vector":
        return angle_between(turn_along(f, c, c_q), f_q)
    raise UsageError(f"the individual error can't be '{form}': use {' or '.join(ERROR_FORMS)}")

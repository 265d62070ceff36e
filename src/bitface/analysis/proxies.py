"""What a tensor's rounding costs, estimated without running the network for each: three proxies of the exact sweep.

With u the unit embedding, 1 - cosine is half the squared length of u's change. At the float network itself its
gradient vanishes, so that the second order leads: a change d of any tensor costs 1/2 |J d|^2, J being u's Jacobian by
that tensor (Gauss-Newton, which at this point is the Hessian). For random r with independent standard normal entries,
the mean of (r · J d)^2 is |J d|^2, and r · J is one backward pass.

- `jacobian`: 1/2 (r · J d)^2 with the d that rounding really makes, so that errors of different weights and places may
  add up or cancel. A layer's weights are judged by what they do to its output.
- `fisher`: 1/2 sum of (r · J)_i^2 d_i^2, the diagonal alone: the empirical Fisher information of the embedding.
- `local`: the energy of the change of a layer's output (or of an activation) beside that of the output: the inverse
  signal-to-noise ratio, which knows nothing of what comes after.

Of tensors that are rounded together, `jacobian` takes the sum of the changes' first orders; the other two add up.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitface.analysis.probe import WEIGHTS, Probe, ProbedUnit
from bitface.analysis.walk import WalkStep, beside, compute, linear
from bitface.graph import ops

NAMES = ("jacobian", "fisher", "local")
_BATCH = 8


def estimate(
    probe: Probe,
    faces: np.ndarray,
    sketches: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[ProbedUnit, float]]:
    """Every proxy of every unit.

    Args:
        faces: uint8 RGB `[N, H, W, 3]`.
        sketches: random projections of each face's embedding; the noise falls with the root of faces x sketches.
    """
    sums = {name: dict.fromkeys(probe.units, 0.0) for name in NAMES}
    generator = torch.Generator().manual_seed(seed)
    squares: dict[str, Tensor] = {}
    for sketch in range(sketches):
        for start in range(0, len(faces), _BATCH):
            part = faces[start : start + _BATCH]
            _add(probe, probe.inputs(part), generator, sums, squares)
            if progress:
                progress(sketch * len(faces) + start + len(part), sketches * len(faces))
    count = sketches * len(faces)
    means = {name: {unit: value / count for unit, value in one.items()} for name, one in sums.items()}
    with torch.no_grad():
        for unit in [unit for unit in probe.quantizers if unit.part == WEIGHTS]:
            weight = probe.student.graph.get_parameter(f"{unit.name}.weight")
            change = probe.quantizers[unit].quantize(weight) - weight
            means["fisher"][probe.owner(unit)] += float((squares[unit.name] * change.square()).sum()) / 2 / count
    return means


def _add(
    probe: Probe,
    images: Tensor,
    generator: torch.Generator,
    sums: dict[str, dict[ProbedUnit, float]],
    squares: dict[str, Tensor],
) -> None:
    """One projection of one batch."""
    values: dict[Any, Any] = {}
    with torch.enable_grad():
        for step in probe.walk.steps:
            # Everything depends on the image, so that every tensor has a gradient.
            values[step.node] = compute(step, values, images.requires_grad_())
        unit_rows = nn.functional.normalize(values[probe.walk.output])
        projected = (unit_rows * torch.randn(unit_rows.shape, generator=generator)).sum()
    places = [step for step in probe.walk.steps if probe.units_of(step)]
    layers = [step for step in places if isinstance(step.module, ops.LAYERS)]
    variables = [values[step.node] for step in places] + [step.module.weight for step in layers]
    gradients = torch.autograd.grad(projected, variables)
    with torch.no_grad():
        for step, gradient in zip(layers, gradients[len(places) :], strict=True):
            # Faces have independent projections: the mean of a sum's square is the sum of the mean squares.
            squares[step.name] = squares.get(step.name, torch.zeros(())) + gradient.square()
        # r · J d of each face: the changes of tensors that are rounded together are one change.
        products: dict[ProbedUnit, Tensor] = {}
        for step, gradient in zip(places, gradients, strict=False):
            for unit in probe.units_of(step):
                _judge(probe, unit, step, values, gradient, sums, products)
        for unit, product in products.items():
            sums["jacobian"][unit] += float(product.square().sum()) / 2


def _judge(
    probe: Probe,
    unit: ProbedUnit,
    step: WalkStep,
    values: dict[Any, Any],
    gradient: Tensor,
    sums: dict[str, dict[ProbedUnit, float]],
    products: dict[ProbedUnit, Tensor],
) -> None:
    owner = probe.owner(unit)
    if unit.part == WEIGHTS:
        weight = step.module.weight
        change = linear(step.module, values[step.sources[0]], probe.quantizers[unit].quantize(weight) - weight)
        shift = probe.shifts[unit].get(step.name)
        change = change if shift is None else change + beside(shift, step.module)
    else:
        change = probe.quantizers[unit].quantize(values[step.node]) - values[step.node]
        sums["fisher"][owner] += float((gradient * change).square().sum()) / 2
    product = (gradient * change).flatten(1).sum(1)
    products[owner] = products[owner] + product if owner in products else product
    noise, signal = change.flatten(1).square().sum(1), values[step.node].flatten(1).square().sum(1)
    sums["local"][owner] += float((noise / signal.clamp(min=torch.finfo(torch.float32).tiny)).sum())

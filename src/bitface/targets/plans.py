"""A bit plan as the targets that it is for can hold it, and what is to be said of that before anything is computed.

Of several targets the strictest decides, as one artifact is written for all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bitface.errors import UsageError
from bitface.quant.plan import FLOAT, BitPlan, LayerBits
from bitface.targets.base import Target
from bitface.targets.registry import TARGETS, emitted, written

_FLOAT_SUMS = LayerBits(FLOAT, FLOAT)


def for_targets(plan: BitPlan, names: Sequence[str]) -> tuple[BitPlan, tuple[str, ...], list[str]]:
    """The plan, the targets that are written, and what is to be said of both.

    Args:
        names: of the targets that are asked for; none: the default ones that can express the plan.

    Raises:
        UsageError: a target is unknown, isn't written, or can't hold what the plan says outright.
    """
    widest = plan.widest_activation
    targets = {name: emitted(name) for name in names or written()}
    for name, target in targets.items():
        if names:
            _check(plan, name, target)
    targets = {name: target for name, target in targets.items() if target.holds.activation_bits >= widest}
    notes = _of_wide_activations(plan, names, targets)
    if signed := _titles(target for target in targets.values() if not target.holds.unsigned):
        notes.append(f"activations are symmetric and signed, as {signed} {_has(signed)} no others")
        plan = replace(plan, activations="signed")
    elif symmetric := _titles(target for target in targets.values() if not target.holds.zero_points):
        notes.append(f"activations are symmetric, as {symmetric} {_has(symmetric)} no zero points")
        plan = replace(plan, activations="symmetric")
    sums = _titles(target for target in targets.values() if not target.holds.sums)
    if sums and plan.sums is None:
        notes.append(f"sums are in floating point, as in {sums}")
        plan = replace(plan, sums=_FLOAT_SUMS)
    return plan, tuple(targets), notes


def _check(plan: BitPlan, name: str, target: Target) -> None:
    """Refuses what a plan says outright, and a target can't hold."""
    holds, way_out = target.holds, "leave it out, or choose another plan"
    widths = plan.activation_widths
    if max(widths, default=0) > holds.activation_bits:
        raise UsageError(
            f"the target '{name}' has no activations of {max(widths)} bits, at most {holds.activation_bits}; {way_out}"
        )
    if (narrow := sorted(width for width in widths if width < 8)) and not holds.fewer_bits:
        raise UsageError(f"the target '{name}' has no activations of {narrow[0]} bits, only of 8; {way_out}")
    if plan.activations == "asymmetric" and not holds.zero_points:
        raise UsageError(
            f"the target '{name}' has no zero points, and the plan's activations are asymmetric; {way_out}"
        )
    if not plan.weights_symmetric and not holds.weight_zero_points:
        raise UsageError(f"the target '{name}' has no weights with zero points, as the plan asks for; {way_out}")


def _of_wide_activations(plan: BitPlan, names: Sequence[str], targets: dict[str, Target]) -> list[str]:
    """What there is to say of activations of more than 8 bits, which few targets have."""
    if (widest := plan.widest_activation) <= 8:
        return []
    titles = _titles(TARGETS[name] for name in ([] if names else written()) if name not in targets)
    notes = [f"not written for {titles}, which has no activations of {widest} bits"] if titles else []
    return [*notes, f"activations of {widest} bits are for NPUs: on CPUs the layers between them run in floating point"]


def _titles(targets: Iterable[Target]) -> str:
    return " and ".join(target.title for target in targets)


def _has(titles: str) -> str:
    return "have" if " and " in titles else "has"

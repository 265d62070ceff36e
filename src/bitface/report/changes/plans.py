"""What changed in the bits of layers."""

from collections.abc import Sequence

from bitface.report import format
from bitface.report.changes.side import Side, Table
from bitface.results.sections import PlannedBits


def plan(before: Side, after: Side, columns: Sequence[str]) -> Table:
    """The layers whose bits differ, in the order of the network."""
    first, second = (
        {layer.name: layer for layer in side.quantization.layers} if side.quantization else {}
        for side in (before, after)
    )
    names = dict.fromkeys([*first, *second]) if first and second else {}
    rows = []
    for name in names:
        pair = first.get(name), second.get(name)
        words = [_bits(layer) for layer in pair]
        if words[0] != words[1]:
            known = pair[1] or pair[0]
            rows.append([name, *words, format.count(known.parameters if known else None)])
    caption = f"{len(names) - len(rows)} of {len(names)} layers have the same bits in both."
    return {"title": "Plan by layer", "caption": caption, "columns": ["Layer", *columns, "Parameters"], "rows": rows}


def _bits(layer: PlannedBits | None) -> str:
    if layer is None:
        return "isn't there"
    weight, activation = (
        format.DASH if bits is None else str(bits) for bits in (layer.weight_bits, layer.activation_bits)
    )
    return f"w{weight}a{activation}"

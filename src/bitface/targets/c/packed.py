"""Fewer bytes for what a file holds of each output: bias, scale and slope as streams of as many bits as they need.

Networks of few bits are made of outputs as much as of weights: 8 bytes for each are an eighth of a MobileFaceNet at w4.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from bitface.targets.c.memory import ALIGNMENT
from bitface.targets.c.program import Program, Ref, Struct, Table

_LAYERS = ("conv", "depthwise")


def pack_numbers(program: Program) -> None:
    """Makes every layer of integers one of packed numbers, which are unpacked into what it works in."""
    for index, call in enumerate(program.calls):
        if call.function in _LAYERS:
            assert call.rows is not None
            layer, *maps, work, span = call.arguments
            assert isinstance(layer, Struct)
            assert isinstance(work, Ref)
            assert call.rows.layer is not None
            packed, size = _packed(layer)
            program.buffers[work.buffer].size += -(-size // ALIGNMENT) * ALIGNMENT
            rows = replace(call.rows, layer=_packed(call.rows.layer)[0])
            arguments = packed, *maps, work, span
            program.calls[index] = replace(call, function=f"{call.function}_packed", arguments=arguments, rows=rows)


def _packed(layer: Struct) -> tuple[Struct, int]:
    """A layer with its numbers in one stream, and the bytes that they take unpacked."""
    fields: dict[str, Any] = dict(layer.fields)
    tables = [fields[name].values for name in ("bias", "scale", "slope") if fields[name] is not None]
    fields |= dict.fromkeys(("bias", "scale", "slope"))
    streams, widths, least = [], [], []
    for table in tables:
        numbers = table.view(np.int32).astype(np.int64)
        if table is tables[1]:  # scales are above 0, but for those of outputs that there aren't
            numbers = np.where(numbers == 0, numbers[numbers > 0].min(), numbers)
        least.append(int(numbers.min()))
        widths.append(int(numbers.max() - least[-1]).bit_length())
        above = (numbers - least[-1]).astype("<u8")
        bits = np.unpackbits(above.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
        streams.append(bits[:, : widths[-1]].reshape(-1))
    stream = np.packbits(np.concatenate(streams), bitorder="little")
    packed = {
        "of": replace(layer, fields=tuple(fields.items())), "numbers": Table(stream),
        "count": len(tables[0]), "slopes": int(len(tables) == 3),
        **{f"bits[{kind}]": width for kind, width in enumerate(widths)},
        **{f"least[{kind}]": number for kind, number in enumerate(least)},
    }  # fmt: skip
    return Struct("packed_layer", tuple(packed.items())), 4 * sum(map(len, tables))

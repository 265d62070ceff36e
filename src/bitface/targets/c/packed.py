"""Fewer bytes for what a file holds: each layer as one stream, with no more bits than its numbers need.

Networks of few bits are made of outputs as much as of weights: 8 bytes for bias and scale of each are an eighth of a
MobileFaceNet at w4. Weights are stored with one bit less than the largest of them needs, where it is so much larger
than the others that to say which ones need it takes fewer bytes. `kernels/packed.c` and `open_weights` read it.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from bitface.artifact.packing import pack, unpack
from bitface.targets.c.layers import BLOCK, blocks_unpacked
from bitface.targets.c.memory import ALIGNMENT
from bitface.targets.c.program import PackedLayer, Program, Ref, Struct, number_bytes

_LAYERS = ("conv", "depthwise")
# Bits that are to be saved for each weight that needs one bit more than the others, as it takes time.
_WORTH = 4
# Bits of the distances between weights that need one bit more than the others.
_WIDTHS = range(2, 9)


def pack_layers(program: Program) -> None:
    """Makes every layer of integers a packed one, which is unpacked into what it works in."""
    for index, call in enumerate(program.calls):
        if call.function in _LAYERS:
            assert call.rows is not None
            layer, *maps, work, span = call.arguments
            assert isinstance(layer, Struct)
            assert isinstance(work, Ref)
            assert isinstance(call.rows.layer, Struct)
            outputs, unpacked = _outputs(dict(layer.fields))
            fields, heads, weights, more = _weights(dict(layer.fields), call.function == "depthwise")
            program.buffers[work.buffer].size += unpacked + more
            by_rows, at_once = (
                PackedLayer(dict(one.fields) | fields, outputs + number_bytes(len(heads)) + heads, weights)
                for one in (call.rows.layer, layer)
            )
            rows, arguments = replace(call.rows, layer=by_rows), (at_once, *maps, work, span)
            program.calls[index] = replace(call, function=f"{call.function}_packed", arguments=arguments, rows=rows)


def _outputs(layer: dict[str, Any]) -> tuple[bytes, int]:
    """Bias, scale and slope as a stream, and the bytes that they take unpacked."""
    tables = [layer[name].values for name in ("bias", "scale", "slope") if layer[name] is not None]
    head, streams = number_bytes(len(tables)) + number_bytes(len(tables[0])), []
    for table in tables:
        numbers = table.view(np.int32).astype(np.int64)
        if table is tables[1]:  # scales are above 0, but for those of outputs that there aren't
            numbers = np.where(numbers == 0, numbers[numbers > 0].min(), numbers)
        least = int(numbers.min())
        width = int(numbers.max() - least).bit_length()
        head += number_bytes(width) + number_bytes(least)
        streams.append(_bits(numbers - least, width))
    stream = np.packbits(np.concatenate(streams), bitorder="little")
    return head + stream.tobytes(), -(-4 * sum(map(len, tables)) // ALIGNMENT) * ALIGNMENT


def _bits(numbers: np.ndarray, width: int) -> np.ndarray:
    """The lowest bits of numbers, one after the other."""
    bits = np.unpackbits(numbers.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    return bits[:, :width].reshape(-1)


def _weights(layer: dict[str, Any], depthwise: bool) -> tuple[dict[str, Any], bytes, bytes, int]:
    """The fields that say how weights are stored; of each strip what is said of them; they; more bytes to work in."""
    bits, table, block = layer["bits"], layer["weights"].values, layer["block_bytes"]
    if bits == 1:
        return {}, b"", table.tobytes(), 0
    values = unpack(table, bits, table.size * 8 // bits)
    at_once = layer["blocks_at_once"] if depthwise else blocks_unpacked(block)
    most = values.size if depthwise else at_once * block
    of_group = values.size if depthwise else -(-layer["outputs"] // layer["groups"] // BLOCK) * block
    groups = np.split(values, values.size // of_group)
    strips = [strip(group[first : first + most]) for group in groups for first in range(0, of_group, most)]
    heads, weights = (b"".join(part) for part in zip(*strips, strict=True))
    if len(heads) + len(weights) >= table.size:
        return {}, b"", table.tobytes(), 0
    return {"blocks_at_once": at_once}, heads, weights, most if bits == 8 else 0


def strip(values: np.ndarray) -> tuple[bytes, bytes]:
    """What is said of some weights, and they."""
    largest = int(max(values.max(), ~values.min(), 1))
    bits = max(largest.bit_length() + 1, 2)
    whole = bytes([bits]), pack(values, bits).tobytes()
    if bits == 2:
        return whole
    low = 1 << (bits - 2)
    wider = (values < -low) | (values >= low)
    narrow = pack(np.where(wider, values ^ -(2 * low), values), bits - 1).tobytes()
    distances = np.diff(np.flatnonzero(wider), prepend=0, append=values.size)
    heads = [bytes([bits - 1 | width << 4]) + _distances(distances, width) for width in _WIDTHS]
    head = min(heads, key=len)
    saved = len(whole[1]) - len(narrow) - len(head)
    return (head, narrow) if saved > 0 and saved * 8 >= _WORTH * wider.sum() else whole


def _distances(distances: np.ndarray, width: int) -> bytes:
    none = (1 << width) - 1
    lengths = distances // none + 1
    numbers = np.full(lengths.sum(), none)
    numbers[lengths.cumsum() - 1] = distances % none
    if numbers[-1] == 0:  # those before it reach the end
        numbers = numbers[:-1]
    return np.packbits(_bits(numbers, width), bitorder="little").tobytes()

"""The text of a program in C: the kernels that it uses, its tables, and one function after the other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bitface.preprocess import Preprocess
from bitface.targets.c.calls import Calls
from bitface.targets.c.engine import ENGINE
from bitface.targets.c.memory import ALIGNMENT
from bitface.targets.c.program import Program, Ref
from bitface.targets.c.schedule import Schedule, schedule
from bitface.targets.c.tables import Tables

_KERNELS = Path(__file__).with_name("kernels")
# The word that a network's own name takes the place of.
_NAME = "face_net"


@dataclass(frozen=True)
class Source:
    """A C file and its header.

    Attributes:
        scratch: the bytes that a call works in.
    """

    code: str
    header: str
    scratch: int


@cache
def kernels() -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """The functions that are written by hand, by name: their text, and those that they need."""
    result = {}
    for file in sorted(_KERNELS.glob("*.c")):
        for part in file.read_text(encoding="ascii").split("/*: ")[1:]:
            head, _, text = part.partition(" */\n")
            name, _, needs = head.partition(" : ")
            result[name] = text, tuple(needs.split())
    return result


def needed(names: Iterable[str]) -> list[str]:
    """Kernels with all that they need, which come first."""
    result: dict[str, None] = {}
    for name in names:
        result |= dict.fromkeys([*needed(kernels()[name][1]), name])
    return list(result)


def source(
    program: Program,
    preprocess: Preprocess | None,
    name: str = _NAME,
    most: int | None = None,
    numbers: bytearray | None = None,
) -> Source:
    """The file of a program.

    Args:
        preprocess: None: the function of pixels is left out.
        name: what functions and files begin with.
        most: bytes of scratch; None: as many as are fastest.
        numbers: what the tables of a file are put into that is compiled beside it, as `NUMBERS`; None: the file holds
            them, as any compiler can read it.

    Raises:
        BitfaceError: no schedule has so little scratch.
    """
    program.buffers[program.embedding.buffer].last = len(program.calls)
    plan, tables = schedule(program, most), Tables(numbers)
    calls = Calls(program, plan, tables)
    run, reader = calls.lines(), _image_reader(program, preprocess, tables)
    functions = {call.function for call in program.calls if call.function in kernels()}
    text = [f"/* A face network; see {name}.h. Written by bitface. */", f'#include "{name}.h"', ""]
    functions |= {"pixels"} if preprocess else set()
    text += [kernels()[one][0] for one in needed(sorted(functions))]
    text += [*tables.lines, "", *reader, ""]
    text += ["static void run(const uint8_t *crop, const float *floats, uint8_t *memory)", "{"]
    text += [*(f"    {line}" for line in run), "}", ""]
    text += _entries(calls, name, preprocess is not None)
    code = "\n".join(text) + "\n"
    header = _header(name, program, plan, preprocess is not None)
    return Source(code.replace(_NAME.upper(), name.upper()), header, plan.scratch)


def _image_reader(program: Program, preprocess: Preprocess | None, tables: Tables) -> list[str]:
    """The function that reads `count` pixels from number `first` on, of a crop or, in bitface itself, of planes."""
    channels, height, width = program.image.shape
    pixels = "    (void)crop;"
    if preprocess is not None:
        mean, std = (np.array(values[:channels], np.float32) for values in (preprocess.mean, preprocess.std))
        order = {"rgb": 3, "bgr": -3, "grey": 1}[preprocess.color]
        pixels = f"    pixels(crop + first * 3, image, count, {order}, {tables.of(mean)}, {tables.of(std)});"
    return [
        f"#ifdef {ENGINE}",
        *(kernels()["interleave"][0].rstrip().splitlines()),
        "#endif",
        "static void read_image(const uint8_t *crop, const float *floats, float *image, ptrdiff_t first,",
        "                       ptrdiff_t count)",
        "{",
        f"#ifdef {ENGINE}",
        "    if (floats != NULL) {",
        f"        interleave(floats + first, image, count, {channels}, {height * width});",
        "        return;",
        "    }",
        "#else",
        "    (void)floats;",
        "#endif",
        pixels,
        "}",
    ]


def _entries(calls: Calls, name: str, pixels: bool) -> list[str]:
    """What is called from outside."""
    program = calls.program
    channels, height, width = program.image.shape
    embedding = program.embedding.count
    result = calls.place(Ref(program.embedding.buffer, True))

    def body(source: str) -> list[str]:
        return [
            "{",
            "    uint8_t *memory = (uint8_t *)scratch;",
            f"    run({source}, memory);",
            f"    memcpy(embedding, {result}, {embedding} * sizeof(float));",
            "}",
        ]

    sizes = f"{{{channels}, {height}, {width}, {embedding}, {calls.plan.scratch}}}"
    entries = [
        f"#ifdef {ENGINE}",
        f"const int32_t bitface_sizes[5] = {sizes};",
        "void bitface_embed(const float *image, void *scratch, float *embedding);",
        "void bitface_embed(const float *image, void *scratch, float *embedding)",
        *body("NULL, image"),
        "#endif",
    ]
    if pixels:
        declaration = f"void {name}_embed(const uint8_t *crop, void *scratch, float *embedding)"
        entries += [declaration, *body("crop, NULL")]
    return entries


def _header(name: str, program: Program, plan: Schedule, pixels: bool) -> str:
    _, height, width = program.image.shape
    embedding = program.embedding.count
    word = name.upper()
    chain = (
        f"\n *\n * {plan.chain} of the {len(program.calls)} operations are computed row by row, in {len(plan.ends)} "
        "steps: no product twice, but their\n * weights are read in each step."
        if plan.ends
        else ""
    )
    declaration = f"""
/*
 * The embedding of a face: {embedding} float32, not normalised; two are compared by their cosine.
 *
 * crop: uint8 RGB [{word}_HEIGHT][{word}_WIDTH][3], an aligned face as it is; the file preprocesses it.
 * scratch: {word}_SCRATCH bytes at an address that {ALIGNMENT} divides, for each thread its own.{chain}
 */
void {name}_embed(const uint8_t *crop, void *scratch, float *embedding);
"""
    return f"""#ifndef {word}_H
#define {word}_H

#include <stdint.h>

#define {word}_HEIGHT {height}
#define {word}_WIDTH {width}
#define {word}_EMBEDDING {embedding}
#define {word}_SCRATCH {plan.scratch}

#ifdef __cplusplus
extern "C" {{
#endif
{declaration if pixels else ""}
#ifdef __cplusplus
}}
#endif

#endif
"""

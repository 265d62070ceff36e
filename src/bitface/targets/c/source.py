"""The text of a program in C: the kernels that it uses, its tables, and one function after the other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from bitface.preprocess import Preprocess
from bitface.targets.c.engine import ENGINE, NUMBERS
from bitface.targets.c.memory import ALIGNMENT, place
from bitface.targets.c.program import Program, Ref, Struct, Table

_KERNELS = Path(__file__).with_name("kernels")
# The word that a network's own name takes the place of.
_NAME = "face_net"
_LINE = 110


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


@dataclass
class _Tables:
    """The constants of a file, equal ones once.

    Attributes:
        numbers: where the numbers lie, for a compiler that reads them from `NUMBERS`; None: they are text.
    """

    numbers: bytearray | None = None
    lines: list[str] = field(default_factory=list)
    names: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def of(self, values: np.ndarray) -> str:
        """The name of an array."""
        kind = {"f": "float", "i": "int32_t", "u": "uint8_t"}[values.dtype.kind]
        key = kind, values.tobytes()
        if key not in self.names:
            self.names[key] = name = f"table_{len(self.names)}"
            if self.numbers is not None:
                self.lines += _beside(name, kind, values, len(self.numbers))
                self.numbers += values.tobytes()
                return name
            numbers = map(_float, values) if kind == "float" else map(str, values.tolist())
            self.lines += [f"static const {kind} {name}[{values.size}] = {{", *_wrapped(numbers), "};"]
        return self.names[key]

    def struct(self, struct: Struct) -> str:
        """The name of a constant structure."""
        fields = ", ".join(f".{name} = {self.argument(value)}" for name, value in struct.fields)
        name = f"{struct.kind}_{len(self.lines)}"
        self.lines.append(f"static const {struct.kind} {name} = {{{fields}}};")
        return name if struct.passed else f"&{name}"

    def argument(self, value: object) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, Table):
            return self.of(value.values)
        if isinstance(value, np.floating):
            return _float(value)
        return str(value)


def _beside(name: str, kind: str, values: np.ndarray, offset: int) -> list[str]:
    """An array whose numbers a compiler needn't read: they are most of its time, and of its memory."""
    return [
        f'extern const {kind} {name}[{values.size}] __attribute__((visibility("hidden")));',
        f'__asm__(".pushsection .rodata\\n.balign 64\\n{name}:\\n"',
        f'        ".incbin \\"{NUMBERS}\\", {offset}, {values.nbytes}\\n.popsection");',
    ]


def _float(value: np.floating) -> str:
    """Exactly, as a hexadecimal number."""
    return f"{float(value).hex()}f"


def _wrapped(numbers: Iterable[str]) -> Iterable[str]:
    line: list[str] = []
    length = 0
    for number in numbers:
        line.append(number)
        length += len(number) + 1
        if length > _LINE:
            yield "    " + ",".join(line) + ","
            line, length = [], 0
    if line:
        yield "    " + ",".join(line)


def source(
    program: Program, preprocess: Preprocess | None, name: str = _NAME, numbers: bytearray | None = None
) -> Source:
    """The file of a program.

    Args:
        preprocess: None: the function of pixels is left out.
        name: what functions and files begin with.
        numbers: what the tables of a file are put into that is compiled beside it, as `NUMBERS`; None: the file holds
            them, as any compiler can read it.
    """
    channels, height, width = program.image.shape
    embedding = program.embedding.count
    program.buffers[program.embedding.buffer].last = len(program.calls)
    scratch = place(program.buffers)
    tables = _Tables(numbers)
    calls = [
        f"{call.function}({', '.join(_argument(program, tables, one) for one in call.arguments)});"
        for call in program.calls
    ]
    image = _argument(program, tables, Ref(program.image.buffer, True))
    result = _argument(program, tables, Ref(program.embedding.buffer, True))
    used = [call.function for call in program.calls]
    size = f"{height * width}"
    entries = [
        f"#ifdef {ENGINE}",
        *(kernels()["interleave"][0].rstrip().splitlines()),
        f"const int32_t bitface_sizes[5] = {{{channels}, {height}, {width}, {embedding}, {scratch}}};",
        "void bitface_embed(const float *image, void *scratch, float *embedding);",
        "void bitface_embed(const float *image, void *scratch, float *embedding)",
        "{",
        "    uint8_t *memory = (uint8_t *)scratch;",
        f"    interleave(image, {image}, {size}, {channels});",
        "    run(memory);",
        f"    memcpy(embedding, {result}, {embedding} * sizeof(float));",
        "}",
        "#endif",
    ]
    if preprocess is not None:
        used.append("pixels")
        mean, std = (np.array(values[:channels], np.float32) for values in (preprocess.mean, preprocess.std))
        order = {"rgb": 3, "bgr": -3, "grey": 1}[preprocess.color]
        entries += [
            f"void {name}_embed(const uint8_t *crop, void *scratch, float *embedding)",
            "{",
            "    uint8_t *memory = (uint8_t *)scratch;",
            f"    pixels(crop, {image}, {size}, {order}, {tables.of(mean)}, {tables.of(std)});",
            "    run(memory);",
            f"    memcpy(embedding, {result}, {embedding} * sizeof(float));",
            "}",
        ]
    text = [f"/* A face network; see {name}.h. Written by bitface. */", f'#include "{name}.h"', ""]
    text += [kernels()[one][0] for one in needed(used)]
    text += [*tables.lines, "", "static void run(uint8_t *memory)", "{", *(f"    {call}" for call in calls), "}", ""]
    text += entries
    code = "\n".join(text) + "\n"
    header = _header(name, (height, width), embedding, scratch, preprocess is not None)
    return Source(code.replace(_NAME.upper(), name.upper()), header, scratch)


def _argument(program: Program, tables: _Tables, value: object) -> str:
    if isinstance(value, Ref):
        offset = program.buffers[value.buffer].offset + value.first * (4 if value.floats else 1)
        place = f"memory + {offset}"
        return f"(float *)(void *)({place})" if value.floats else place
    if isinstance(value, Struct):
        return tables.struct(value)
    return tables.argument(value)


def _header(name: str, size: tuple[int, int], embedding: int, scratch: int, pixels: bool) -> str:
    height, width = size
    word = name.upper()
    declaration = f"""
/*
 * The embedding of a face: {embedding} float32, not normalised; two are compared by their cosine.
 *
 * crop: uint8 RGB [{word}_HEIGHT][{word}_WIDTH][3], an aligned face as it is; the file preprocesses it.
 * scratch: {word}_SCRATCH bytes at an address that {ALIGNMENT} divides, for each thread its own.
 */
void {name}_embed(const uint8_t *crop, void *scratch, float *embedding);
"""
    return f"""#ifndef {word}_H
#define {word}_H

#include <stdint.h>

#define {word}_HEIGHT {height}
#define {word}_WIDTH {width}
#define {word}_EMBEDDING {embedding}
#define {word}_SCRATCH {scratch}

#ifdef __cplusplus
extern "C" {{
#endif
{declaration if pixels else ""}
#ifdef __cplusplus
}}
#endif

#endif
"""

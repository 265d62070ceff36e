"""The constants of a C file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bitface.targets.c.engine import NUMBERS
from bitface.targets.c.program import PackedLayer, Struct, Table

_LINE = 110


@dataclass
class Tables:
    """The constants of a file, equal ones once.

    Attributes:
        numbers: where the numbers lie, for a compiler that reads them from `NUMBERS`; None: they are text.
    """

    numbers: bytearray | None = None
    lines: list[str] = field(default_factory=list)
    names: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def of(self, values: np.ndarray, aligned: bool = True) -> str:
        """The name of an array; of one of bytes whether vectors are read from its beginning on."""
        kind = {"f": "float", "i": "int32_t", "u": "uint8_t"}[values.dtype.kind]
        key = kind, values.tobytes()
        if key not in self.names:
            self.names[key] = name = f"table_{len(self.names)}"
            if self.numbers is not None:
                self.lines += _beside(name, kind, values, len(self.numbers), 64 if aligned else 4)
                self.numbers += values.tobytes()
                return name
            numbers = map(_float, values) if kind == "float" else map(str, values.tolist())
            kind = f"ALIGNED {kind}" if kind == "uint8_t" and aligned else kind
            self.lines += [f"static const {kind} {name}[{values.size}] = {{", *_wrapped(numbers), "};"]
        return self.names[key]

    def short(self, numbers: Sequence[int]) -> str:
        """The name of an array of numbers of 16 bits."""
        self.lines += [f"static const int16_t steps[{len(numbers)}] = {{", *_wrapped(map(str, numbers)), "};"]
        return "steps"

    def struct(self, struct: Struct | PackedLayer) -> str:
        """The name of a constant structure, or of a layer's stream."""
        if isinstance(struct, PackedLayer):
            return self.of(struct.stream(), struct.aligned)
        key = struct.kind, self._fields(struct).encode()
        if key not in self.names:
            self.names[key] = f"{struct.kind}_{len(self.lines)}"
            self.lines.append(f"static const {struct.kind} {self.names[key]} = {key[1].decode()};")
        name = self.names[key]
        return name if struct.passed else f"&{name}"

    def _fields(self, struct: Struct) -> str:
        values = (f".{name} = {self.argument(value)}" for name, value in struct.fields)
        return f"{{{', '.join(values)}}}"

    def argument(self, value: object) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, Table):
            return self.of(value.values)
        if isinstance(value, np.floating):
            return _float(value)
        return str(value)


def _beside(name: str, kind: str, values: np.ndarray, offset: int, alignment: int) -> list[str]:
    """An array whose numbers a compiler needn't read: they are most of its time, and of its memory."""
    return [
        f'extern const {kind} {name}[{values.size}] __attribute__((visibility("hidden")));',
        f'__asm__(".pushsection .rodata\\n.balign {alignment}\\n{name}:\\n"',
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

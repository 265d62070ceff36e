"""The calls of a program as C: each at once, those of a chain in the steps of its schedule."""

from collections.abc import Sequence
from dataclasses import dataclass

from bitface.targets.c.program import Call, FirstPixel, Name, PackedLayer, PerRow, Program, Ref, Rows, Span, Struct
from bitface.targets.c.schedule import Schedule
from bitface.targets.c.tables import Tables


@dataclass(frozen=True)
class Calls:
    program: Program
    plan: Schedule
    tables: Tables

    def lines(self) -> list[str]:
        """The body of the function that computes them all."""
        at_once = [self._at_once(call) for call in self.program.calls[self.plan.chain :]]
        return [*self._chain(), *at_once]

    def place(self, ref: Ref, row: str = "") -> str:
        """Where a buffer lies, or a row of it."""
        buffer = self.plan.buffers[ref.buffer]
        place = f"memory + {buffer.offset + ref.first * (4 if ref.floats else 1)}{row}"
        return f"(float *)(void *)({place})" if ref.floats else place

    def _at_once(self, call: Call) -> str:
        return f"{call.function}({', '.join(map(self._argument, call.arguments))});"

    def _argument(self, value: object) -> str:
        if isinstance(value, Ref):
            return self.place(value)
        if isinstance(value, PerRow):
            return str(value.whole)
        if isinstance(value, FirstPixel):
            return "0"
        if isinstance(value, Span):
            return f"0, {value.height}"
        if isinstance(value, Name):
            return value.name
        return self.tables.struct(value) if isinstance(value, Struct | PackedLayer) else self.tables.argument(value)

    def _chain(self) -> list[str]:
        count = self.plan.chain
        if not count:
            return []
        ends = [(0,) * count, *self.plan.ends]
        rows = self.tables.short([end for step in ends for end in step])
        steps = [self._step(call, index) for index, call in enumerate(self.program.calls[:count])]
        return [
            "/* Of each step, the rows that each call has computed before it. */",
            f"const int16_t *from = {rows};",
            f"for (int32_t step = 0; step < {len(ends) - 1}; step++, from += {count}) {{",
            f"    const int16_t *to = from + {count};",
            *(f"    {line}" for lines in steps for line in lines),
            "}",
        ]

    def _step(self, call: Call, index: int) -> Sequence[str]:
        rows = call.rows
        assert rows is not None
        if any(isinstance(argument, Span) for argument in call.arguments):
            arguments = [self._of_rows(argument, rows, index) for argument in call.arguments]
            return (f"{call.function}({', '.join(arguments)});",)
        arguments = [self._of_row(argument, rows.out_height) for argument in call.arguments]
        return (
            f"for (ptrdiff_t row = from[{index}]; row < to[{index}]; row++)",
            f"    {call.function}({', '.join(arguments)});",
        )

    def _of_rows(self, value: object, rows: Rows, index: int) -> str:
        """An argument of a call that finds its rows itself."""
        if isinstance(value, Span):
            return f"from[{index}], to[{index}]"
        if isinstance(value, Struct | PackedLayer) and rows.layer is not None:
            held = ("map_rows", self.plan.held[rows.reads[0]]), ("result_rows", self.plan.held[rows.writes])
            return self.tables.struct(rows.layer.with_fields(*held))
        return self._argument(value)

    def _of_row(self, value: object, height: int) -> str:
        """An argument of a call of one row of a map."""
        if isinstance(value, Ref):
            held = self.plan.held[value.buffer]
            number = "row" if held == height else f"row % {held}"
            return self.place(value, f" + {number} * {self.program.row_bytes(value.buffer, height)}")
        if isinstance(value, PerRow):
            return str(value.whole // value.height)
        if isinstance(value, FirstPixel):
            return f"row * {value.width}"
        return self._argument(value)

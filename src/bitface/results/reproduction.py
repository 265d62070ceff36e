"""The result of `bitface reproduce`: a paper's figures beside ours."""

import textwrap
from typing import Literal

from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Machine, Texts


class ReproducedRow(Section):
    """A row of a paper's table.

    Attributes:
        recipe: what made it; None: the float network.
        models: one for each seed.
        paper: benchmark or `benchmark / figure` → the paper's figure, per cent.
        ours: the same of ours, the mean over the seeds; figures that weren't measured are missing.
        spread: their standard deviation, of several seeds.
        agreement: the mean cosine to the float network on faces held out.
    """

    network: str
    name: str
    recipe: str | None
    models: Texts = ()
    paper: dict[str, float] = Field(default_factory=dict)
    ours: dict[str, float] = Field(default_factory=dict)
    spread: dict[str, float] = Field(default_factory=dict)
    agreement: float | None = None

    @property
    def title(self) -> str:
        return f"{self.network} {self.name}"


class ReproductionRecord(StoredResult):
    """A table of a paper, ours beside it.

    Attributes:
        small: it was run on what was at hand, in few steps: it says nothing of the paper's claims.
        departures: where ours differs from the paper.
    """

    kind: Literal["reproduction"] = "reproduction"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    created: str
    paper: str
    table: str
    title: str
    small: bool
    rows: tuple[ReproducedRow, ...]
    departures: Texts = ()
    notes: Texts = ()
    machine: Machine

    def text(self) -> str:
        """The table in 80 columns: the paper's figures, what each loses to its float network, and the same of ours."""
        lines = [*textwrap.wrap(self.title, 80), ""]
        if self.small:
            lines += [
                "SMALL: few steps on what was at hand. The paper's figures are of its own",
                "protocol; ours say that the commands work, and nothing else.",
                "",
            ]
            lines.append(f"{'row':40}{'cosine to its float network':>40}")
            for row in self.rows:
                lines.append(f"{row.title:40.40}{'' if row.agreement is None else f'{row.agreement:.4f}':>40}")
            lines.append("")
        for key in dict.fromkeys(key for row in self.rows for key in row.paper):
            lines.append(f"{key:36.36}{'paper':>10}{'to float':>10}{'ours':>12}{'to float':>10}")
            floats = {row.network: row for row in self.rows if row.recipe is None}
            for row in self.rows:
                if key not in row.paper:
                    continue
                base = floats.get(row.network) if row.recipe else None
                theirs = _change(row.paper.get(key), base.paper.get(key) if base else None)
                ours = row.ours.get(key)
                own = _change(ours, base.ours.get(key) if base else None)
                value = "-" if ours is None else f"{ours:.2f}"
                value += f"±{row.spread[key]:.2f}" if key in row.spread else ""
                lines.append(f"{'  ' + row.title:36.36}{row.paper[key]:>10.2f}{theirs:>10}{value:>12}{own:>10}")
            lines.append("")
        for text in [*(f"differs from the paper: {one}" for one in self.departures), *self.notes]:
            lines += textwrap.wrap(text, 80, subsequent_indent="  ")
        return "\n".join(lines) + "\n"


def _change(value: float | None, base: float | None) -> str:
    return "" if value is None or base is None else f"{value - base:+.2f}"

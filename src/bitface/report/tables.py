"""Results as tables: Markdown and LaTeX, a row for each model (or gallery and probe), a column for each figure."""

from collections.abc import Sequence

from bitface.evaluation.figures.figure import Figure
from bitface.report import format
from bitface.results.comparison import ComparisonRecord
from bitface.results.suite import Cell


def markdown(cells: Sequence[Cell]) -> str:
    """One table for each protocol. Figures are in percent, with their 95 % interval; `–` where data doesn't support."""
    lines: list[str] = []
    for protocol, names, rows in protocols(cells):
        head = ["gallery", "probe", *names]
        lines += [f"### {_plain(protocol)}", "", f"| {' | '.join(map(_plain, head))} |", "|---" * len(head) + "|"]
        lines += [f"| {' | '.join(map(_plain, row))} |" for row in rows]
        lines.append("")
        head, rows = groups([cell for cell in cells if cell.protocol == protocol])
        if rows:
            lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
            lines += [*(f"| {' | '.join(map(_plain, row))} |" for row in rows), ""]
    return "\n".join(lines)


def groups(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: both rates of each group at everybody's thresholds, model by model."""
    table = []
    for cell in cells:
        for group in cell.result.get("groups") or ():
            for rates in group["rates"] or [None]:
                columns = ["–"] * 3
                if rates is not None:
                    columns = [f"{rates['target']:g}", f"{rates['far']:.3g}", f"{100 * rates['tar']:.2f}"]
                name = f"{group['attribute']}: {group['group']}"
                table.append([cell.gallery, name, str(group["images"]), *columns])
    return ["model", "group", "images", "FAR of everybody", "FAR", "TAR"], table


def latex(cells: Sequence[Cell]) -> str:
    """The same as `tabular` environments, which need nothing but LaTeX itself."""
    lines: list[str] = []
    for protocol, names, rows in protocols(cells):
        lines += [f"% {_tex(protocol)}", rf"\begin{{tabular}}{{ll{'r' * len(names)}}}", r"\hline"]
        lines += [" & ".join(map(_tex, ["gallery", "probe", *names])) + r" \\", r"\hline"]
        lines += [" & ".join(map(_tex, row)) + r" \\" for row in rows]
        lines += [r"\hline", r"\end{tabular}", ""]
    return "\n".join(lines)


def percent(figure: Figure, intervals: bool = False) -> str:
    """A figure in percent: with its spread over folds, else its interval (with `intervals` in the other order)."""
    if figure.value is None:
        return "–"
    text, interval = f"{100 * figure.value:.2f}", figure.interval
    if figure.spread is not None and not (intervals and interval):
        return f"{text} ± {100 * figure.spread:.2f}"
    return f"{text} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]" if interval else text


def protocols(cells: Sequence[Cell], intervals: bool = False) -> list[tuple[str, list[str], list[list[str]]]]:
    """Of each protocol its name, the names of its figures, and rows: gallery, probe, figures (see `percent`)."""
    tables = []
    for protocol in dict.fromkeys(cell.protocol for cell in cells):
        own = [cell for cell in cells if cell.protocol == protocol]
        names = list(dict.fromkeys(figure.name for cell in own for figure in cell.figures))
        rows = []
        for cell in own:
            figures = {figure.name: percent(figure, intervals) for figure in cell.figures}
            rows.append([cell.gallery, cell.probe, *(figures.get(name, "") for name in names)])
        tables.append((protocol, names, rows))
    return tables


def _plain(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


_TEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "\n": " ",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)


def comparison(result: ComparisonRecord) -> str:
    """The table of `jobs.compare`, with who costs nearly the same below it."""
    head, rows = candidates(result)
    lines = [f"| {' | '.join(map(_plain, head))} |", "|---" * len(head) + "|"]
    lines += [*(f"| {' | '.join(map(_plain, row))} |" for row in rows), ""]
    for cost, lists in result.equal.items():
        lines += [f"- at equal {cost} (within 10 %), best first: {_plain(', '.join(equal))}" for equal in lists]
    for cost, best in result.frontier.items():
        lines.append(f"- not beaten at fewer {cost}: {_plain(', '.join(best))}")
    return "\n".join(lines) + "\n"


def candidates(result: ComparisonRecord, intervals: bool = False) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a comparison: each candidate's costs and figures (see `percent`), or its error."""
    names = [figure.name for figure in result.rows[0].figures if figure.name not in ("AUC", "EER")]
    head = ["candidate", "size", "ms", "times as fast", *names]
    rows = []
    for row in result.rows:
        if row.error or row.latency is None:
            rows.append([row.name, f"failed: {row.error}", *[""] * (len(head) - 2)])
            continue
        times = row.latency
        figures = {figure.name: percent(figure, intervals) for figure in row.figures}
        faster = "–" if times.ratio is None else f"{times.ratio:.2f}"
        if times.ratio_interval:
            faster += f" [{times.ratio_interval[0]:.2f}, {times.ratio_interval[1]:.2f}]"
        cells = [row.name, format.size(row.bytes), f"{times.median_ms:.2f}", faster]
        rows.append([*cells, *(figures.get(name, "") for name in names)])
    return head, rows

"""Results as tables: Markdown and LaTeX, a row for each model (or gallery and probe), a column for each figure."""

from collections.abc import Sequence
from typing import Any, Protocol


class Row(Protocol):
    """What a table needs to know of a result."""

    @property
    def protocol(self) -> str: ...
    @property
    def gallery(self) -> str: ...
    @property
    def probe(self) -> str: ...
    @property
    def figures(self) -> list[dict[str, Any]]: ...
    @property
    def result(self) -> dict[str, Any]: ...


def markdown(cells: Sequence[Row]) -> str:
    """One table for each protocol. Figures are in percent, with their 95 % interval; `–` where data doesn't support."""
    lines: list[str] = []
    for protocol, names, rows in _tables(cells):
        head = ["gallery", "probe", *names]
        lines += [f"### {_plain(protocol)}", "", f"| {' | '.join(map(_plain, head))} |", "|---" * len(head) + "|"]
        lines += [f"| {' | '.join(map(_plain, row))} |" for row in rows]
        lines += ["", *_groups([cell for cell in cells if cell.protocol == protocol])]
    return "\n".join(lines)


def _groups(cells: Sequence[Row]) -> list[str]:
    """Both rates of each group at everybody's thresholds, model by model."""
    rows = [
        (cell.gallery, group, rates)
        for cell in cells
        for group in cell.result.get("groups") or ()
        for rates in group["rates"] or [None]
    ]
    if not rows:
        return []
    lines = ["| model | group | images | FAR of everybody | FAR | TAR |", "|---|---|---|---|---|---|"]
    for model, group, rates in rows:
        name = f"{group['attribute']}: {group['group']}"
        shown = (
            ["–"] * 3 if rates is None else [f"{rates['target']:g}", f"{rates['far']:.3g}", f"{100 * rates['tar']:.2f}"]
        )
        lines.append(f"| {' | '.join(map(_plain, [model, name, str(group['images']), *shown]))} |")
    return [*lines, ""]


def latex(cells: Sequence[Row]) -> str:
    """The same as `tabular` environments, which need nothing but LaTeX itself."""
    lines: list[str] = []
    for protocol, names, rows in _tables(cells):
        lines += [f"% {_tex(protocol)}", rf"\begin{{tabular}}{{ll{'r' * len(names)}}}", r"\hline"]
        lines += [" & ".join(map(_tex, ["gallery", "probe", *names])) + r" \\", r"\hline"]
        lines += [" & ".join(map(_tex, row)) + r" \\" for row in rows]
        lines += [r"\hline", r"\end{tabular}", ""]
    return "\n".join(lines)


def percent(figure: dict[str, Any]) -> str:
    """A figure in percent: with its spread over folds, else its interval."""
    if figure["value"] is None:
        return "–"
    text = f"{100 * figure['value']:.2f}"
    if figure.get("spread") is not None:
        return f"{text} ± {100 * figure['spread']:.2f}"
    interval = figure.get("interval")
    return f"{text} [{100 * interval['low']:.2f}, {100 * interval['high']:.2f}]" if interval else text


def _tables(cells: Sequence[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    tables = []
    for protocol in dict.fromkeys(cell.protocol for cell in cells):
        own = [cell for cell in cells if cell.protocol == protocol]
        names = list(dict.fromkeys(figure["name"] for cell in own for figure in cell.figures))
        rows = []
        for cell in own:
            found = {figure["name"]: percent(figure) for figure in cell.figures}
            rows.append([cell.gallery, cell.probe, *(found.get(name, "") for name in names)])
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


def comparison(content: dict[str, Any]) -> str:
    """The table of `jobs.compare`, with who costs nearly the same below it."""
    rows = content["rows"]
    names = [figure["name"] for figure in rows[0]["figures"] if figure["name"] not in ("AUC", "EER")]
    head = ["candidate", "bytes", "ms", "times as fast", *names]
    lines = [f"| {' | '.join(map(_plain, head))} |", "|---" * len(head) + "|"]
    for row in rows:
        if row["error"]:
            cells = [row["name"], f"failed: {row['error']}", *[""] * (len(head) - 2)]
        else:
            times = row["latency"]
            found = {figure["name"]: percent(figure) for figure in row["figures"]}
            faster = "–" if times["ratio"] is None else f"{times['ratio']:.2f}"
            if times["ratio_interval"]:
                faster += f" [{times['ratio_interval'][0]:.2f}, {times['ratio_interval'][1]:.2f}]"
            cells = [row["name"], f"{row['bytes']:,}", f"{times['median_ms']:.2f}", faster]
            cells += [found.get(name, "") for name in names]
        lines.append(f"| {' | '.join(map(_plain, cells))} |")
    lines.append("")
    for cost, lists in content["equal"].items():
        lines += [f"- at equal {cost} (within 10 %), best first: {_plain(', '.join(equal))}" for equal in lists]
    for cost, best in content["frontier"].items():
        lines.append(f"- not beaten at fewer {cost}: {_plain(', '.join(best))}")
    return "\n".join(lines) + "\n"

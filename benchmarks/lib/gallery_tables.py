"""Tables of galleries and their thresholds: memory, what a stolen one tells, thresholds beyond the data."""

from typing import Any

from lib.tables import table


def large_gallery(content: dict[str, Any]) -> list[str]:
    """The memory that enrolling and searching take."""
    return table(
        "| command | vectors | MB, at most | times the vectors |",
        [
            f"| {row['command']} | {row['vectors']:,} | {row['MB']:,.0f} "
            f"| {format(row['times the vectors'], '.1f') if 'times the vectors' in row else ''} |"
            for row in content["rows"]
        ],
    )


def extrapolation(content: dict[str, Any]) -> list[str]:
    """How often the interval of an extrapolated threshold held the true FMR."""
    lines = []
    for row in content["rows"]:
        low, middle, high = row["true / target"]
        least, most = row["interval / target"]
        lines.append(
            f"| {row['network']} | {row['count']:,} {row['drawn']} | {row['far']:g} | {row['held']} of {row['draws']} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) | {least:.2g} to {most:.2g} |"
        )
    return table(
        "| network | drawn | FAR | true FMR in the interval | true FMR / target, 95 % of draws "
        "| interval / target, median |",
        lines,
    )


def stolen_gallery(content: dict[str, Any]) -> list[str]:
    """How often a stolen vector is found to be its person's."""
    lines = [
        f"| {row['gallery']} | {row['thief']} | {row['rank1']:.2%} [{100 * row['low']:.2f}, {100 * row['high']:.2f}] |"
        for row in content["rows"]
    ]
    lines.append(f"| any | guesses | {content['chance']:.2%} |")
    return table("| gallery | the thief has | rank-1 |", lines)

"""Tables of which networks of which exporters are read, and what is left of them in integers."""

import re
from collections import Counter
from typing import Any

from lib.tables import table

# The columns of the table by families: what a person exports with → the folder's name as words.
EXPORTERS = {
    "torch, legacy": "torch legacy",
    "torch, dynamo": "torch dynamo",
    "tf2onnx": "tf2onnx",
    "Keras 3": "keras 3 torch",
    "MXNet 1.9": "mxnet 1.9",
    "Paddle": "paddle",
}
# Families that exporters' scripts name by more than one word.
_WORDS = {"raw": "", "grey": ""}


def networks(content: dict[str, Any]) -> list[str]:
    """By family: the largest difference to ONNX Runtime for each exporter, and the first cosines at w8a8."""
    rows = [row for row in content["rows"] if row["exporter"] in EXPORTERS.values()]
    families: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(_family(row), {})[row["exporter"]] = row
    lines = []
    for family, by_exporter in sorted(families.items()):
        cells = [_difference(by_exporter.get(name)) for name in EXPORTERS.values()]
        integers = next((row["w8a8"] for row in by_exporter.values() if "openvino" in row.get("w8a8", {})), None)
        lines.append(f"| {family} | {' | '.join(cells)} | {_cosines(integers)} |")
    head = f"| family | {' | '.join(EXPORTERS)} | w8a8 in OpenVINO | w8a8 in ONNX Runtime |"
    return table(head, lines)


def network_forms(content: dict[str, Any]) -> list[str]:
    """By exporter, opset and tool: how many files, and how many of them are equal."""
    counts: dict[str, Counter[str]] = {}
    for row in content["rows"]:
        counts.setdefault(row["exporter"], Counter())[_state(row)] += 1
    states = ("equal", "refused", "different", "no ONNX")
    lines = [
        f"| {exporter} | {sum(of.values())} | {' | '.join(str(of[state]) for state in states)} |"
        for exporter, of in sorted(counts.items())
        if not exporter.startswith("package")
    ]
    return table(f"| files of | files | {' | '.join(states)} |", lines)


def network_packages(content: dict[str, Any]) -> list[str]:
    """Real networks of public packages."""
    lines = [
        f"| {row['family']} | {row['exporter'].removeprefix('package ')} | {_difference(row)} "
        f"| {_cosines(row.get('w8a8'))} |"
        for row in content["rows"]
        if row["weights"] == "real"
    ]
    return table("| network | form | to ONNX Runtime | w8a8 in OpenVINO | w8a8 in ONNX Runtime |", lines)


def network_refusals(content: dict[str, Any]) -> list[str]:
    """Every file that is not read, or not equal, and why."""
    reasons: dict[str, list[str]] = {}
    for row in content["rows"]:
        state = _state(row)
        if state != "equal":
            text = (
                row.get("reason") or row.get("crash") or row.get("invalid") or f"differs by {row.get('difference'):.1e}"
            )
            reasons.setdefault(_shortened(text), []).append(f"{row['exporter']}: {row['family']}")
        elif "reason" in row.get("w8a8", {}):
            reasons.setdefault(f"w8a8: {_shortened(row['w8a8']['reason'])}", []).append(
                f"{row['exporter']}: {row['family']}"
            )
    return table("| why | files |", [f"| {why} | {', '.join(files)} |" for why, files in sorted(reasons.items())])


def _family(row: dict[str, Any]) -> str:
    words = [_WORDS.get(word, word) for word in row["family"].split("_")]
    return " ".join(word for word in words if word) or row["family"]


def _state(row: dict[str, Any]) -> str:
    if "invalid" in row:
        return "no ONNX"
    return "equal" if row.get("equal") else "different" if "difference" in row or "crash" in row else "refused"


def _difference(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    state = _state(row)
    return f"{row['difference']:.0e}" if state == "equal" else f"**{state}**"


def _cosines(row: dict[str, Any] | None) -> str:
    return f"{row['openvino']:.4f} | {row['onnxruntime']:.4f}" if row and "openvino" in row else " | "


def _shortened(text: str) -> str:
    """One line that breaks no table, without the names of nodes."""
    text = re.sub(r"'[^']*[/.:_][^']*'", "…", " ".join(text.split()))
    return (text if len(text) <= 160 else f"{text[:157]}…").replace("|", "/")

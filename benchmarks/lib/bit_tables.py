"""Tables of what bits cost: plans, proxies of them, and quantization without training."""

from collections.abc import Iterable
from typing import Any

from bitface.inputs import recipes
from lib.tables import errors, figures, lfw, minutes, read, table


def mixed_precision(content: dict[str, Any]) -> list[str]:
    """Searched plans beside uniform ones."""
    return table(
        "| network | plan | made by | minutes | LFW ± sd of folds | TAR@FAR 1e-4 | TAR@FAR 1e-5 | cosine "
        "| bytes of weights | of float32 |",
        [
            f"| {row['network']} | {row['plan']} | {row['how']} | {row['minutes']} | {row['LFW %']} "
            f"| {row['TAR@0.0001 %']} | {row['TAR@1e-05 %']} | {row['cosine']:.4f} | {row['weight bytes']:,} "
            f"| {row['share of float32']:.1%} |"
            for row in content["rows"]
        ],
    )


def front(content: dict[str, Any]) -> list[str]:
    """Agreement of searched plans and of uniform ones, by bytes."""
    lines = []
    for row in content["rows"]:
        points = [("searched", point) for point in row["front"]] + [("uniform", point) for point in row["uniform"]]
        for kind, point in sorted(points, key=lambda one: one[1]["weight_bytes"]):
            lines.append(f"| {row['network']} | {kind} | {point['weight_bytes']:,} | {point['agreement']:.4f} |")
    return table("| network | plan | bytes of weights | agreement (mean cosine) |", lines)


def proxies(content: dict[str, Any]) -> list[str]:
    """How well proxies rank: Spearman's correlation with the sweep."""
    lines = []
    for row in content["rows"]:
        for name, parts in row["correlations"].items():
            shown = " | ".join(f"{found['all']:.3f}" for found in parts.values())
            lines.append(f"| {row['network']} | `{name}` | {shown} |")
    return table("| network | proxy | weights | activations |", lines)


def post_training(content: dict[str, Any]) -> list[str]:
    """Our efforts without training, and the peers on the same faces."""
    lines = []
    order = [row["network"] for row in content["rows"]]
    # Widest first: `w8a8` behind `w4a8` in the alphabet.
    rows = sorted(content["rows"], key=lambda row: row["by"])
    rows = sorted(rows, key=lambda row: row["bits"], reverse=True)
    for row in sorted(rows, key=lambda row: order.index(row["network"])):
        speed = f"{row['times as fast as it']:.2f}x" if row.get("times as fast as it") else ""
        lines.append(
            f"| {row['network']} | {row['bits']} | {row['by']} | {minutes(row)} | {lfw(row)} "
            f"| {row['TAR@0.0001 %']} | {row['TAR@1e-05 %']} | {row['cosine']:.4f}, {row['cosine p01']:.4f} | {speed} |"
        )
    return table(
        "| network | bits | by | minutes | LFW ± sd of folds | TAR@FAR 1e-4 | TAR@FAR 1e-5 "
        "| cosine: mean, 1st percentile | ours is so many times as fast |",
        lines,
    )


def four_bits(content: dict[str, Any]) -> list[str]:
    """Conventions and rotations of four bits, without training."""
    keys = ("network", "bits", "rotate", "effort", "seed", "LFW %", "TAR@0.0001 %", "TAR@1e-05 %")
    return table(
        "| network | bits | streams | effort | seed | LFW ± sd | TAR@FAR 1e-4 | TAR@FAR 1e-5 | cosine | bytes |",
        [
            "| " + " | ".join(str({**row, "LFW %": lfw(row)}.get(key, "")) for key in keys)
            + (f" | {row['cosine mean']:.4f} | {row['bytes']:,} |" if "bytes" in row else " |  |  |")
            for row in content["rows"]
        ],
    )  # fmt: skip


def equalizing(content: dict[str, Any]) -> list[str]:
    """Ways to scale channels between convolutions, without training."""
    # A dot in a name is an attribute to `str.format`.
    rows = [{key.replace(".", ""): value for key, value in row.items()} for row in content["rows"]]
    columns = {
        "channels": "{channels}", "seed": "{seed}", "LFW ± sd": "{LFW %}", "TAR@FAR 1e-4": "{TAR@00001 %}",
        "TAR@FAR 1e-5": "{TAR@1e-05 %}", "cosine": "{cosine mean:.4f}", "bytes": "{bytes:,}",
    }  # fmt: skip
    return short_runs({"rows": rows}, columns)


def four_bits_trained(content: dict[str, Any]) -> list[str]:
    """Conventions and rotations, after training; the float networks above."""
    rows = content["rows"]
    networks = list(dict.fromkeys(row["network"] for row in rows))
    lines = [
        f"| {row['network']} | float32 | | | | | "
        f"{row['LFW %']} | {row['TAR@0.0001 %']} | {row['TAR@1e-05 %']} | | | | |"
        for row in read("accuracy")["rows"]
        if row["bits"] == "float32" and row["network"] in networks
    ]

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        changes = trained_by(row)
        return networks.index(row["network"]), changes["epochs"], row["bits"], changes["rotate"], row["key"]

    for row in sorted(rows, key=place):
        changes = trained_by(row)
        other = [f"{key}: {value}" for key, value in changes.items() if key not in ("epochs", "rotate", "bits")]
        other += [row["faces"]] * (row["faces"] != "real")
        lines.append(
            f"| {row['network']} | {row['bits']} | {changes['rotate']} | {changes['epochs']:g} | {', '.join(other)} "
            f"| {row['seed']} | {figures(row)} {errors(row)} {row['bytes']:,} |"
        )
    return table(
        "| network | bits | streams | epochs | besides | seed | LFW ± sd | TAR@FAR 1e-4 | TAR@FAR 1e-5 | cosine "
        "| individual error: scalar, vector | class error | bytes |",
        lines,
    )


def trained_by(row: dict[str, Any]) -> dict[str, Any]:
    """What a training of `qat.py` changed of its recipe, and the recipe's own epochs and rotation where it didn't."""
    recipe = recipes.read(row["recipe"])
    assert isinstance(recipe, recipes.Recipe)
    assert recipe.method is not None
    own = {"epochs": recipe.method.training.epochs, "rotate": recipe.method.calibration.rotate}
    changes = dict(part.split("=", 1) for part in row["changes"].split(", ") if part)
    return {**own, **changes, "epochs": float(changes.get("epochs", own["epochs"]))}


def rebuilding(content: dict[str, Any]) -> list[str]:
    """Parts of a rebuilding, in short runs."""
    return short_runs(
        content,
        {
            "what differs": "{changes}", "faces": "{images}", "steps: a unit, all at last": "{steps}, {tuning}",
            "seed": "{seed}", **_COSINE,
        },
    )  # fmt: skip


def tried(content: dict[str, Any]) -> list[str]:
    """Changes of a training, in short runs; † of before a change of what they begin with."""
    rows = [{**row, "changes": row["changes"] + "†" * ("before" in row)} for row in content["rows"]]
    columns = {"change": "{changes}", "steps": "{steps}", "seed": "{seed}", **_COSINE, "images/s": "{images/s:.0f}"}
    return short_runs({"rows": rows}, columns)


_COSINE = {"cosine ± standard error": "{cosine:.4f} ± {standard error:.4f}"}


def short_runs(content: dict[str, Any], columns: dict[str, str]) -> list[str]:
    """A table of runs; `columns`: what stands above each, and how it is written of a row."""
    columns = {"network": "{network}", "bits": "{bits}", **columns}

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    return table(line(columns), [line(cell.format_map(row) for cell in columns.values()) for row in content["rows"]])

"""Tables of what bits cost: plans, proxies of them, and quantization without training."""

from typing import Any

from lib.tables import lfw, minutes, table


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
            "| " + " | ".join(str(row.get(key, "")) for key in keys)
            + (f" | {row['cosine mean']:.4f} | {row['bytes']:,} |" if "bytes" in row else " |  |  |")
            for row in content["rows"]
        ],
    )  # fmt: skip


def rebuilding(content: dict[str, Any]) -> list[str]:
    """Parts of a rebuilding, in short runs."""
    return table(
        "| network | bits | scales of weights | faces | steps: a unit, all at last | seed | cosine ± standard error |",
        [
            f"| {row['network']} | {row['bits']} | {row['changes']} | {row['images']} "
            f"| {row['steps']}, {row['tuning']} | {row['seed']} | {row['cosine']:.4f} ± {row['standard error']:.4f} |"
            for row in content["rows"]
        ],
    )

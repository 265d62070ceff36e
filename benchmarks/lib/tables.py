"""The tables of README.md and docs/, a function each: the content of a `results/*.json` → lines of Markdown."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from bitface.inputs import recipes as recipe

HERE = Path(__file__).parents[1]


def read(script: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((HERE / "results" / f"{script}.json").read_text(encoding="utf-8"))
    return content


def accuracy(content: dict[str, Any]) -> list[str]:
    lines = [
        "| network | bits | LFW ± sd of folds | TAR@FAR 1e-4 | TAR@FAR 1e-5 | cosine: mean, min | bytes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        cosine = f"{row['cosine mean']:.4f}, {row['cosine minimum']:.4f}" if "cosine mean" in row else ""
        size = f"{row['bytes']:,}" if "bytes" in row else f"{row['float bytes']:,} (float32)"
        lines.append(
            f"| {row['network']} | {row['bits']} | {lfw(row)} | {row['TAR@0.0001 %']} | {row['TAR@1e-05 %']} "
            f"| {cosine} | {size} |"
        )
    return lines


def trainings() -> list[dict[str, Any]]:
    """Our recipes as they come, on real faces: strict ones, and those with sums and depthwise weights at 8 bits."""
    rows = [row for name in ("qat", "four_bits_trained") for row in read(name)["rows"]]
    return [row for row in rows if ours(row) and not changed(row)]


def headline(content: dict[str, Any]) -> list[str]:
    """Each network in float32, at 8 bits, and trained at 4, the first seed."""
    trained_rows = {row["network"]: row for row in trainings() if (row["recipe"], row["seed"]) == ("best-w4a4s8", 0)}
    lines = []
    for row in content["rows"]:
        if row["bits"] == "float32":
            lines.append(f"| {row['network']} | float32 | {row['float bytes']:,} | {row['TAR@0.0001 %']} | | |")
        elif row["bits"] == "w8a8":
            how = f"300 unlabelled faces | {row['seconds'] / 60:.1f}"
            lines.append(f"| | w8a8 | {row['bytes']:,} | {row['TAR@0.0001 %']} | {how} |")
            if one := trained_rows.get(row["network"]):
                how = f"5,532 unlabelled faces, by training | {minutes(one)}"
                lines.append(f"| | {one['bits']} | {one['bytes']:,} | {one['TAR@0.0001 %']} | {how} |")
    return table("| network | bits | bytes | TAR@FAR 1e-4 | made from | minutes |", lines)


def speed(content: dict[str, Any]) -> list[str]:
    lines = [
        "| network | engine | precision | median ms | to the same engine's float32 |",
        "|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        ratio = f"{row['ratio']:.2f}x" if row.get("ratio") else ""
        interval = row.get("ratio_interval")
        if ratio and interval and row["precision"] != "f32":
            ratio += f" [{interval[0]:.2f}, {interval[1]:.2f}]"
        note = row.get("note") or ""
        text = "; ".join(part for part in (ratio, note) if part)
        lines.append(f"| {row['network']} | {row['engine']} | {row['precision']} | {row['median_ms']:.2f} | {text} |")
    return lines


_FIGURES = "LFW ± sd of folds | TAR@FAR 1e-4 | TAR@FAR 1e-5 | cosine |"


def figures(row: dict[str, Any]) -> str:
    return f"{lfw(row)} | {row['TAR@0.0001 %']} | {row['TAR@1e-05 %']} | {row['cosine mean']:.4f} |"


def lfw(row: dict[str, Any]) -> str:
    """LFW, marked where the program has changed since."""
    return str(row["LFW %"]) + "†" * ("before" in row)


def errors(row: dict[str, Any]) -> str:
    """The individual error in its two forms, and the class error, in degrees."""
    return f"{row['individual error']:.1f}, {row['individual vector error']:.1f} | {row['class error']:.1f} |"


def table(head: str, lines: list[str]) -> list[str]:
    return [head, "|" + "---|" * (head.count("|") - 1), *lines]


def trained(row: dict[str, Any]) -> str:
    return f"{row['images/s']:.0f}" if row["images/s"] else ""


def minutes(row: dict[str, Any]) -> str:
    """Minutes, and on how many cores of which CPU where the row says it."""
    words = [word for word in re.sub(r"\(\w+\)", "", row.get("cpu", "")).split() if word != "Processor"]
    one = row.get("cores") == 1
    where = " ".join(["one" if one else "two", *words[-1:], "core" + "s" * (not one)])
    if "avx512" not in row.get("isa", "avx512"):
        where += " without AVX-512"
    return f"{row['minutes']}" + f" ({where})" * (one or bool(words))


def qat(_: dict[str, Any]) -> list[str]:
    """Our recipes as they come, on real faces."""
    own = sorted(trainings(), key=lambda row: (row["network"], widest(row), row["seed"]))
    return table(
        f"| network | recipe | seed | minutes | images/s | {_FIGURES} bytes |",
        [
            f"| {row['network']} | {named(row)} | {row['seed']} | {minutes(row)} | {trained(row)} "
            f"| {figures(row)} {row['bytes']:,} |"
            for row in own
        ],
    )


def seeds(_: dict[str, Any]) -> list[str]:
    """Our recipes with several seeds, in points from the float network: of today's program, else of an earlier one."""
    floats = {row["network"]: row for row in read("accuracy")["rows"] if row["bits"] == "float32"}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(trainings(), key=lambda row: row["seed"]):
        groups.setdefault((row["network"], named(row)), []).append(row)
    lines = []
    for (network, name), all_rows in sorted(groups.items(), key=lambda item: (item[0][0], widest(item[1][0]))):
        rows = [row for row in all_rows if "before" not in row] or all_rows
        if len(rows) > 1:
            plain = floats[network]
            accuracies = [row["accuracy"] - plain["accuracy"] for row in rows]
            tars = [[row["tar"][far] - plain["tar"][far] for row in rows] for far in ("0.0001", "1e-05")]
            lines.append(f"| {network} | {name} | {' | '.join(map(spread, (accuracies, *tars)))} |")
    return table("| network | recipe | LFW | TAR@FAR 1e-4 | TAR@FAR 1e-5 |", lines)


def spread(differences: list[float]) -> str:
    """The mean of differences in points, and each of them."""
    return f"{100 * np.mean(differences):+.2f} ({', '.join(f'{100 * one:+.2f}' for one in differences)})"


def papers(content: dict[str, Any]) -> list[str]:
    """The papers' recipes, with the angular errors."""
    theirs = [row for row in content["rows"] if not row["recipe"].startswith("best-")]
    theirs.sort(key=lambda row: (row["recipe"], row["changes"]))
    lines = [f"| {named(row)} | {minutes(row)} | {figures(row)} {errors(row)}" for row in theirs]
    return table(f"| recipe | minutes | {_FIGURES} individual error: scalar, vector | class error |", lines)


def ablation(content: dict[str, Any]) -> list[str]:
    """Our recipes with their parts and quantizers changed."""
    rows = [row for row in content["rows"] if ours(row) and changed(row)]
    rows.sort(key=lambda row: (row["recipe"], row["network"], "activations" in row["changes"]), reverse=True)
    return table(
        f"| network | recipe | change | minutes | {_FIGURES} individual error: scalar, vector | class error |",
        [
            f"| {row['network']} | {row['recipe']} | {row['changes']} | {minutes(row)} | {figures(row)} {errors(row)}"
            for row in rows
        ],
    )


def ours(row: dict[str, Any]) -> bool:
    """A recipe of ours on real faces."""
    return bool(row["recipe"].startswith("best-") and row.get("faces", "real") == "real")


def changed(row: dict[str, Any]) -> bool:
    """Whether a recipe was changed to see what its parts are worth; on SFace it only has fewer epochs."""
    return bool(row["changes"]) and row["network"] != "SFace"


def widest(row: dict[str, Any]) -> list[int]:
    """Sorts the widest bits first."""
    return [-int(bits) for bits in re.findall(r"\d", row["bits"])]


def named(row: dict[str, Any]) -> str:
    return ", ".join(part for part in (row["recipe"], row["changes"]) if part)


def training_speed(content: dict[str, Any]) -> list[str]:
    lines = []
    for row in content["rows"]:
        ratio = f"{row['ratio']:.2f}x" if row.get("ratio") else row.get("note") or ""
        if row.get("ratio_interval"):
            ratio += " [{:.2f}, {:.2f}]".format(*row["ratio_interval"])
        lines.append(f"| {row['network']} | {row['training']} | {row['precision']} | {row['images/s']:.0f} | {ratio} |")
    return table("| network | training | precision | images/s | to full precision in the same precision |", lines)


def budget(row: dict[str, Any]) -> str:
    """How long a row of `qat.py` was trained."""
    if "post_training" in row["changes"]:
        return "none"
    if row["changes"]:
        return f"{row['changes'].removeprefix('epochs=')} epochs"
    made = recipe.read(row["recipe"])
    assert isinstance(made, recipe.Recipe)
    assert made.method is not None
    return f"{made.method.training.epochs:g} epochs, at least {made.method.training.min_steps} steps"


def collapsed(row: dict[str, Any]) -> str:
    """A warning for rows whose embeddings all point one way."""
    return "; **collapsed**" if row.get("degenerate") else ""


def faceless(content: dict[str, Any]) -> list[str]:
    kinds = ("real", "synthetic", "none", "random")
    # The oldest rows don't name their faces: those were real.
    named = [{"faces": "real", **row} for row in content["rows"]]
    rows = sorted(named, key=lambda row: (row["network"], -int(row["bits"][1]), kinds.index(row["faces"].split()[0])))
    return table(
        "| network | bits | faces | training | minutes | LFW ± sd of folds | TAR@FAR 1e-4 | TAR@FAR 1e-5 "
        "| angle to the teacher: on other faces of this kind, on the test faces |",
        [
            f"| {row['network']} | {row['bits']} | {row['faces']}{collapsed(row)} | {budget(row)} | {minutes(row)} "
            f"| {lfw(row)} | {row['TAR@0.0001 %']} | {row['TAR@1e-05 %']} "
            f"| {math.degrees(math.acos(row['cosine mean'])):.1f}°, {row['face error']:.1f}° |"
            for row in rows
        ],
    )


def variety(content: dict[str, Any]) -> list[str]:
    """How varied faces are for a network."""
    return table(
        "| network | faces | looked at | length of embeddings | one pair in twenty is above | dimensions | of real |",
        [
            f"| {row['network']} | {row['kind']} | {row['faces']:,} | {row['norm']:.1f} | {row['alike']:.2f} "
            f"| {row['dimensions']:.0f} | {row['share']:.0%} |"
            for row in content["rows"]
        ],
    )


def making_faces(content: dict[str, Any]) -> list[str]:
    return table(
        "| source | network | images | seconds |",
        [
            f"| {row['source']} | {row['network']} | {row['images']:,} | {row['seconds']:.0f} |"
            for row in content["rows"]
        ],
    )


def datasets(content: dict[str, Any]) -> list[str]:
    """Reading a set of records: at once, in whole epochs, and beside a training."""
    rows = {row["what"]: row for row in content["rows"]}
    epochs = [row for row in content["rows"] if row["what"] == "epoch"]
    trained = rows["training, in memory"]["images/s"]
    lines = [
        f"| open {rows['open']['images']:,} images | {rows['open']['seconds']:.2f} s, "
        f"{rows['open']['index bytes']:.0f} bytes an image |",
        f"| labels, at the first time | {rows['labels']['seconds']:.2f} s |",
    ]
    for row in epochs:
        same = "" if row is epochs[0] else ", the same order and pixels" * (row["hash"] == epochs[0]["hash"])
        lines.append(
            f"| an epoch, {row['workers']} workers | {row['growth MB']:.0f} MB more than before it was opened{same} |"
        )
    read = rows["reading"]["images/s"]
    ratio = rows["training, from records"]["images/s"] / trained
    lines += [
        f"| reading, with views, one core | {read:,.0f} images/s, {read / trained:.0f} times the training |",
        f"| training a MobileFaceNet in full precision, one core | {trained:,.0f} images/s |",
        f"| the same, and the core reads its images from records | {ratio:.2f} times that |",
    ]
    return table("| what | measured |", lines)


def share(figure: dict[str, Any]) -> str:
    """A figure of a protocol in percent, with its interval."""
    interval = figure["interval"]
    return f"{100 * figure['value']:.2f} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def thresholds(content: dict[str, Any]) -> list[str]:
    """How often thresholds hold on other people, and what the float network's thresholds do."""
    lines = []
    for row in content["rows"]:
        low, high = row["far on the other half, as a multiple"]
        lines.append(
            f"| {row['network']} {row['bits']} | {row['far']:g} | {row['held']} of {row['splits']} "
            f"| {low:.2f} to {high:.2f} "
            f"| {row['far at the float threshold']:.3g}, {1 - row['tar at the float threshold']:.2%} "
            f"| {row['far']:.3g}, {1 - row['tar']:.2%} |"
        )
    return table(
        "| artifact | FAR | held on the other half | FAR there / target, 95 % of splits "
        "| float threshold reused: FAR, FRR | own threshold: FAR, FRR |",
        lines,
    )


def mixed(content: dict[str, Any]) -> list[str]:
    """Every combination of galleries and probes."""
    wanted = ("TAR@FAR 1e-4", "TAR@FAR 1e-5", "rank-1")
    lines = []
    for row in content["rows"]:
        for cell in row["cells"]:
            found = {figure["name"]: figure for figure in cell["figures"]}
            shown = " | ".join(share(found[name]) for name in wanted)
            lines.append(f"| {row['network']} | {row['bits']} | {cell['gallery']} | {cell['probe']} | {shown} |")
    return table(f"| network | bits | gallery | probes | {' | '.join(wanted)} |", lines)


def galleries(content: dict[str, Any]) -> list[str]:
    """What int8 embeddings save and cost."""
    lines = []
    for row in content["rows"]:
        cost = row["int8 gallery"]
        lines.append(
            f"| {row['network']} | {row['bits']} | {cost['float32_bytes']:,} | {cost['int8_bytes']:,} "
            f"| {cost['float32_rank1']:.2%} | {cost['int8_rank1']:.2%} | {cost['largest_difference']:.4f} |"
        )
    return table(
        "| network | bits | bytes: float32 | int8 | rank-1: float32 | int8 | largest difference of a score |", lines
    )


def angles(content: dict[str, Any]) -> list[str]:
    """How far students turn faces and classes, and how wide classes lie."""
    lines = []
    rows = sorted(content["rows"], key=lambda row: (not row["unseen"], row["network"], widest(row), row["method"]))
    for row in rows:
        turned = row["turned back"]
        names = {"A-QE": "face", "class": "class", "individual": "individual", "individual vector": "individual vector"}
        cells = [f"{row[name]:.1f}, {turned[same]:.1f}" for name, same in names.items()]
        between, within = (
            [f"{row[f'{kind} {side}']['mean']:.1f}" for side in ("teacher", "student")] for kind in ("inter", "within")
        )
        # A trained artifact is known by its folder.
        student = row["key"].removesuffix(" unseen").removesuffix(" all") + "†" * ("before" in row)
        lines.append(
            f"| {student} | {row['faces']:,} | {' | '.join(cells)} | {' → '.join(between)} | {' → '.join(within)} "
            f"| {row['neighbours kept']:.1%} |"
        )
    return table(
        "| student | faces | A-QE | class | individual | individual vector | between classes | within classes "
        "| neighbours kept |",
        lines,
    )


def templates(content: dict[str, Any]) -> list[str]:
    return table(
        "| step | seconds | peak MB |",
        [f"| {row['step']} | {row['seconds']:.0f} | {row['peak MB']:,.0f} |" for row in content["rows"]],
    )


def identification(content: dict[str, Any]) -> list[str]:
    return table(
        "| engine | distractors | seconds | peak MB |",
        [
            f"| {row['engine']}{', with TAR@FAR 1e-6' if 'TAR@FAR 1e-6' in row else ''} | {row['distractors']:,} "
            f"| {row['seconds']:.1f} | {row['peak MB']:,} |"
            for row in content["rows"]
        ],
    )


def smaller(content: dict[str, Any]) -> list[str]:
    """Quantized, pruned and distilled: bytes, latency, accuracy."""
    lines = []
    for row in content["rows"]:
        if "error" in row:
            lines.append(f"| {row['network']} | {row['candidate']} | failed: {row['error']} | | | | | |")
            continue
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}x"
        lines.append(
            f"| {row['network']} | {row['candidate']} | {row['bytes']:,} | {row['macs'] / 1e6:,.0f} M | {ratio} "
            f"| {lfw(row)} | {row['TAR@FAR 1e-4 %']} | {row['TAR@FAR 1e-5 %']} |"
        )
    return table(
        "| network | candidate | bytes | multiply-adds | times as fast | LFW % ± sd of folds | TAR@FAR 1e-4 % "
        "| TAR@FAR 1e-5 % |",
        lines,
    )


def transformers(content: dict[str, Any]) -> list[str]:
    head = "| network | numbers | cosine: OpenVINO, ONNX Runtime | LFW ± sd of folds | bytes |"
    lines = []
    for row in content["rows"]:
        engines = [f"{row[key]:.4f}" for key in ("openvino", "onnxruntime", "torch") if key in row]
        cosine = ", ".join(engines) + (" (simulated)" if "torch" in row else "")
        name = f"{row['network']} (`{row['student']}`)" if row["how"] == "float" else row["network"]
        size = f"{row['bytes']:,}" if "bytes" in row else ""
        lines.append(f"| {name} | {row['how']} | {cosine} | {row.get('LFW %', '')} | {size} |")
    return table(head, lines)

"""Writes the tables of README.md and docs/ from `results/*.json`, so that no figure in them is typed by hand.

python benchmarks/readme.py
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def accuracy(content: dict[str, Any]) -> list[str]:
    lines = [
        "| network | bits | LFW ± sd of folds | TAR@FAR 1e-4 | TAR@FAR 1e-5 | cosine: mean, min | bytes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        cosine = f"{row['cosine mean']:.4f}, {row['cosine minimum']:.4f}" if "cosine mean" in row else ""
        size = f"{row['bytes']:,}" if "bytes" in row else f"{row['float bytes']:,} (float32)"
        lines.append(
            f"| {row['network']} | {row['bits']} | {row['LFW %']} | {row['TAR@0.0001 %']} | {row['TAR@1e-05 %']} "
            f"| {cosine} | {size} |"
        )
    return lines


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
    return f"{row['LFW %']} | {row['TAR@0.0001 %']} | {row['TAR@1e-05 %']} | {row['cosine mean']:.4f} |"


def errors(row: dict[str, Any]) -> str:
    """The individual error in its two forms, and the class error, in degrees."""
    return f"{row['individual error']:.1f}, {row['individual vector error']:.1f} | {row['class error']:.1f} |"


def table(head: str, lines: list[str]) -> list[str]:
    return [head, "|" + "---|" * (head.count("|") - 1), *lines]


def trained(row: dict[str, Any]) -> str:
    return f"{row['images/s']:.0f}" if row["images/s"] else ""


def qat(content: dict[str, Any]) -> list[str]:
    """Our recipes as they come, on real faces."""
    own = [row for row in content["rows"] if row["recipe"].startswith("best-") and not row["changes"] and real(row)]
    own.sort(key=lambda row: (row["network"], -int(row["bits"][1]), -int(row["bits"][3]), row["seed"]))
    return table(
        f"| network | recipe | seed | minutes | images/s | {_FIGURES} bytes |",
        [
            f"| {row['network']} | {row['recipe']} | {row['seed']} | {row['minutes']} | {trained(row)} "
            f"| {figures(row)} {row['bytes']:,} |"
            for row in own
        ],
    )


def papers(content: dict[str, Any]) -> list[str]:
    """The papers' recipes, with the angular errors."""
    theirs = [row for row in content["rows"] if not row["recipe"].startswith("best-")]
    theirs.sort(key=lambda row: (row["recipe"], row["changes"]))
    lines = []
    for row in theirs:
        name = ", ".join(part for part in (row["recipe"], row["changes"]) if part)
        lines.append(f"| {name} | {row['minutes']} | {figures(row)} {errors(row)}")
    return table(f"| recipe | minutes | {_FIGURES} individual error: scalar, vector | class error |", lines)


def ablation(content: dict[str, Any]) -> list[str]:
    """Changes of our recipe at 4 bits, and quantizers in its place: three epochs each."""
    changed = [row for row in content["rows"] if row["recipe"] == "best-w4a4" and row["changes"] and real(row)]
    return table(
        f"| change | {_FIGURES} individual error: scalar, vector | class error |",
        [f"| {row['changes']} | {figures(row)} {errors(row)}" for row in changed],
    )


def real(row: dict[str, Any]) -> bool:
    return bool(row.get("faces", "real") == "real")


def training_speed(content: dict[str, Any]) -> list[str]:
    lines = []
    for row in content["rows"]:
        ratio = f"{row['ratio']:.2f}x" if row.get("ratio") else row.get("note") or ""
        if row.get("ratio_interval"):
            ratio += " [{:.2f}, {:.2f}]".format(*row["ratio_interval"])
        lines.append(f"| {row['network']} | {row['training']} | {row['precision']} | {row['images/s']:.0f} | {ratio} |")
    return table("| network | training | precision | images/s | to full precision in the same precision |", lines)


def faceless(content: dict[str, Any]) -> list[str]:
    kinds = ("real", "synthetic", "none", "random")
    rows = sorted(
        content["rows"], key=lambda row: (row["network"], -int(row["bits"][1]), kinds.index(row["faces"].split()[0]))
    )
    return table(
        "| network | bits | faces | minutes | LFW ± sd of folds | TAR@FAR 1e-4 | TAR@FAR 1e-5 | angle to the teacher |",
        [
            f"| {row['network']} | {row['bits']} | {row['faces']} | {row['minutes']} | {row['LFW %']} "
            f"| {row['TAR@0.0001 %']} | {row['TAR@1e-05 %']} | {row['face error']:.1f}° |"
            for row in rows
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


ROOT = HERE.parent
TRAINING, FACES = ROOT / "docs" / "training.md", ROOT / "docs" / "faces.md"
# The name of a table's place → (the file, the script and its results, what makes the table).
TABLES: dict[str, tuple[Path, str, Callable[[dict[str, Any]], list[str]]]] = {
    "accuracy": (README, "accuracy", accuracy),
    "qat": (README, "qat", qat),
    "speed": (README, "speed", speed),
    "papers": (TRAINING, "qat", papers),
    "ablation": (TRAINING, "qat", ablation),
    "training_speed": (TRAINING, "training_speed", training_speed),
    "faceless": (FACES, "faceless", faceless),
    "making_faces": (FACES, "making_faces", making_faces),
}


def main() -> None:
    for name, (file, script, made) in TABLES.items():
        path = HERE / "results" / f"{script}.json"
        if not path.is_file():
            continue  # not measured on this machine yet
        content = json.loads(path.read_text(encoding="utf-8"))
        machine = content["machine"]
        source = (
            f"*`{content.get('command', f'python benchmarks/{script}.py')}`, {content['created'][:10]}, "
            f"{machine['cpu']}, {machine['cores']} cores, "
            f"OpenVINO {machine['openvino']}, ONNX Runtime {machine['onnxruntime']}*"
        )
        block = "\n".join([f"<!-- {name} -->", *made(content), "", source, f"<!-- /{name} -->"])
        text, found = re.subn(
            f"<!-- {name} -->.*?<!-- /{name} -->",
            lambda _, block=block: block,
            file.read_text(encoding="utf-8"),
            flags=re.DOTALL,
        )
        if not found:
            raise SystemExit(f"{file} has no place for the table '{name}'")
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Writes the tables of README.md from `results/*.json`, so that no figure in it is typed by hand.

python benchmarks/readme.py
"""

import json
import re
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


def qat(content: dict[str, Any]) -> list[str]:
    lines = [
        "| network | recipe | seed | minutes | images/s | LFW ± sd of folds | TAR@FAR 1e-4 | TAR@FAR 1e-5 | cosine "
        "| bytes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        lines.append(
            f"| {row['network']} | {row['recipe']} | {row['seed']} | {row['minutes']} | {row['images/s']:.0f} "
            f"| {row['LFW %']} | {row['TAR@0.0001 %']} | {row['TAR@1e-05 %']} | {row['cosine mean']:.4f} "
            f"| {row['bytes']:,} |"
        )
    return lines


TABLES = {"accuracy": accuracy, "qat": qat, "speed": speed}


def main() -> None:
    text = README.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        path = HERE / "results" / f"{name}.json"
        if not path.is_file():
            continue  # not measured on this machine yet
        content = json.loads(path.read_text(encoding="utf-8"))
        machine = content["machine"]
        source = (
            f"*`python benchmarks/{name}.py`, {content['created'][:10]}, {machine['cpu']}, {machine['cores']} cores, "
            f"OpenVINO {machine['openvino']}, ONNX Runtime {machine['onnxruntime']}*"
        )
        block = "\n".join([f"<!-- {name} -->", *table(content), "", source, f"<!-- /{name} -->"])
        text, found = re.subn(
            f"<!-- {name} -->.*?<!-- /{name} -->", lambda _, block=block: block, text, flags=re.DOTALL
        )
        if not found:
            raise SystemExit(f"README.md has no place for the table '{name}'")
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""What the benchmarks share: the networks, the data and where results go."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bitface.data.assets import fetch
from bitface.files import write_json
from bitface.runtime.machine import describe

HERE = Path(__file__).parent
DATA = Path(os.environ.get("BITFACE_DATA", HERE.parent.parent / "shared" / "data"))
LFW = DATA / "lfw"


def networks() -> dict[str, tuple[Path, str | None]]:
    """The three measured networks: name → (file, preprocessing)."""
    return {
        "MobileFaceNet ReLU6": (DATA / "models" / "foamliu_mobilefacenet.onnx", "rgb-imagenet"),
        "MobileFaceNet PReLU": (DATA / "models" / "prelu_mobilefacenet.onnx", None),
        "SFace": (fetch("sface"), None),
    }


def save(name: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """Writes `results/NAME.json` with the machine and the date, and prints the rows as a Markdown table."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(HERE / "results" / f"{name}.json", {"created": created, "machine": describe(), **facts, "rows": rows})
    keys = list(dict.fromkeys(key for row in rows for key in row))
    print("| " + " | ".join(keys) + " |\n|" + "---|" * len(keys))
    for row in rows:
        print("| " + " | ".join(_cell(row.get(key)) for key in keys) + " |")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)

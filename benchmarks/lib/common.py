"""What the benchmarks share: the networks, the data and where results go."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import torch

from bitface import backbones
from bitface.data.assets import fetch
from bitface.data.face_source import FaceSource
from bitface.files import write_json
from bitface.graph import Network, from_module, to_onnx
from bitface.jobs import EvaluateRequest, QuantizeRequest, evaluate_model, quantize_model
from bitface.quant import BitPlan
from bitface.runtime.machine import describe
from bitface.runtime.model import PREPROCESS_KEY

HERE = Path(__file__).parents[1]
DATA = Path(os.environ.get("BITFACE_DATA", HERE.parent.parent / "shared" / "data"))
LFW = DATA / "lfw"
IRESNET = "IResNet-18"
FARS = (1e-4, 1e-5)
# Where what benchmarks share is made; `out` is never part of the repository.
ARTIFACTS = Path("out/artifacts")


def networks() -> dict[str, tuple[Path, str | None]]:
    """The three measured networks: name → (file, preprocessing)."""
    return {
        "MobileFaceNet ReLU6": (DATA / "models" / "foamliu_mobilefacenet.onnx", "rgb-imagenet"),
        "MobileFaceNet PReLU": (DATA / "models" / "prelu_mobilefacenet.onnx", None),
        "SFace": (fetch("sface"), None),
    }


def iresnet(depth: int) -> Network:
    """An IResNet whose BatchNorms have seen noise, so that activations have sensible ranges."""
    torch.manual_seed(0)
    module = backbones.create(f"iresnet{depth}").train()
    with torch.no_grad():
        module(torch.randn(8, 3, 112, 112))
    return from_module(module.eval(), "rgb-127.5-127.5", f"IResNet-{depth}")


def iresnet_file(name: str, folder: Path) -> Path:
    """An IResNet with random weights, `IResNet-18`, as a file in a folder."""
    depth = int(name.partition("-")[2])
    path = folder / f"iresnet{depth}.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        network = iresnet(depth)
        assert network.preprocess is not None
        onnx.save(to_onnx(network.graph, metadata={PREPROCESS_KEY: network.preprocess.name}), path)
    return path


def network_files(folder: Path) -> dict[str, tuple[Path, str | None]]:
    """The measured networks and IResNet-18 with random weights, which is written into a folder: as `networks`."""
    return {**networks(), IRESNET: (iresnet_file(IRESNET, folder), None)}


def cores() -> int:
    """The cores that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def artifact(name: str, bits: str, folder: Path) -> Path:
    """The artifact of a network by post-training quantization with 300 faces outside the LFW pairs, made where it isn't
    there yet; `bits` are a word or a plan's file.
    """
    path, preprocess = networks()[name] if name in networks() else (iresnet_file(name, folder), None)
    made = folder / path.stem / Path(bits).stem
    if not (made / "model.bitface").is_file():
        quantize_model(
            QuantizeRequest(
                path, FaceSource([LFW / "images"], LFW / "not_in_pairs.txt", 300), made, BitPlan.parse(bits),
                preprocess=preprocess, data_kind="real",
            )
        )  # fmt: skip
    return made / "model.bitface"


def evaluated(path: Path, preprocess: str | None) -> dict[str, Any]:
    """One row's figures: LFW accuracy, and TAR over all pairs with subject-bootstrap intervals."""
    content, scored = evaluate_model(
        EvaluateRequest(
            path, LFW / "pairs.csv", LFW / "images", all_pairs=True, fars=FARS, preprocess=preprocess,
            anyway=True,  # one that has collapsed is a result, too
        )
    )  # fmt: skip
    result: Any = scored  # of pairs: it has an accuracy and operating points
    row: dict[str, Any] = {
        "engine": content["engine"],
        "LFW %": f"{result.accuracy.mean:.2%} ± {result.accuracy.std:.2%}",
    }
    for point in result.tar:
        assert point.tar is not None
        assert point.interval is not None
        row[f"TAR@{point.far:g} %"] = f"{point.tar:.2%} [{point.interval.low:.1%}, {point.interval.high:.1%}]"
    row["accuracy"] = result.accuracy.mean
    # Test images that are copies of what the model was made with; None where nobody knows.
    row["copies"] = content["overlap"]["copies"] if content["overlap"] else None
    # Embeddings that all point one way: the figures mean nothing.
    row["degenerate"] = any("no figure means anything" in text for text in content["warnings"])
    row["tar"] = {f"{point.far:g}": point.tar for point in result.tar}
    return row


def save(name: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """Writes `results/NAME.json` with the machine and the date, and prints the rows as a Markdown table."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(HERE / "results" / f"{name}.json", {"created": created, "machine": describe(), **facts, "rows": rows})
    keys = list(dict.fromkeys(key for row in rows for key in row))
    print("| " + " | ".join(keys) + " |\n|" + "---|" * len(keys))
    for row in rows:
        print("| " + " | ".join(_cell(row.get(key)) for key in keys) + " |")


def known(name: str) -> list[dict[str, Any]]:
    """The rows that `results/NAME.json` has already."""
    path = HERE / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)

"""What does quantization cost transformers, and what would scales of each token give back?

    python benchmarks/transformers.py [--networks vit,edgeface] [--faces 6000] [--epochs N] [--out out/transformers]

Two small students of SFace, a vision transformer and an EdgeFace, learn from synthetic faces what it answers
(`bitface distill`), where their folders hold none yet; a quarter of an hour each on two idle cores. Each is quantized
with 300 other synthetic faces, and compared with its float self: by cosines on the held-out ones, and on LFW. Scales of
each token are simulated: they would be computed from the tensor while it is there, which no exported file can hold.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lib.common import LFW, known, save
from torch import Tensor, nn

from bitface.cli.console import progress
from bitface.data.assets import fetch
from bitface.data.face_source import FaceSource
from bitface.graph import Network, load_network, passes
from bitface.inputs.faces import Faces, gather
from bitface.jobs import EvaluateRequest, evaluate_model
from bitface.jobs.distill import DistillRequest, distill_model
from bitface.jobs.quantize import QuantizeRequest, quantize_model
from bitface.quant import BitPlan, Calibration
from bitface.quant.post_training import calibrated
from bitface.training import Training

# Smaller than those of the papers: (what `bitface distill --student` takes, how the table names it, epochs).
STUDENTS = {"vit": ("vit_t:0.25,depth=4", "ViT", 20), "edgeface": ("edgeface_xs:0.5", "EdgeFace", 40)}
LESSON = Training(
    loss={"feature": {"form": "cosine"}}, batch=32, optimizer="adamw", rate=1e-3, weight_decay=0.02
)  # fmt: skip
# Drawn with another seed than those that the students learn from.
CALIBRATION = FaceSource((Path("synthetic:400"),), max_images=300)
SEED = 1


class TokenScales(nn.Module):
    """Rounds every token by a scale of its own, to 8 bits."""

    def __init__(self, signed: bool) -> None:
        super().__init__()
        self.levels = 127 if signed else 255

    def forward(self, x: Tensor) -> Tensor:
        scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / self.levels
        return torch.round(x / scale) * scale


def distilled(name: str, folder: Path, faces: int, epochs: float) -> Path:
    """The float student, made where it isn't there yet."""
    if not (folder / "model.onnx").is_file():
        with progress() as steps:
            request = DistillRequest(
                model=fetch("sface"), source=FaceSource((Path(f"synthetic:{faces}"),)), out=folder,
                student=STUDENTS[name][0], training=replace(LESSON, epochs=epochs),
                resume=(folder / "checkpoint.safetensors").is_file(),
            )  # fmt: skip
            distill_model(request, steps)
    return folder / "model.onnx"


def cosines(network: Network, student: nn.Module, faces: Faces) -> dict[str, float]:
    """How alike a student's embeddings and the network's are, on the faces held out; under the engine's name."""
    assert network.preprocess is not None
    images = torch.from_numpy(network.preprocess(faces.held_out))
    with torch.no_grad():
        values = torch.nn.functional.cosine_similarity(network.graph(images), student(images))
    return {"torch": values.mean().item()}


def with_token_scales(network: Network, faces: Faces) -> nn.Module:
    """The student with scales of each token wherever a linear layer, or a product, reads one."""
    student = calibrated(network, faces.learning, BitPlan.parse("w8a8"))
    for node in list(student.graph.graph.nodes):
        name = str(node.target)
        readers = [passes.module_of(student.graph, user) for user in node.users]
        rows = any(isinstance(one, nn.Linear) or type(one).__name__ == "MatMul" for one in readers)
        if name in student.activation_quantizers and rows and len(node.meta["shape"]) > 2:
            holder, _, leaf = name.rpartition(".")
            scales = TokenScales(student.activation_quantizers[name].signed)
            setattr(student.graph.get_submodule(holder), leaf, scales)
    return student.graph


def lfw(path: Path) -> dict[str, Any]:
    content, result = evaluate_model(EvaluateRequest(path, LFW / "pairs.csv", LFW / "images", anyway=True))
    return {
        "engine": content["engine"],
        "LFW %": f"{result.accuracy.mean:.2%} ± {result.accuracy.std:.2%}",
        "accuracy": result.accuracy.mean,
    }


def rows_of(name: str, folder: Path, path: Path) -> list[dict[str, Any]]:
    network = load_network(path)
    made = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    faces = gather(CALIBRATION, network.size, SEED)
    facts = {"network": STUDENTS[name][1], "student": STUDENTS[name][0], "parameters": made["after"]["parameters"]}
    learned = {"faces": made["faces"]["learning"], "epochs": made["training"]["settings"]["epochs"]}
    rows = [{**facts, "how": "float", **learned, "likeness to SFace": made["agreement"]["likeness"], **lfw(path)}]
    asymmetric = replace(BitPlan.parse("w8a8"), activations="asymmetric")
    ways = {
        "w8a8": (BitPlan.parse("w8a8"), Calibration()),
        "w8a8, not smoothed": (BitPlan.parse("w8a8"), Calibration(equalization=False)),
        "w8a8, asymmetric": (asymmetric, Calibration()),
        "w4a8": (BitPlan.parse("w4a8"), Calibration()),
    }
    for how, (plan, calibration) in ways.items():
        out = folder / how.replace(", ", "-").replace(" ", "-")
        request = QuantizeRequest(
            path, CALIBRATION, out, plan, seed=SEED, calibration=calibration, data_kind="synthetic", force=True
        )
        content = quantize_model(request)
        row = {**facts, "how": how, **{key: one["mean"] for key, one in content["agreement"].items()}}
        row["bytes"] = content["bytes"]["model.bitface"]
        if how == "w8a8":
            row |= {"tensors in float": len(content["unquantized"]), **lfw(out / "model.bitface")}
        rows.append(row)
    rows.append(
        {**facts, "how": "w8a8, scales of each token", **cosines(network, with_token_scales(network, faces), faces)}
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(STUDENTS))
    parser.add_argument("--faces", type=int, default=6000)
    parser.add_argument("--epochs", type=float, help="default: 20 of the ViT, 40 of the EdgeFace")
    parser.add_argument("--out", type=Path, default=Path("out/transformers"))
    options = parser.parse_args()
    for name in options.networks.split(","):
        folder = options.out / name
        rows = rows_of(name, folder, distilled(name, folder, options.faces, options.epochs or STUDENTS[name][2]))
        others = [row for row in known("transformers") if row["network"] != STUDENTS[name][1]]
        epochs = f" --epochs {options.epochs:g}" if options.epochs else ""
        save("transformers", [*others, *rows], command=f"python benchmarks/transformers.py{epochs}")


if __name__ == "__main__":
    main()

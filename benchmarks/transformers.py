"""What does quantization cost transformers?

    python benchmarks/transformers.py [--networks vit,edgeface] [--out out/transformers] [--minutes 55]

Two small students of SFace, a vision transformer and an EdgeFace, learn from synthetic faces what it answers
(`bitface distill`); then each is quantized with other synthetic faces, and it and its float self are tested on LFW.
Distillation is made where its folder holds none yet, as many epochs as fit into the minutes.
"""

import argparse
from pathlib import Path

from bitface.cli.console import progress
from bitface.data.assets import fetch
from bitface.data.face_source import FaceSource
from bitface.jobs.distill import DistillRequest, distill_model
from bitface.training import Training

# Smaller than those of the papers, as they are trained on a CPU in an hour.
STUDENTS = {"vit": "vit_t:0.25,depth=4", "edgeface": "edgeface_xs:0.5"}
LESSON = Training(
    loss={"feature": {"form": "cosine"}}, epochs=7, batch=32, optimizer="adamw", rate=1e-3, weight_decay=0.02
)
FACES = "synthetic:6000"


def distilled(name: str, folder: Path, minutes: float) -> Path:
    """The float student, made where it isn't there yet."""
    if not (folder / "model.onnx").is_file():
        with progress() as steps:
            distill_model(
                DistillRequest(
                    model=fetch("sface"), source=FaceSource((Path(FACES),)), out=folder, student=STUDENTS[name],
                    training=LESSON, minutes=minutes, resume=(folder / "checkpoint.safetensors").is_file(),
                ),
                steps,
            )  # fmt: skip
    return folder / "model.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(STUDENTS))
    parser.add_argument("--out", type=Path, default=Path("out/transformers"))
    parser.add_argument("--minutes", type=float, default=55)
    options = parser.parse_args()
    for name in options.networks.split(","):
        distilled(name, options.out / name, options.minutes)


if __name__ == "__main__":
    main()

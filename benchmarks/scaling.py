"""Memory and time of trainings on 1, 8 and 64 GPUs, by arithmetic: no GPU is needed, and none was met.

    python benchmarks/scaling.py

Parameters are counted; rates are InsightFace's published ones per GPU (full precision in fp16, V100 or A100), which
`gpu.py` measures for ours where there is a GPU; links are those of machines of 8 GPUs: NVLink within, 100 Gb/s between.
"""

from typing import Any

import torch
from lib.common import save

from bitface import backbones

# Images, identities.
SETS = {"MS1MV2": (5_822_653, 85_742), "Glint360K": (17_091_657, 360_232)}
# Backbone → published images a second of a GPU.
NETWORKS = {"mobilefacenet": 1386, "iresnet50": 694, "iresnet100": 426}
EMBEDDING, BATCH, EPOCHS = 512, 128, 20
GPUS = (1, 8, 64)
# Bytes a second that a ring reduces, of each GPU: NVLink; and of the eight GPUs of a machine together.
NVLINK, NETWORK = 200e9, 12.5e9
# Float32 weight, gradient and Adam's two averages.
KEPT = 16
# Logits, their exponentials and their gradient at once.
LOGITS = 3
GB = 1e9


def reduced(size: float, gpus: int) -> float:
    """Seconds in which so many bytes are summed over the GPUs."""
    if gpus == 1:
        return 0.0
    inside = 2 * size * (min(gpus, 8) - 1) / min(gpus, 8) / NVLINK
    machines = gpus // 8
    return inside + (2 * size * (machines - 1) / machines / NETWORK if machines > 1 else 0.0)


def row(faces: str, name: str, gpus: int, sample: float) -> dict[str, Any]:
    """A margin loss with its classes split over the GPUs, a share of them in each step."""
    images, classes = SETS[faces]
    with torch.device("meta"):
        parameters = sum(p.numel() for p in backbones.create(name, EMBEDDING).parameters())
    batch = BATCH * gpus
    head = classes / gpus * EMBEDDING * KEPT
    logits = LOGITS * 4 * batch * classes * sample / gpus
    gathered = 4 * batch * EMBEDDING
    step = BATCH / NETWORKS[name]
    messages = {"gradients": reduced(4 * parameters, gpus), "embeddings": 2 * reduced(gathered, gpus)}
    seconds = step + sum(messages.values())
    return {
        "set": faces,
        "network": name,
        "gpus": gpus,
        "sample": sample,
        "network GB": parameters * KEPT / GB,
        "classes GB": head / GB,
        "logits GB": logits / GB,
        "centres GB": 2 * 4 * classes * EMBEDDING / GB,
        "images/s": batch / seconds,
        "input images/s": batch / seconds / max(1, gpus // 8),
        "hours": EPOCHS * images * seconds / batch / 3600,
        "share of messages": sum(messages.values()) / seconds,
        "teacher GB": 2 * 4 * images * EMBEDDING / GB,
    }


def main() -> None:
    rows = [
        row(faces, name, gpus, sample)
        for faces, sample in (("MS1MV2", 1.0), ("Glint360K", 0.1))
        for name in NETWORKS
        for gpus in GPUS
    ]
    save("scaling", rows, epochs=EPOCHS, batch=BATCH)


if __name__ == "__main__":
    main()

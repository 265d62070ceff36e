"""What a GPU trains: rates at w4a4 beside full precision, a long training, and gradients beside the CPU's.

    python benchmarks/gpu.py [--seconds 440] [--tiny]

One run of at most eight minutes, for a machine with a GPU: first the gradients, then the rates of each network, and
with the time that is left best-w4a4 on the PReLU MobileFaceNet over a million views, tested on LFW. A row that couldn't
be measured says why and holds no figures. With `--tiny` it tries itself on the CPU in seconds and keeps nothing.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lib.common import LFW, evaluated, iresnet, networks, save

from bitface import backbones
from bitface.data.face_source import FaceSource
from bitface.device import device_of, title_of
from bitface.graph import Network, from_module
from bitface.inputs import recipes
from bitface.jobs.quantize import quantize_model, request_of
from bitface.losses import build_sum
from bitface.quant import BitPlan, Calibration, learn
from bitface.quant.fused import fused
from bitface.quant.kernels import Grid, fake_quantize
from bitface.quant.post_training import calibrated
from bitface.training import Trainee, Training, TrainingFaces, fit

# InsightFace's published rates per GPU (V100 or A100, fp16, with its head), see docs/scaling.md.
PUBLISHED = {"MobileFaceNet": 1386, "IResNet-18": None, "IResNet-50": 694, "IResNet-100": 426}
VIEWS = 1_000_000


def mobilefacenet(width: float = 1.0) -> Network:
    """A MobileFaceNet whose BatchNorms have seen noise."""
    torch.manual_seed(0)
    module = backbones.create(f"mobilefacenet:{width}")
    with torch.no_grad():
        module.train()(torch.randn(8, 3, 112, 112))
    return from_module(module.eval(), "rgb-127.5-128", "MobileFaceNet")


def rate(network: Network, bits: str | None, device: str, batch: int, steps: int) -> dict[str, Any]:
    """Images a second of training steps at `bits`, or in full precision, on noise."""
    random = np.random.default_rng(0)
    faces = TrainingFaces(random.integers(0, 256, (batch, 112, 112, 3), dtype=np.uint8))
    targets = random.standard_normal((2, batch, network.embedding_size)).astype(np.float32)
    loss: dict[str, Any] = {"feature": {"form": "cosine"}}
    model, run = network.graph, None
    if bits:
        student = calibrated(network, faces.images[:8], BitPlan.parse(bits), Calibration("minmax"))
        learn.make_learnable(student)
        model, run = student.graph, fused(student.graph)
    assert network.preprocess is not None
    training = Training(loss=loss, epochs=steps, batch=batch, schedule="constant", rate=1e-6, device=device)
    trainee = Trainee(
        model, build_sum(loss, network.embedding_size), faces, network.preprocess, None, targets,
        train_statistics=bits is None, run=run,
    )  # fmt: skip
    fit(trainee, dataclasses.replace(training, epochs=8 if steps > 8 else 1))  # compiles, and chooses algorithms
    history = fit(trainee, training)
    return {"images/s": history.per_second, "precision": history.precision}


def gradients(device: torch.device) -> float:
    """The largest difference of any gradient of a quantizer to the CPU kernel's, relative to its tensor's largest."""
    worst = 0.0
    for grid, slopes in ((Grid((0, 15)), 0), (Grid((-8, 7)), 32), (Grid((0, 255), 0.0), 1)):
        torch.manual_seed(0)
        leaves = [
            torch.randn(16, 32, 28, 28),
            torch.full((1,), 0.1),
            torch.full((1,), float(max(0, grid.limits[0] + 3))),
        ]
        leaves += [torch.rand(slopes)] if slopes else []
        sides = []
        for place in (torch.device("cpu"), device):
            own = [leaf.to(place, copy=True).requires_grad_(True) for leaf in leaves]
            y = fake_quantize(own[0], own[1], own[2], grid, own[3] if slopes else None)
            y.backward(torch.sin(torch.arange(y.numel(), device=place)).view(y.shape))
            sides.append([leaf.grad.cpu() for leaf in own if leaf.grad is not None])
        for ours, theirs in zip(*sides, strict=True):
            worst = max(worst, float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-9)))
    return worst


def long_training(device: str, epochs: float | None) -> dict[str, Any]:
    """LFW after the recipe best-w4a4 on the PReLU MobileFaceNet over so many epochs; None: a million views."""
    path, preprocess = networks()["MobileFaceNet PReLU"]
    listed = LFW / "not_in_pairs.txt"
    count = len(listed.read_text(encoding="utf-8").split())
    source = FaceSource([LFW / "images"], listed, 300 if epochs else None)
    with TemporaryDirectory() as folder:
        options = recipes.Options(
            path, source, Path(folder), preprocess=preprocess, epochs=epochs or VIEWS / count, device=device
        )
        result = quantize_model(request_of(recipes.merged(recipes.for_training("best-w4a4", BitPlan()), options)))
        training = result["training"]
        row = evaluated(Path(folder) / "model.bitface", preprocess)
    return {
        "images/s": training["images_per_second"],
        "views": training["images"],
        "seconds": training["seconds"],
        **row,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=440, help="after which nothing new is begun")
    parser.add_argument("--tiny", action="store_true", help="tries itself on the CPU, and keeps nothing")
    options = parser.parse_args()
    device = device_of("cpu" if options.tiny else "cuda")
    word, batch, steps = device.type, 4 if options.tiny else 128, 2 if options.tiny else 40
    began, rows = time.perf_counter(), []

    def measured(what: str, network: str, needed: float, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A row, or why there is none."""
        row: dict[str, Any] = {"what": what, "network": network}
        left = options.seconds - (time.perf_counter() - began)
        if left < needed:
            return {**row, "not measured": f"{left:.0f} s were left"}
        try:
            return {**row, **measure()}
        except Exception as error:
            return {**row, "not measured": f"{type(error).__name__}: {str(error).splitlines()[0]}"}

    rows.append(measured("gradients", "", 5, lambda: {"largest difference to the CPU": gradients(device)}))
    nets: dict[str, Callable[[], Network]] = {"MobileFaceNet": mobilefacenet}
    nets.update({f"IResNet-{depth}": lambda depth=depth: iresnet(depth) for depth in (18, 50, 100)})
    if options.tiny:
        nets = {"MobileFaceNet": lambda: mobilefacenet(0.25)}
    for name, make in nets.items():
        network = make()
        whole = measured("full precision", name, 20, lambda: rate(network, None, word, batch, steps))  # noqa: B023
        student = measured("w4a4", name, 20, lambda: rate(network, "w4a4", word, batch, steps))  # noqa: B023
        if "images/s" in whole and "images/s" in student:
            student["to full precision"] = student["images/s"] / whole["images/s"]
        rows += [{**row, "published images/s": PUBLISHED[name]} for row in (whole, student)]
    trained = lambda: long_training(word, 0.02 if options.tiny else None)  # noqa: E731
    rows.append(measured("best-w4a4, a million views", "MobileFaceNet PReLU", 200, trained))
    if options.tiny:
        print(*rows, sep="\n")
        return
    save("gpu", rows, device=title_of(device), batch=batch, seconds=time.perf_counter() - began)


if __name__ == "__main__":
    main()

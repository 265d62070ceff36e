"""How fast training is: quantization-aware against full precision, a step of each taking turns in one run.

    python benchmarks/training_speed.py [--bits w4a4] [--batch 64] [--threads 2]

`full precision` is the network as it would be trained: our MobileFaceNet with BatchNorm that learns. `folded` is the
same with its BatchNorms folded away, which is what a student is made of. `quantization-aware` looks its targets up,
as full precision does; with a `live teacher` every view is embedded too. Noise for weights and images: neither changes
the time of a step.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from lib.common import save

from bitface import backbones
from bitface.graph import Network, from_module, passes
from bitface.losses import build_sum
from bitface.quant import BitPlan, learn
from bitface.quant.fused import fused
from bitface.quant.post_training import calibrated
from bitface.runtime.bench import race, ratio_of
from bitface.runtime.embedder import Embedder
from bitface.runtime.model import Model
from bitface.training import Trainee, Training, TrainingFaces, fit

ROUNDS = 5
LOSS: dict[str, Any] = {"feature": {"form": "cosine"}}


def network(activation: str) -> Network:
    """A MobileFaceNet whose BatchNorms have seen noise."""
    torch.manual_seed(0)
    module = backbones.create("mobilefacenet", activation=activation.lower())
    with torch.no_grad():
        module.train()(torch.randn(8, 3, 112, 112))
    return from_module(module.eval(), "rgb-127.5-128", f"MobileFaceNet {activation}")


def steps(net: Network, bits: str, batch: int) -> dict[tuple[str, str], Callable[[], Any]]:
    """One training step of each contender and precision."""
    faces = TrainingFaces(np.random.default_rng(0).integers(0, 256, (batch, 112, 112, 3), dtype=np.uint8))
    targets = np.random.default_rng(1).standard_normal((2, batch, net.embedding_size)).astype(np.float32)
    teacher = Embedder(Model(net.name, "float", net), "openvino")
    assert net.preprocess is not None
    made: dict[tuple[str, str], Callable[[], Any]] = {}

    def add(name: str, module: Any, run: Any = None, live: bool = False, learns: bool = False) -> None:
        for precision in ("f32", "bf16"):
            training = Training(
                loss=LOSS, epochs=1, batch=batch, precision=precision, schedule="constant", rate=1e-6,
                views="mild" if live else "flip", teacher="live" if live else "cached",
            )  # fmt: skip
            trainee = Trainee(
                module, build_sum(LOSS, net.embedding_size, 0), faces, net.preprocess,
                teacher.embed if live else None, None if live else targets, train_statistics=learns, run=run,
            )  # fmt: skip
            made[(name, precision)] = partial(fit, trainee, training)

    add("full precision", net.graph, learns=True)
    folded = passes.fold(net.graph)
    add("full precision, folded", folded)
    student = calibrated(net, faces.images[:16], BitPlan.parse(bits))
    learn.make_learnable(student)
    add(f"quantization-aware {bits}", student.graph, fused(student.graph))
    add(f"quantization-aware {bits}, live teacher", student.graph, fused(student.graph), live=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", default="w4a4")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10, help="for each contender")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for activation in ("PReLU", "ReLU6"):
        times = race(steps(network(activation), options.bits, options.batch), ROUNDS, options.seconds)
        for (name, precision), values in times.items():
            base = times[("full precision", precision)]
            ratio, interval, note = ratio_of(base, values, ROUNDS)
            rows.append(
                {
                    "network": f"MobileFaceNet {activation}",
                    "training": name,
                    "precision": precision,
                    "images/s": options.batch * 1e3 / float(np.median(values)),
                    "ratio": None if values is base else ratio,
                    "ratio_interval": None if values is base else interval,
                    "note": note,
                }
            )
    save("training_speed", rows, batch=options.batch, threads=options.threads)


if __name__ == "__main__":
    main()

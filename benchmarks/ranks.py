"""Whether a training on several ranks is the same as on one: losses of its first steps, and of resumed ones.

    python benchmarks/ranks.py [--steps 50]

A small MobileFaceNet learns from noise at w4a4, as one process, and as two and four ranks over gloo, each on one
thread; a training of two ranks is stopped half-way and goes on with one rank and with four. The loss of every step is
held against that of one process.

Ranks add in another order, and so differ in the last digit of a float. Whether that alone makes two trainings part is
told by two more: one process whose first weights are moved by their last digit; and two and four ranks that before each
step are given the state which one process had there, so that no step sees what another has made of a difference.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lib.common import save
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitface import backbones, ranks, signals
from bitface.graph import from_module
from bitface.losses import build_sum
from bitface.preprocess import Size
from bitface.quant import BitPlan, Calibration, learn
from bitface.quant.fused import fused
from bitface.quant.post_training import calibrated
from bitface.training import Interrupted, Trainee, Training, TrainingFaces, fit

BATCH, SIZE, PEOPLE = 32, Size(32, 32), 40
LOSSES: dict[str, dict[str, Any]] = {
    "feature": {"loss": {"feature": {"form": "cosine"}}},
    "EKD": {"loss": {"ekd": {"memory": 512}}, "per_identity": 2},
    "ArcFace, classes split": {"loss": {"arcface": {}}},
    "ArcFace, half of the classes a step": {"loss": {"arcface": {"sample": 0.5}}},
    "RCM": {"loss": {"rcm": {}}, "per_identity": 2},
}


def student(name: str, steps: int) -> tuple[Trainee, Training]:
    """What is trained, and how."""
    torch.manual_seed(0)
    module = backbones.create("mobilefacenet:0.25", 32, input_size=SIZE)
    with torch.no_grad():
        module.train()(torch.randn(8, 3, *SIZE))
    network = from_module(module.eval(), "rgb-127.5-128", "MobileFaceNet 0.25", SIZE)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (320, *SIZE, 3), dtype=np.uint8)
    faces = TrainingFaces(images, np.arange(len(images)) % PEOPLE)
    learner = calibrated(network, images[:32], BitPlan.parse("w4a4"), Calibration("minmax"))
    learn.make_learnable(learner)
    training = Training(
        **LOSSES[name], epochs=steps * BATCH / len(images), batch=BATCH, precision="f32", device="cpu",
        schedule="constant", optimizer="sgd", rate=1e-3,
    )  # fmt: skip
    loss = build_sum(training.loss, 32, PEOPLE, generator=torch.Generator().manual_seed(0))
    targets = random.standard_normal((2, len(images), 32)).astype(np.float32)
    assert network.preprocess is not None
    trainee = Trainee(learner.graph, loss, faces, network.preprocess, None, targets, run=fused(learner.graph))
    return trainee, training


class Steps:
    """The losses of a training, and the state and the gradients after each of its steps, in one file a step.

    Args:
        keep: a folder that they are written to.
        same: a folder of another training, whose state is taken before each step.
    """

    def __init__(self, trainee: Trainee, stop: int = 0, keep: Path | None = None, same: Path | None = None) -> None:
        self.trainee, self.stop, self.keep, self.same = trainee, stop, keep, same
        self.losses: list[float] = []
        self.gradients: list[float] = []
        self.asked = False

    def __call__(self, status: Any) -> None:
        self.losses.append(status.loss)
        self.asked = len(self.losses) == self.stop - 1
        if self.keep is None and self.same is None:
            return
        modules = {"model": self.trainee.model, "loss": self.trainee.loss}
        named = [(f"{key}/{name}", p) for key, one in modules.items() for name, p in one.named_parameters()]
        gradients = {f"gradient/{name}": _whole(p.grad, name) for name, p in named if p.grad is not None}
        file = f"{status.step}.safetensors"
        if self.keep:
            state = {f"{key}/{name}": value for key, one in modules.items() for name, value in one.state_dict().items()}
            save_file(
                {key: value.contiguous().clone() for key, value in {**state, **gradients}.items()}, self.keep / file
            )
        if self.same:
            other = load_file(self.same / file)
            ours, theirs = (torch.cat([one[key].flatten() for key in gradients]) for one in (gradients, other))
            self.gradients.append(float((ours - theirs).norm() / theirs.norm()))
            for key, one in modules.items():
                own = {name: _part(other[f"{key}/{name}"], value) for name, value in one.state_dict().items()}
                one.load_state_dict(own)


def _whole(value: Tensor, name: str) -> Tensor:
    """All classes' rows of what each rank has a part of."""
    split = name.startswith("loss/") and name.endswith("weight") and ranks.count() > 1
    return ranks.gathered(value, PEOPLE) if split else value


def _part(value: Tensor, own: Tensor) -> Tensor:
    return value if value.shape == own.shape else value[ranks.part(PEOPLE)]


def trained(name: str, steps: int, stop: int, moved: bool, folder: Path, same: str | None) -> dict[str, list[float]]:
    """The losses of a training, of all its steps or of those up to `stop`; and how far gradients are from another's."""
    trainee, training = student(name, steps)
    if moved:
        with torch.no_grad():
            for parameter in trainee.model.parameters():
                parameter.copy_(torch.nextafter(parameter, torch.full_like(parameter, torch.inf)))
    folder.mkdir(exist_ok=True)
    alone = ranks.count() == 1 and not stop and not moved and not (folder / "checkpoint").exists()
    told = Steps(trainee, stop, folder if alone else None, Path(same) / folder.name if same else None)
    signals.asking = lambda: nullcontext(lambda: told.asked)  # type: ignore
    with suppress(Interrupted):
        fit(trainee, training, {"training": name}, folder / "checkpoint", resume=True, watch=told)
    return {"losses": told.losses, "gradients": told.gradients}


Result = dict[str, dict[str, list[float]]]


def launched(count: int, folder: Path, steps: int, *options: str) -> Result:
    """Every training on so many ranks; in `folder` they go on from where one before has stopped."""
    folder.mkdir(exist_ok=True)
    script = [__file__, "--steps", str(steps), "--worker", str(folder), *options]
    command = [sys.executable, *script]
    if count > 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", *script]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    result: Result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result


def largest(losses: list[float], alone: list[float]) -> float:
    """The largest relative difference of any step."""
    return max(abs(ours - theirs) / abs(theirs) for ours, theirs in zip(losses, alone, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stop", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--moved", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--same", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        ranks.begin()
        result = {
            name: trained(name, options.steps, options.stop, options.moved, options.worker / str(number), options.same)
            for number, name in enumerate(LOSSES)
        }
        if ranks.is_first():
            (options.worker / "result.json").write_text(json.dumps(result), encoding="utf-8")
        ranks.end()
        return
    with TemporaryDirectory() as text:
        place, steps = Path(text), options.steps
        alone = launched(1, place / "1", steps)
        results = {"1, weights moved by their last digit": launched(1, place / "moved", steps, "--moved")}
        for count in (2, 4):
            results[f"{count}"] = launched(count, place / f"{count}", steps)
            same = launched(count, place / f"{count} same", steps, "--same", str(place / "1"))
            results[f"{count}, at the same states"] = same
        begun = launched(2, place / "begun", steps, "--stop", str(steps // 2))
        for count in (1, 4):
            folder = Path(shutil.copytree(place / "begun", place / f"2, then {count}"))
            rest = launched(count, folder, steps)
            joined = {name: {"losses": [*begun[name]["losses"], *rest[name]["losses"]]} for name in LOSSES}
            results[f"2, then {count}"] = joined
    rows = [
        {
            "loss": name,
            "ranks": count,
            "largest difference": largest(result[name]["losses"], alone[name]["losses"]),
            "gradient": max(result[name].get("gradients") or (), default=None),
        }
        for name in LOSSES
        for count, result in results.items()
    ]
    save("ranks", rows, steps=options.steps, batch=BATCH)


if __name__ == "__main__":
    main()

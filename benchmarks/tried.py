"""What was tried for trainings at four bits and isn't in the library, in short runs.

    python benchmarks/tried.py [--bits w4a4s8] [--steps 160] [--seeds 0] [--only TEXT]

A MobileFaceNet (PReLU) is calibrated once, its streams turned by Hadamard matrices, and trained from there as
`best-w4a4s8` trains, for so many steps of 64 LFW faces that are in no pair, each time with one change: the mean cosine
to the teacher on 256 other such faces at the end, with its standard error. What the library lacks is written here.
Seeds draw other batches and views. Rows are saved one by one.
"""

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from lib.common import known, networks, save
from lib.held_integers import HeldIntegers, HeldLsqQuantizer, Hold
from lib.learning import network_and_faces
from torch import Tensor

from bitface.graph import ops, passes
from bitface.inputs import recipes
from bitface.quant import BitPlan
from bitface.quant.post_training import calibrated
from bitface.quant.quantizers import QUANTIZERS, Quantizer
from bitface.quant.student import Student
from bitface.runtime.machine import describe
from bitface.runtime.teacher import teacher_of
from bitface.training import TrainingFaces, train
from bitface.training import loop as loops
from bitface.training import qat as trainings
from bitface.training.distil import embedded
from bitface.training.optimizer import optimizer_of
from bitface.training.whole_batch import WholeBatch

QUANTIZERS.register("lsq-held")(HeldLsqQuantizer)
NETWORK = "MobileFaceNet PReLU"
KEYS = ("network", "bits", "changes", "steps", "seed")


@dataclass(frozen=True)
class Way:
    """A change: settings of the training, and what is put in the place of the library's own while it runs."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "lsq"
    during: Callable[[Student], AbstractContextManager[Any]] = lambda _: nullcontext()


class Muon(torch.optim.Adam):
    """Adam, but for dense weights, whose momentum is made orthogonal before it is followed (Jordan et al., 2024)."""

    def __init__(self, groups: list[dict[str, Any]], dense: list[Tensor], rate: float) -> None:
        super().__init__(groups, lr=rate)
        self.add_param_group({"params": dense, "highest": rate, "weight_decay": 0.0})
        self.momentum = [torch.zeros_like(weight) for weight in dense]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[-1]
        for weight, momentum in zip(group["params"], self.momentum, strict=True):
            momentum.lerp_(weight.grad, 0.05)
            direction = orthogonal(weight.grad.lerp(momentum, 0.95).flatten(1))
            # As long as Adam's steps are (Liu et al., 2025).
            weight -= group["lr"] * 0.2 * max(direction.shape) ** 0.5 * direction.view_as(weight)
            weight.grad = None
        super().step(closure)


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the nearest matrix with orthonormal rows or columns: five Newton-Schulz steps."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (2.0315 * square @ square - 4.775 * square) @ x
    return x.T if tall else x


def muon(_: Student) -> AbstractContextManager[Any]:
    def made(*arguments: Any) -> torch.optim.Optimizer:
        groups = [
            {key: group[key] for key in ("params", "highest", "weight_decay")}
            for group in optimizer_of(*arguments).param_groups
        ]
        dense = [weight for weight in groups[0]["params"] if weight.shape[1] > 1 and min(weight.flatten(1).shape) > 15]
        chosen = {id(weight) for weight in dense}
        groups[0]["params"] = [weight for weight in groups[0]["params"] if id(weight) not in chosen]
        return Muon([group for group in groups if group["params"]], dense, arguments[2].rate)

    return patch.object(loops, "optimizer_of", made)


def short_memory(_: Student) -> AbstractContextManager[Any]:
    """Adam's second moment over fifty steps in the place of a thousand."""

    def made(*arguments: Any) -> torch.optim.Optimizer:
        optimizer = optimizer_of(*arguments)
        for group in optimizer.param_groups:
            group["betas"] = (0.9, 0.98)
        return optimizer

    return patch.object(loops, "optimizer_of", made)


def order_of_bits(student: Student) -> AbstractContextManager[Any]:
    """Activations of 4 bits have 8 in the first quarter of the steps, 6 in the second (PROFIT, Park and Yoo, 2020)."""
    advance, now = loops._Run.advance, 4
    limits = dict[Quantizer, tuple[int, int]]()

    def begin(bits: int) -> None:
        finer = (2**bits - 1) / (2**now - 1)
        with torch.no_grad():
            for one, (low, high) in limits.items():
                wider = (0, 2**bits - 1) if low == 0 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
                one.limits = (low, high) if bits == 4 else wider
                for name, parameter in one.named_parameters():
                    parameter.copy_(parameter - np.log(finer) if name == "log_scale" else parameter * finer)

    def ordered(run: Any, *arguments: Any) -> None:
        nonlocal now
        progress = run.step / run.steps
        bits = 8 if progress < 0.25 else 6 if progress < 0.5 else 4
        if bits != now:
            if not limits:  # the quantizers that learn are there now
                found = student.activation_quantizers.values()
                limits.update((one, one.limits) for one in found if one.bits == 4)
            begin(bits)
            now, run.best, run.best_figure = bits, {}, -float("inf")  # what was best had more bits
        advance(run, *arguments)

    return patch.object(loops._Run, "advance", ordered)


@contextmanager
def features(student: Student) -> Iterator[None]:
    """Tensors of the streams learn to be the teacher's on the student's grid; the weight falls to 0 at half the steps.

    After SQuaT (Park et al., 2024) and QFD (Zhu et al., 2023): `Σ ‖F_S - Q_S(F_T)‖² / Var Q_S(F_T)`.
    """
    teacher, seen = student.as_float().eval(), dict[str, Tensor]()
    sources = {str(node.target): node.all_input_nodes[0] for node in student.graph.graph.nodes if node.all_input_nodes}
    linear = (ops.Add, *ops.LAYERS)
    names = [
        name
        for name in student.activation_quantizers
        if isinstance(passes.module_of(student.graph, sources[name]), linear)
    ]
    for name in names:
        teacher.get_submodule(name).register_forward_hook(
            lambda _, inputs, __, name=name: seen.__setitem__(f"teacher {name}", inputs[0])
        )
    forward, advance, progress = WholeBatch.forward, loops._Run.advance, 0.0

    def followed(run: Any, *arguments: Any) -> None:
        nonlocal progress
        progress = run.step / run.steps
        advance(run, *arguments)

    def both(batch: Any, inputs: Tensor, *arguments: Any) -> Tensor:
        hooks = [
            student.graph.get_submodule(name).register_forward_hook(
                lambda _, __, output, name=name: seen.__setitem__(f"student {name}", output)
            )
            for name in names
        ]
        value: Tensor = forward(batch, inputs, *arguments)
        for hook in hooks:
            hook.remove()
        weight = 0.5 * max(0.0, 1 - 2 * progress)
        if weight:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=batch.half):
                teacher(inputs)
            errors = []
            for name in names:
                own = seen[f"student {name}"]
                with torch.no_grad():
                    expected = student.graph.get_submodule(name).quantize(seen[f"teacher {name}"].to(own.dtype)).float()
                errors.append((own.float() - expected).square().mean() / expected.var())
            batch._value = batch._value + weight * torch.stack(errors).mean()
        seen.clear()
        return value

    with patch.object(WholeBatch, "forward", both), patch.object(loops._Run, "advance", followed):
        yield


def held(way: Hold) -> Way:
    """Integers of weights kept from going back and forth (see `lib.held_integers`)."""

    @contextmanager
    def during(_: Student) -> Iterator[None]:
        advance, integers = loops._Run.advance, list[HeldIntegers]()

        def watched(run: Any, *arguments: Any) -> None:
            if not integers:  # the quantizers that learn are there now
                integers.append(HeldIntegers(run.model, way))
                run.optimizer.register_step_pre_hook(lambda *_: integers[0].dampen(run.step, run.steps))
                run.optimizer.register_step_post_hook(lambda *_: integers[0].follow(run.step + 1, run.steps))
            advance(run, *arguments)

        with patch.object(loops._Run, "advance", watched):
            yield

    return Way(weights="lsq-held", during=during)


WAYS = {
    "none": Way(),
    "twice the rate": Way({"rate": 2e-3}),
    "half the rate": Way({"rate": 5e-4}),
    "batches of 32": Way({"batch": 32, "rate": 7e-4}),
    "batches of 16": Way({"batch": 16, "rate": 5e-4}),
    "Adam, β₂ .98": Way(during=short_memory),
    "Muon": Way(during=muon),
    "features on the student's grid": Way(during=features),
    "8, 6, then 4 bits": Way(during=order_of_bits),
    "what oscillates is frozen": held(Hold(frequency=0.01)),
    "weights drawn to their levels": held(Hold(dampen=1e-3)),
    "integers frozen in the last tenth": held(Hold(last=0.1)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", default="w4a4s8")
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", default="", help="changes whose name holds this text")
    options = parser.parse_args()
    recipe = recipes.read("best-w4a4s8")
    assert isinstance(recipe, recipes.Recipe)
    assert recipe.method is not None
    calibration, plan = replace(recipe.method.calibration, rotate="hadamard"), BitPlan.parse(options.bits)
    network, faces = network_and_faces(NETWORK, None, 0)
    images = np.asarray(faces.learning)
    assert network.preprocess is not None
    begun = calibrated(network, images[:512], plan, calibration)
    for seed in map(int, options.seeds.split(",")):
        for changes, way in WAYS.items():
            row: dict[str, Any] = {
                "network": NETWORK, "bits": options.bits, "changes": changes, "steps": options.steps, "seed": seed,
            }  # fmt: skip
            measured = [one for one in known("tried") if "before" not in one]
            if options.only not in changes or any(all(one[key] == row[key] for key in KEYS) for one in measured):
                continue
            training = replace(
                recipe.method.training, epochs=options.steps * 64 / len(images), min_steps=0, seed=seed,
                **way.settings,
            )  # fmt: skip
            teacher = teacher_of(networks()[NETWORK][0], network, training)
            student = copy.deepcopy(begun)
            method = replace(recipe.method, calibration=calibration, training=training, weights=way.weights)
            with patch.object(trainings, "calibrated", lambda *_, student=student: student), way.during(student):
                _, _, history = train(network, TrainingFaces(images), faces.held_out, plan, method, teacher)
            cosines = torch.nn.functional.cosine_similarity(
                embedded(student.graph, network.preprocess, faces.held_out),
                torch.from_numpy(teacher.embed(faces.held_out)),
            )
            row |= {
                "cosine": round(float(cosines.mean()), 4),
                "standard error": round(float(cosines.std()) / len(cosines) ** 0.5, 4),
                "images/s": round(history.per_second, 1), "cpu": describe()["cpu"],
            }  # fmt: skip
            save("tried", [*known("tried"), row])


if __name__ == "__main__":
    main()

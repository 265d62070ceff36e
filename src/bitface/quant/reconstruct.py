"""Post-training reconstruction: each unit learns to give what the float network gives, from a few hundred faces.

AdaRound (Nagel et al., ICML 2020) learns which way weights are rounded, BRECQ (Li et al., ICLR 2021) learns it for a
block at a time, with errors weighted by what they do to the result, and QDrop (Wei et al., ICLR 2022) quantizes only
a random share of the activations meanwhile, so that the roundings don't depend on one another's errors. These nets
have no task loss here: what counts in its place is the direction of the embedding.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.cpu import keep_memory
from bitface.device import computing, precision_of
from bitface.errors import BitfaceError, UsageError, nearest
from bitface.quant import learn
from bitface.quant.batches import Progress
from bitface.quant.fused import ActivationQuantizer, fused
from bitface.quant.quantizers import Quantizer, RoundingQuantizer
from bitface.quant.student import Student
from bitface.quant.units import Unit, part, units_of

# Below this many faces the roundings would fit the faces, not the network.
FEWEST = 32
# Faces at a time where nothing learns.
_BLOCK = 32


@dataclass(frozen=True)
class Reconstruction:
    """How units are rebuilt.

    Attributes:
        steps: for each unit.
        batch: faces in a step.
        drop: half of every activation's values stay float in a step, others each time (QDrop).
        weighted: errors count by the squared gradient of the embedding's direction (BRECQ's Fisher weights).
        tuning: steps in which, at last, scales and biases of all units learn together; roundings stay.
        rate, scale_rate: of roundings, and of scales and biases.
        scale_weights: scales of weights learn with their roundings (Jeon et al., CVPR 2023, GENIE-M), not just at last.
        decided: the pressure on roundings to be 0 or 1, in units of what a weight's rounding adds to the error.
        layers: how many layers a unit has at most, unless a residual block has more.
        memory: bytes that the tensors between two units may take; fewer faces are used where they would take more.
    """

    steps: int = 200
    batch: int = 32
    drop: bool = True
    weighted: bool = True
    tuning: int = 800
    rate: float = 5e-2
    scale_rate: float = 5e-3
    scale_weights: bool = True
    decided: float = 1.0
    layers: int = 3
    memory: int = 3 << 30
    seed: int = 0


# What `bitface quantize --effort` takes.
EFFORTS: dict[str, Reconstruction | None] = {
    "fast": None,
    "balanced": Reconstruction(steps=50, tuning=200),
    "max": Reconstruction(),
}


def effort(word: str, seed: int = 0) -> Reconstruction | None:
    """The settings of `fast` (none), `balanced` or `max`. Raises UsageError for another word."""
    if word not in EFFORTS:
        raise UsageError(f"unknown effort '{word}'{nearest(word, EFFORTS)} (there are {', '.join(EFFORTS)})")
    settings = EFFORTS[word]
    return replace(settings, seed=seed) if settings else None


def reconstruct(
    student: Student,
    teacher: GraphModule,
    images: Tensor,
    settings: Reconstruction,
    progress: Progress | None = None,
    device: torch.device = torch.device("cpu"),
) -> None:
    """Learns roundings, scales and biases of a calibrated student, in place; its quantizers are fixed ones again.

    Args:
        teacher: the float graph under the same names (`Student.as_float` before biases were corrected).
        images: preprocessed `[N, 3, H, W]`.
        device: where it is computed; student and teacher are on the CPU before and after.

    Raises:
        BitfaceError: fewer images than `FEWEST`, or a unit's error becomes NaN or infinite.
    """
    if len(images) < FEWEST:
        raise BitfaceError(
            f"{len(images)} faces are too few to reconstruct from; give {FEWEST} or more (1,024 are usual), or take "
            "the effort 'fast'"
        )
    keep_memory()
    for layer in student.quantized_layers().values():
        if layer.weight_quantizer.bits > 1:
            layer.weight_quantizer = RoundingQuantizer(layer.weight, layer.weight_quantizer)
    learn.let_activations_learn(student)
    graphs = (student.graph, teacher)
    for graph in graphs:
        graph.to(device)
    work = _Work(student, teacher, images.to(device), settings, progress)
    with computing(device, "bf16" if work.half else "f32"):
        work.carry_out()
    for graph in graphs:
        graph.to("cpu")
    learn.settle(student)


class _Work:
    """The units of one student, one after the other, and what flows between them."""

    def __init__(
        self,
        student: Student,
        teacher: GraphModule,
        images: Tensor,
        settings: Reconstruction,
        progress: Progress | None,
    ) -> None:
        self.student, self.teacher, self.settings, self.progress = student, teacher, settings, progress
        self.units = units_of(student.graph, settings.layers)
        self.random = torch.Generator().manual_seed(settings.seed)
        # What bf16 rounds away is much beside 8 bits, and little beside fewer.
        narrow = any(layer.weight_quantizer.bits < 8 for layer in student.quantized_layers().values())
        self.device = images.device
        self.half = narrow and precision_of("auto", self.device) == "bf16"
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.done, self.total = 0, len(self.units) * settings.steps + settings.tuning

    def carry_out(self) -> None:
        weights = self._weights() if self.settings.weighted and len(self.units) > 1 else {}
        plain = quantized = self.images[: self._affordable()]
        for unit in self.units[:-1]:
            target = _outputs(part(self.teacher, unit.source, unit.result), plain)
            self._rebuild(unit, plain, quantized, target, weights.get(unit.result))
            quantized = _outputs(part(self.student.graph, unit.source, unit.result), quantized)
            plain = target
        target = _outputs(part(self.teacher, self.units[-1].source, self.units[-1].result), plain)
        self._rebuild(self.units[-1], plain, quantized, target, None)
        if self.settings.tuning:
            self._tune()

    def _affordable(self) -> int:
        """How many faces fit into the memory: three tensors live between two units, in half precision."""
        sizes = [self.images[0].numel() * 4]
        names = {unit.result for unit in self.units[:-1]}
        for node in self.student.graph.graph.nodes:
            if node.name in names:
                sizes.append(int(torch.Size(node.meta["shape"][1:]).numel()) * 2)
        return min(len(self.images), max(self.settings.batch, self.settings.memory // (3 * max(sizes))))

    def _rebuild(self, unit: Unit, plain: Tensor, quantized: Tensor, target: Tensor, weight: Tensor | None) -> None:
        settings = self.settings
        run = fused(part(self.student.graph, unit.source, unit.result))
        roundings = [q for q in _quantizers(run) if isinstance(q, RoundingQuantizer)]
        scales = [p for q in _quantizers(run) if not q.weights for p in q.parameters()]
        scales += [q.log_scale for q in roundings] if settings.scale_weights else []
        optimizer = torch.optim.Adam(
            [
                {"params": [q.choice for q in roundings], "lr": settings.rate},
                {"params": [*scales, *_biases(run)], "lr": settings.scale_rate},
            ]
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [_constant, _falling(settings.steps)])
        last = unit is self.units[-1]
        error_of = _Direction() if last else _Squares(target, weight)
        coins = np.random.default_rng(settings.seed) if settings.drop else None
        pressure = settings.decided * self._share_of_error(run, roundings, error_of, quantized, target)
        with _dropping(run, coins):
            for step in range(settings.steps):
                indices = torch.randint(len(plain), (settings.batch,), generator=self.random)
                x = quantized[indices].float()
                x = _mixed(x, plain[indices].float(), coins) if coins else x
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                    y = run(x)
                error = error_of(y.float(), target[indices].float())
                loss = error + pressure * self._undecided(roundings, step)
                if not torch.isfinite(loss):
                    raise BitfaceError(f"the error of {', '.join(unit.layers)} is {float(loss)}; use more bits there")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                self._advance()
        for quantizer in roundings:
            quantizer.harden()

    def _share_of_error(
        self,
        run: GraphModule,
        roundings: list[RoundingQuantizer],
        error_of: "_Squares | _Direction",
        quantized: Tensor,
        target: Tensor,
    ) -> float:
        """What the rounding of one weight to the nearest adds to the error of the unit, on the average."""
        count = sum(quantizer.choice.numel() for quantizer in roundings)
        with torch.no_grad():
            for quantizer in roundings:
                quantizer.hard = True
            error = error_of(run(quantized[:_BLOCK].float()).float(), target[:_BLOCK].float())
            for quantizer in roundings:
                quantizer.hard = False
        return float(error) / max(count, 1)

    def _undecided(self, roundings: list[RoundingQuantizer], step: int) -> Tensor | float:
        """The pressure on roundings, after the first fifth of the steps: β falls from 20 to 2."""
        share = (step / self.settings.steps - 0.2) / 0.8
        return sum((q.undecided(20 - 18 * share) for q in roundings), torch.zeros(())) if share > 0 else 0.0

    def _tune(self) -> None:
        """All scales and biases together, towards the directions of the teacher's embeddings; mirrored faces, too."""
        settings = self.settings
        run = fused(self.student.graph)
        scales = [p for q in _quantizers(run) for p in q.parameters() if p.requires_grad]
        parameters = [*scales, *_biases(run)]
        optimizer = torch.optim.Adam(parameters, lr=settings.scale_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _falling(settings.tuning))
        error_of = _Direction()
        sides = [self.images, self.images.flip(3)]
        targets = [_outputs(self.teacher, side) for side in sides]
        for step in range(settings.tuning):
            indices = torch.randint(len(self.images), (settings.batch,), generator=self.random)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                y = run(sides[step % 2][indices])
            optimizer.zero_grad(set_to_none=True)
            error_of(y.float(), targets[step % 2][indices]).backward()
            optimizer.step()
            schedule.step()
            self._advance()

    def _weights(self) -> dict[str, Tensor]:
        """For each unit but the last: what a squared error at each place of its output does to the embedding."""
        names = [unit.result for unit in self.units[:-1]]
        sums: dict[str, Tensor] = {}
        for x in self.images[: 2 * _BLOCK].split(_BLOCK // 2):
            values = _values(self.teacher, x, names)
            embedding = nn.functional.normalize(values.pop("").flatten(1))
            direction = torch.randn(embedding.shape, generator=self.random).to(embedding)
            gradients = torch.autograd.grad((embedding * direction).sum(), list(values.values()))
            for name, gradient in zip(values, gradients, strict=True):
                sums[name] = sums.get(name, torch.zeros(())) + gradient.square().sum(0)
        return {name: total / total.mean() for name, total in sums.items()}

    def _advance(self) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)


class _Squares:
    """The weighted squared error of a unit's output, in units of its variance, summed over channels."""

    def __init__(self, target: Tensor, weight: Tensor | None) -> None:
        some = target[:_BLOCK].float()
        self.weight = torch.ones(()) if weight is None else weight
        spread = (self.weight * (some - some.mean(0, keepdim=True)).square()).mean()
        self.factor = some.shape[1] / float(spread.clamp(min=torch.finfo(torch.float32).tiny))

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        return (self.weight * (y - target).square()).mean() * self.factor


class _Direction:
    """The squared distance of unit embeddings, in the same unit."""

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        y, target = (nn.functional.normalize(rows.flatten(1)) for rows in (y, target))
        return (y - target).square().sum(1).mean() * y.shape[1]


def _constant(step: int) -> float:
    return 1.0


def _falling(steps: int) -> Callable[[int], float]:
    """Half a cosine from 1 to 0."""
    return lambda step: (1 + math.cos(math.pi * step / steps)) / 2


def _outputs(graph: GraphModule, inputs: Tensor) -> Tensor:
    """What a stretch makes of all inputs, in half precision where that holds it."""
    result: Tensor | None = None
    with torch.no_grad():
        for start in range(0, len(inputs), _BLOCK):
            y = graph(inputs[start : start + _BLOCK].float())
            if result is None:
                kind = torch.float16 if y.dim() == 4 and float(y.abs().max()) < 1e4 else torch.float32
                form = torch.channels_last if y.dim() == 4 else torch.contiguous_format
                result = torch.empty((len(inputs), *y.shape[1:]), dtype=kind, device=y.device)
                result = result.contiguous(memory_format=form)
            result[start : start + len(y)] = y
    assert result is not None
    return result


def _values(graph: GraphModule, x: Tensor, names: list[str]) -> dict[str, Tensor]:
    """The values of named nodes, which gradients reach, and under "" the result."""
    values: dict[str, Tensor] = {}
    value = x.requires_grad_()
    source = next(iter(graph.graph.nodes)).name
    result = graph.graph.output_node().all_input_nodes[0].name
    for name in names:
        value = values[name] = part(graph, source, name)(value)
        source = name
    values[""] = part(graph, source, result)(value)
    return values


def _mixed(quantized: Tensor, plain: Tensor, random: np.random.Generator) -> Tensor:
    """`plain` at a random half of the places, `quantized` at the others."""
    # A bit for each value, in the order of memory: numbers between 0 and 1 would cost more than the layers do.
    bits = np.frombuffer(random.bytes(-(-quantized.numel() // 8)), np.uint8)
    coins = torch.from_numpy(np.unpackbits(bits, count=quantized.numel())).view(torch.bool).to(quantized.device)
    coins = coins.as_strided(quantized.shape, quantized.stride()) if _dense(quantized) else coins.view(quantized.shape)
    return torch.where(coins, plain, quantized)


def _dense(x: Tensor) -> bool:
    """Whether every place in memory is a value, in whatever order."""
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


@contextmanager
def _dropping(graph: GraphModule, random: np.random.Generator | None) -> Iterator[None]:
    """Lets a random half of every activation's values pass unquantized; without a generator, none.

    Gradients are those of the quantized values throughout: in place of them, dropped ones would have the same inside
    the range, and twice the memory and time would go into telling them apart.
    """

    def after_activation(module: ActivationQuantizer, args: tuple[Tensor], y: Tensor) -> None:
        mix(y, module.activation, args[0])

    def alone(module: Quantizer, args: tuple[Tensor], y: Tensor) -> None:
        mix(y, None, args[0])

    def mix(y: Tensor, activation: nn.Module | None, x: Tensor) -> None:
        assert random is not None
        with torch.no_grad():
            y.copy_(_mixed(y, activation(x) if activation else x, random))

    handles = []
    for module in graph.modules() if random else ():
        if isinstance(module, ActivationQuantizer):
            handles.append(module.register_forward_hook(after_activation))
        elif isinstance(module, Quantizer) and not module.weights:
            handles.append(module.register_forward_hook(alone))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _quantizers(graph: GraphModule) -> Iterator[Quantizer]:
    return (module for module in graph.modules() if isinstance(module, Quantizer))


def _biases(graph: GraphModule) -> list[Tensor]:
    layers = (module for module in graph.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    return [layer.bias for layer in layers if layer.bias is not None]

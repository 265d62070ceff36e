"""Whether a network goes all the way: what of it would be in integers on each target, and whether it really is.

A network in floating point is quantized to try it: with its faces where there are some, else with noise, as places of
quantizers don't depend on what they are set from.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError
from bitface.graph import Network, ops
from bitface.graph.builder import shape_of
from bitface.graph.integer import INTEGER_LAYERS, QuantizeDequantize
from bitface.graph.op_spec import spec_of, traits_of
from bitface.graph.passes import module_of
from bitface.graph.summary import tensor_table
from bitface.preprocess import parse, presets
from bitface.quant import BitPlan, Calibration, quantize
from bitface.scratch import scratch
from bitface.targets import DEFAULTS, Settings, written
from bitface.targets.registry import every, runs_here
from bitface.targets.start import start
from bitface.targets.write import write

# Enough to set ranges from, where only the places of quantizers matter.
_IMAGES = 2


@dataclass(frozen=True)
class TargetReadiness:
    """What a target would make of an integer network.

    Attributes:
        layers: that multiply: convolutions, linear layers, products of two tensors.
        in_integers: of those, how many it computes in integers.
        share: of all multiply-adds, those in integers, 0 to 1.
        obstacle: why it can't hold the network; None: it can.
        agreement: the least cosine between what it computes here and the simulation; None: not tried.
        failure: what writing or running it ended in; None: nothing, or not tried.
    """

    target: str
    title: str
    layers: int
    in_integers: int
    share: float
    obstacle: str | None = None
    agreement: float | None = None
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def as_integers(network: Network, images: np.ndarray | None = None, plan: BitPlan = BitPlan()) -> Network:
    """A network quantized in seconds, to see what becomes of it; its numbers are of no use.

    Args:
        images: uint8 RGB faces `[N, H, W, 3]`; None: noise.
    """
    preprocess = network.preprocess or parse(presets(network.channels)[1], network.size)
    if images is None:
        images = np.random.default_rng(0).integers(0, 256, (_IMAGES, *network.size, 3), dtype=np.uint8)
    calibration = Calibration("minmax", equalization=False, bias_correction=False)
    return quantize(network.with_preprocess(preprocess), images[:_IMAGES], plan, calibration)[0]


def check_writable(network: Network, plan: BitPlan, names: Sequence[str]) -> None:
    """Writes a network for targets as if its numbers were found already, and throws the files away: what a target
    lacks is said in seconds, not after hours.

    Args:
        names: of the targets; the default ones write whatever is read, and aren't tried.

    Raises:
        BitfaceError: a target can't be written; see `targets.write`.
    """
    if names := [name for name in names if name not in DEFAULTS]:
        student = as_integers(network, plan=plan)
        with scratch() as folder:
            for name in names:
                write(name, student, {}, folder / f"{name}{every()[name].suffix}")


def readiness(student: Network, names: Sequence[str] = ()) -> list[TargetReadiness]:
    """What each target would make of an integer network; without names, those that are written by default."""
    return [_of(student, name) for name in names or written()]


def tried(student: Network, facts: TargetReadiness) -> TargetReadiness:
    """The same, after it was written for the target and run here, as far as the target allows."""
    target = every()[facts.target]
    if facts.obstacle or not runs_here(facts.target):
        return facts
    assert student.preprocess is not None
    images = np.random.default_rng(1).integers(0, 256, (2, *student.size, 3), dtype=np.uint8)
    batch = student.preprocess(images)
    expected = start("torch", student)(batch)
    try:
        with scratch() as folder:
            source: Network | Path = student
            if target.emit is not None:
                source = folder / f"net{target.suffix}"
                write(facts.target, student, {}, source)
            run = start(facts.target, source, Settings(batch=target.fixed_batch or 1))
            rows = np.concatenate([run(image[None]) for image in batch])
    except BitfaceError as error:
        return replace(facts, failure=str(error))
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float(((rows * expected).sum(1) / norms.clip(1e-12)).min())
    return replace(facts, agreement=cosine)


def stays_float(student: Network) -> list[dict[str, Any]]:
    """What an integer network keeps in floating point, by reason: `reason`, `count`, `kinds` (operator → count)."""
    graph = student.graph
    kinds = {str(node.target): _kind(module_of(graph, node)) for node in graph.graph.nodes}
    by_reason: dict[str, Counter[str]] = {}
    for entry in tensor_table(student)[1]:
        if entry["role"] == "operator":
            name = kinds.get(entry["name"], "operator")
            reason = entry["reason"]
            by_reason.setdefault(reason, Counter())[name] += 1
    return [
        {"reason": reason, "count": counts.total(), "kinds": dict(counts.most_common())}
        for reason, counts in sorted(by_reason.items(), key=lambda item: -item[1].total())
    ]


def _of(student: Network, name: str) -> TargetReadiness:
    target, graph = every()[name], student.graph
    layers = in_integers = whole = part = 0
    for node in graph.graph.nodes:
        module = module_of(graph, node)
        spec = None if module is None else spec_of(module)
        if module is None or spec is None:
            continue
        products = spec.multiply_adds(module, [shape_of(source) for source in node.all_input_nodes], shape_of(node))
        if not products:
            continue
        layers, whole = layers + 1, whole + products
        eligible = isinstance(module, INTEGER_LAYERS) or traits_of(module).arithmetic
        widths = [_width(graph, source) for source in node.all_input_nodes]
        rounded = eligible and all(width and width <= target.holds.integer_bits for width in widths)
        if rounded and _kind(module) in target.holds.operators:
            in_integers, part = in_integers + 1, part + products
    obstacle = target.holds.obstacle(graph)
    return TargetReadiness(name, target.title, layers, in_integers, part / whole if whole else 0.0, obstacle)


def _width(graph: GraphModule, node: Node) -> int:
    """The bits of a tensor, seen through what only moves numbers; 0: it isn't rounded."""
    module = module_of(graph, node)
    if isinstance(module, QuantizeDequantize):
        return module.bits
    traits = traits_of(module)
    return _width(graph, node.all_input_nodes[0]) if traits.moves or traits.keeps_levels else 0


def _kind(module: Any) -> str:
    """The operator of a module, an integer one's by the name that it has in floating point."""
    return "" if module is None else (ops.op_name(module) or type(module).__name__).removeprefix("Integer")

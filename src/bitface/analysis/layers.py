"""Where in the network the student leaves its teacher: both graphs side by side, tensor by tensor.

The student's graph is the teacher's folded one with quantizers in it, and its nodes keep their names. Tensors of one
name are compared after the best scale of each channel: equalization moves such scales into the next layer, so that they
are no damage. The quantizers are compared too, with the teacher's tensor that they round.

What a layer adds is told apart from what it is given: the teacher's own layer is run on the student's input as well. A
layer may raise or lower noise that is there already, quantized or not; only what it does beyond that is its own.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.analysis.ranges import Range, RangeWatch
from bitface.errors import BitfaceError
from bitface.graph import ops, passes
from bitface.graph.builder import shape_of
from bitface.graph.integer import QuantizeDequantize

IMAGE = "image"
QUANTIZER = "quantizer"
# The damage starts where noise rises by this factor at least, in dB. What is below a tenth of the embedding's noise
# doesn't count as noise: a rise from nearly nothing to very little harms nobody.
_START_DB = 3.0
_HARMLESS = 0.1
_MOST_DB = 120.0


@dataclass(frozen=True)
class Point:
    """One tensor, in teacher and student.

    Attributes:
        name: of the node; `kind`: its operator, `quantizer` or `image`.
        bits: of the weights or of the quantizer; None: in floating point.
        snr: energy of the teacher's tensor over the energy of the difference, dB, 120 at most.
        before: the `snr` that it would have if the node itself were the teacher's, on the student's input.
        cosine: of the two tensors, all values of all faces as one vector.
        rise: from `before` to `snr`, how much noise the node adds, dB, what is harmless aside; see `start_of`.
    """

    name: str
    kind: str
    bits: int | None
    snr: float
    before: float
    cosine: float
    rise: float = 0.0


@dataclass(frozen=True)
class Layers:
    """All points in the order of the network, and every quantizer of activations.

    Attributes:
        start: the point that starts the damage; None where none stands out.
    """

    points: tuple[Point, ...]
    ranges: tuple[Range, ...]
    start: Point | None
    faces: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "points": [asdict(point) for point in self.points],
            "ranges": [one.to_json() for one in self.ranges],
            "start": asdict(self.start) if self.start else None,
            "faces": self.faces,
        }


def compare_layers(
    teacher: GraphModule,
    student: GraphModule,
    batches: Callable[[], Iterator[tuple[Tensor, Tensor]]],
    progress: Callable[[int], None] | None = None,
) -> Layers:
    """Runs both graphs side by side; no more than one batch's live tensors are held.

    Args:
        teacher: folded (see `graph.passes.fold`).
        student: the integer graph of a student of it; or another folded float graph with the same names.
        batches: gives the preprocessed images for teacher and student, `[B, 3, H, W]` each.
        progress: is told how many faces are done.

    Raises:
        BitfaceError: the graphs have no tensor in common, or not in the same order; or one holds NaN or infinity.
    """
    names = _common(teacher, student)
    tallies: dict[str, _Tally] = {}
    inherited_tallies: dict[str, _Tally] = {}
    watches: dict[str, RangeWatch] = {}
    faces = 0
    with torch.no_grad():
        for first, second in batches():
            for node, expected, value, inputs in _side_by_side(teacher, student, first, second, names):
                name, module = _name(node), passes.module_of(student, node)
                tallies.setdefault(name, _Tally()).add(expected, value)
                if isinstance(module, QuantizeDequantize):
                    watch = RangeWatch(name, _name(node.all_input_nodes[0]), module)
                    watches.setdefault(name, watch).update(inputs[0])
                elif module is not None and module.state_dict():
                    inherited = _as_teacher(teacher, node, inputs, tallies)
                    inherited_tallies.setdefault(name, _Tally()).add(expected, inherited)
            faces += len(first)
            if progress:
                progress(faces)
    points = _points(student, tallies, inherited_tallies)
    return Layers(tuple(points), tuple(watch.result() for watch in watches.values()), start_of(points), faces)


def start_of(points: Sequence[Point]) -> Point | None:
    """The point that adds most noise to what it was given; None below 3 dB."""
    best = max(points, key=lambda point: point.rise, default=None)
    return best if best is not None and best.rise >= _START_DB else None


class _Tally:
    """Sums over faces for each channel: teacher², student², teacher·student."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None

    def add(self, x: Tensor, y: Tensor) -> None:
        x, y = (value.transpose(0, 1).flatten(1).double() for value in (x, y))
        sums = torch.stack([(x * x).sum(1), (y * y).sum(1), (x * y).sum(1)])
        if not torch.isfinite(sums).all():
            raise BitfaceError("a tensor holds NaN or infinity")
        self.sums = sums if self.sums is None else self.sums + sums

    def scales(self) -> Tensor:
        """The best factor of each channel of the student, float32."""
        assert self.sums is not None
        _, yy, xy = self.sums
        result: Tensor = (xy / yy.clamp(min=torch.finfo(torch.float64).tiny)).clamp(min=0).float()
        return result

    def noise(self, per_channel: bool) -> tuple[float, float]:
        """Energy of what a scale of each channel (or of all) leaves, over the teacher's; and the cosine then."""
        assert self.sums is not None
        xx, yy, xy = self.sums if per_channel else self.sums.sum(1, keepdim=True)
        tiny = torch.finfo(torch.float64).tiny
        scale = (xy / yy.clamp(min=tiny)).clamp(min=0)
        left = (xx - 2 * scale * xy + scale * scale * yy).clamp(min=0).sum()
        whole = xx.sum()
        if whole <= tiny:
            return (0.0, 1.0) if yy.sum() <= tiny else (1.0, 0.0)
        length = (whole * (scale * scale * yy).sum()).sqrt()
        return float(left / whole), float((scale * xy).sum() / length) if length > tiny else 0.0


def _common(teacher: GraphModule, student: GraphModule) -> set[str]:
    """The names of the tensors that both have, of one shape, in one order; the embedding is among them.

    What makes them reads one shape as well, and so has weights of one shape: a layer of a pruned network may give as
    many channels as the teacher's and read fewer, so that neither could take what the other takes.
    """

    def shapes_of(node: Node) -> list[tuple[int, ...]]:
        return [shape_of(one)[1:] for one in (node, *node.all_input_nodes)]

    shapes = {_name(node): shapes_of(node) for node in student.graph.nodes if node.op == "call_module"}
    layers = [node for node in teacher.graph.nodes if node.op == "call_module"]
    ours = [_name(node) for node in layers if shapes.get(_name(node)) == shapes_of(node)]
    theirs = [name for name in shapes if name in set(ours)]
    if not ours or ours != theirs or ours[-1] != _name(layers[-1]):
        raise BitfaceError(
            "the layers of teacher and student have other names, shapes or another order, so they can't be compared "
            "one by one; give the float network that the student was made from"
        )
    return set(ours)


def _name(node: Node) -> str:
    return IMAGE if node.op == "placeholder" else str(node.target)


def _side_by_side(
    teacher: GraphModule, student: GraphModule, first: Tensor, second: Tensor, names: set[str]
) -> Iterator[tuple[Node, Tensor, Tensor, list[Tensor]]]:
    """(the student's node, the teacher's tensor, the student's, its inputs) wherever there are both."""
    readers: dict[str, int] = {}
    for node in student.graph.nodes:
        if isinstance(passes.module_of(student, node), QuantizeDequantize):
            readers[_name(node.all_input_nodes[0])] = readers.get(_name(node.all_input_nodes[0]), 0) + 1
    ahead = _walk(teacher, first)
    teacher_tensors: dict[str, Tensor] = {}
    for node, value, inputs in _walk(student, second):
        name, module = _name(node), passes.module_of(student, node)
        if isinstance(module, QuantizeDequantize):
            origin = _name(node.all_input_nodes[0])
            if origin in teacher_tensors:
                yield node, teacher_tensors[origin], value, inputs
                readers[origin] -= 1
                if not readers[origin]:
                    del teacher_tensors[origin]
        elif name in names or name == IMAGE:
            expected = next(x for other, x, _ in ahead if _name(other) == name)
            if readers.get(name):
                teacher_tensors[name] = expected
            traits = ops.traits_of(module)
            if name in teacher_tensors or not (traits.moves or traits.border is not None):
                yield node, expected, value, inputs


def _as_teacher(teacher: GraphModule, node: Node, inputs: list[Tensor], tallies: dict[str, _Tally]) -> Tensor:
    """What the teacher's layer makes of the student's input."""
    module = teacher.get_submodule(str(node.target))
    source = _name(node.all_input_nodes[0])
    if isinstance(module, nn.Conv2d) and module.groups == module.in_channels and source in tallies:
        # Only before depthwise convolutions may the student's channels have scales of their own.
        inputs = [inputs[0] * tallies[source].scales().view(1, -1, 1, 1)]
    result: Tensor = module(*inputs)
    return result


def _walk(graph: GraphModule, images: Tensor) -> Iterator[tuple[Node, Tensor, list[Tensor]]]:
    """Runs a graph node by node: (node, its value, its inputs); what nobody reads any more is dropped."""
    last = {source: node for node in graph.graph.nodes for source in node.all_input_nodes}
    values: dict[Node, Tensor] = {}
    for node in graph.graph.nodes:
        if node.op == "output":
            return
        inputs = [values[source] for source in node.args if isinstance(source, Node)]
        module = passes.module_of(graph, node)
        if module is not None:
            values[node] = module(*inputs)
        else:
            values[node] = images if node.op == "placeholder" else graph.get_buffer(str(node.target))
        yield node, values[node], inputs
        for source in node.all_input_nodes:
            if last[source] is node:
                del values[source]


def _points(student: GraphModule, tallies: dict[str, _Tally], inherited_tallies: dict[str, _Tally]) -> list[Point]:
    """The tallies as figures."""
    nodes = [node for node in student.graph.nodes if node.op != "output" and _name(node) in tallies]
    end = _name(nodes[-1])
    noises: dict[str, float] = {}
    rows = []
    for node in nodes:
        name, module = _name(node), passes.module_of(student, node)
        noises[name], cosine = tallies[name].noise(per_channel=name != end)
        inherited = noises[name]
        if isinstance(module, QuantizeDequantize):
            inherited = noises[_name(node.all_input_nodes[0])]
        elif name in inherited_tallies:
            inherited, _ = inherited_tallies[name].noise(per_channel=name != end)
        elif module is None:
            inherited = 0.0
        kind = QUANTIZER if isinstance(module, QuantizeDequantize) else ops.op_name(module) if module else IMAGE
        rows.append((name, kind or "", getattr(module, "bits", None), noises[name], inherited, cosine))
    floor = max(_HARMLESS * rows[-1][3], 1e-12)
    return [
        Point(name, kind, bits, _db(noise), _db(inherited), cosine, _db(inherited + floor) - _db(noise + floor))
        for name, kind, bits, noise, inherited, cosine in rows
    ]


def _db(noise: float) -> float:
    return _MOST_DB if noise <= 10 ** (-_MOST_DB / 10) else -10 * math.log10(noise)

"""Gives the channels of a tensor the same range where that costs nothing.

ReLU, LeakyReLU and PReLU commute with positive scaling per channel. So a channel between a layer and a depthwise
convolution may be scaled down after the one and up inside the other: with one weight scale per channel neither layer
loses a level, while the tensor between them, which has one scale for all channels, gains them (after Nagel et al.
2019, cross-layer equalization; there weights are balanced, here the activations' own ranges are). With 8 bits and more
channels get the same peak; with fewer, where a peak costs levels, each gets the step of least rounding error
(`channel_steps`).

ReLU6 doesn't commute with scaling: its cap stays where it is when a channel is scaled up below it. So channels that
stay away from the cap on the calibration faces are scaled up to it, with some room left; on other faces they may meet
the cap, as the widest channels do. With few bits what lies above a channel's best range would be cut off by its last
level, and is by the cap: that range becomes the cap's.

The scale and shift of a LayerNorm can be divided by anything that the linear layers behind it multiply their columns
by. There both sides pay: the tensor has one scale for all channels, and each row of the weights one for all columns. So
a channel is scaled by the square root of what each would choose (Xiao et al., ICML 2023, SmoothQuant, alpha 0.5). With
fewer than 8 bits, and none fewer for the weights, the same is done around an activation between a convolution and a
dense one, with more for the tensor, which has one scale for all faces as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import ops, passes
from bitface.quant.batches import Batches, Progress, run_watched
from bitface.quant.channel_steps import ChannelCounts, channel_steps
from bitface.quant.plan import BitPlan
from bitface.quant.student import activation_quantizer, never_negative, planned

# A channel that is nearly silent on the calibration faces may speak on others.
_MOST = 100.0
# SmoothQuant's alpha behind norms, and between convolutions.
_BEHIND_NORMS, _BETWEEN_CONVOLUTIONS = 0.5, 0.65
# How much larger than on the calibration faces a channel below a cap may become before the cap meets it.
_ROOM = 1.25


def equalize(
    graph: GraphModule,
    batches: Batches,
    count: int,
    plan: BitPlan = BitPlan(),
    progress: Progress | None = None,
) -> list[str]:
    """Equalizes, in place, every tensor between a layer and a depthwise convolution, between a LayerNorm and linear
    layers, and with few bits between convolutions; gives their names.

    Args:
        graph: folded (see `graph.passes`); its function stays the same up to float rounding, after a cap on the
            calibration faces and with 8 bits.
        plan: says how many bits each tensor gets.
        batches, count: calibration images, see `calibrate.activation_ranges`.
    """
    bits = {layer.name: layer.bits for layer in planned(graph, plan)}
    pairs = {str(node.target): pair for node in graph.graph.nodes if (pair := _pair(graph, node))}
    sites = {name: pair for name, pair in pairs.items() if pair.depthwise}
    norms = {str(node.target): node for node in graph.graph.nodes if _linear_readers(graph, node)}
    few = {name: pair for name, pair in pairs.items() if bits[pair.name].activation < 8}
    dense = {
        name: pair
        for name, pair in few.items()
        if pair.activated
        and pair.cap == inf
        and pair.reader.groups == 1
        and bits[pair.name].weight >= bits[pair.name].activation
    }
    modules = {name: graph.get_submodule(name) for name in (*sites, *norms, *dense)}
    extremes: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str, value: Tensor) -> None:
        channels = value.dim() - 1 if name in norms else 1
        low, high = torch.aminmax(value.movedim(channels, 0).flatten(1), dim=1)
        before = extremes.get(name, (low, high))
        extremes[name] = torch.minimum(low, before[0]), torch.maximum(high, before[1])

    counts: dict[str, ChannelCounts] = {}
    if modules:
        run_watched(graph, modules, watch, batches, count, progress)
        counts = {
            name: ChannelCounts(*extremes[name], bins=max(512, 32 * 2 ** bits[pair.name].activation))
            for name, pair in sites.items()
            if name in few
        }
    if counts:
        modules = {name: modules[name] for name in counts}
        run_watched(graph, modules, lambda name, value: counts[name].update(value), batches, count, progress)
    peaks = {name: torch.maximum(-low, high) for name, (low, high) in extremes.items()}
    for name, node in norms.items():
        _smooth(graph.get_submodule(name), _linear_readers(graph, node), peaks[name], _BEHIND_NORMS)
    for name, pair in sites.items():
        wanted, room = peaks[name], _ROOM
        if name in counts:
            quantizer = activation_quantizer(plan.activations, bits[pair.name].activation, pair.never_negative)
            wanted, room = channel_steps(counts[name], quantizer, pair.gains) * quantizer.limits[1], 1.0
        widest = pair.cap / room if pair.cap < inf else float(wanted.max())
        factors = wanted / max(widest, torch.finfo(torch.float32).tiny)
        factors = torch.where(wanted > 0, factors, torch.ones_like(factors)).clamp(1 / _MOST, 1)
        _scale(pair.before, [pair.reader], factors)
    for name, pair in dense.items():
        _smooth(pair.before, [pair.reader], peaks[name], _BETWEEN_CONVOLUTIONS)
    return [*sites, *norms, *dense]


@dataclass(frozen=True)
class _Pair:
    """A layer, and the convolution that alone reads what it gives, or what an activation makes of that.

    Attributes:
        name: of the reader.
        activated: there is an activation between them; without one a residual stream may be turned there.
        cap: what the tensor between them never lies above; never_negative: nor below 0.
    """

    before: nn.Module
    reader: nn.Conv2d
    name: str
    activated: bool
    cap: float
    never_negative: bool

    @property
    def depthwise(self) -> bool:
        """Whether the reader's channels stay apart."""
        return self.reader.groups == self.reader.in_channels

    @property
    def gains(self) -> Tensor:
        """What the squares of a depthwise reader's weights come to for each channel that it reads, `[C]`."""
        return self.reader.weight.detach().square().view(self.reader.groups, -1).sum(1)


def _pair(graph: GraphModule, node: Node) -> _Pair | None:
    """The layers before and after a tensor; None: there are others, or something between them that scaling changes."""
    if len(node.users) != 1 or node.op != "call_module":
        return None
    user = next(iter(node.users))
    module, reader = passes.module_of(graph, node), passes.module_of(graph, user)
    if not isinstance(reader, nn.Conv2d):
        return None
    cap, rectifier = inf, ops.traits_of(module).rectifier
    if rectifier:
        cap = float(rectifier(module)[1])
        source = node.all_input_nodes[0]
        module = passes.module_of(graph, source) if len(source.users) == 1 else None
    if not isinstance(module, ops.LAYERS):
        return None
    return _Pair(module, reader, str(user.target), bool(rectifier), cap, never_negative(graph, node))


def _scale(before: nn.Module, readers: Sequence[nn.Module], factors: Tensor) -> None:
    """Divides the outputs of `before` by the factors and multiplies by them what the readers make of each channel."""
    with torch.no_grad():
        for own in (before.weight, before.bias):
            if own is not None:
                own.div_(factors.view(-1, *[1] * (own.dim() - 1)))  # type: ignore[operator]
        for reader in readers:
            weight: Any = reader.weight
            if getattr(reader, "groups", 1) > 1:  # depthwise: its outputs are its inputs, some for each
                weight.mul_(factors.repeat_interleave(len(weight) // len(factors)).view(-1, 1, 1, 1))
            else:
                weight.mul_(factors.view(-1, *[1] * (weight.dim() - 2)))


def _linear_readers(graph: GraphModule, node: Node) -> list[nn.Linear]:
    """The linear layers that alone read a LayerNorm of the last axis; none: something else does, too."""
    norm = passes.module_of(graph, node)
    if not isinstance(norm, nn.LayerNorm) or len(norm.normalized_shape) != 1 or norm.bias is None:
        return []
    readers = [passes.module_of(graph, user) for user in node.users]
    layers = [reader for reader in readers if isinstance(reader, nn.Linear)]
    return layers if len(layers) == len(readers) else []


def _smooth(before: nn.Module, readers: Sequence[nn.Module], peaks: Tensor, alpha: float) -> None:
    """Divides a tensor's channels by factors between what their peaks and what the readers' columns would choose."""
    sides: Any = [reader.weight for reader in readers]
    columns = torch.stack([side.detach().movedim(1, 0).flatten(1).abs().amax(1) for side in sides]).amax(0)
    speaking = (peaks > 0) & (columns > 0)
    factors = peaks**alpha / columns.clamp(min=torch.finfo(torch.float32).tiny) ** (1 - alpha)
    factors = torch.where(speaking, factors, torch.inf)
    factors = factors / factors[speaking].median() if bool(speaking.any()) else factors
    _scale(before, readers, torch.where(speaking, factors, torch.ones_like(factors)).clamp(1 / _MOST, _MOST))

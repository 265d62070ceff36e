"""Gives the channels of a tensor the same range where that costs nothing.

ReLU, LeakyReLU and PReLU commute with positive scaling per channel. So a channel between a layer and a depthwise
convolution may be scaled down after the one and up inside the other: with one weight scale per channel neither layer
loses a level, while the tensor between them, which has one scale for all channels, gains them (after Nagel et al.
2019, cross-layer equalization; there weights are balanced, here the activations' own ranges are).

ReLU6 doesn't commute with scaling: its cap stays where it is when a channel is scaled up below it. So channels that
stay away from the cap on the calibration faces are scaled up to it, with some room left; on other faces they may meet
the cap, as the widest channels do.

The scale and shift of a LayerNorm can be divided by anything that the linear layers behind it multiply their columns
by. There both sides pay: the tensor has one scale for all channels, and each row of the weights one for all columns. So
a channel is scaled by the square root of what each would choose (Xiao et al., ICML 2023, SmoothQuant, alpha 0.5).
"""

from math import inf

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import ops, passes
from bitface.graph.builder import shape_of
from bitface.quant.batches import Batches, Progress, run_watched

# A channel that is nearly silent on the calibration faces may speak on others.
_MOST = 100.0
# How much larger than on the calibration faces a channel below a cap may become before the cap meets it.
_ROOM = 1.25


def equalize(graph: GraphModule, batches: Batches, count: int, progress: Progress | None = None) -> list[str]:
    """Equalizes, in place, every tensor between a layer and a depthwise convolution, or between a LayerNorm and linear
    layers; gives their names.

    Args:
        graph: folded (see `graph.passes`); its function stays the same up to float rounding, on the calibration faces
            after a cap as well.
        batches, count: calibration images, see `calibrate.activation_ranges`.
    """
    sites = {str(node.target): node for node in graph.graph.nodes if _pair(graph, node)}
    norms = {str(node.target): node for node in graph.graph.nodes if _linear_readers(graph, node)}
    peaks: dict[str, Tensor] = {}

    def watch(name: str, value: Tensor) -> None:
        channels = value.dim() - 1 if name in norms else 1
        peak = value.abs().amax([axis for axis in range(value.dim()) if axis != channels])
        peaks[name] = torch.maximum(peaks[name], peak) if name in peaks else peak

    if sites or norms:
        modules = {name: graph.get_submodule(name) for name in (*sites, *norms)}
        run_watched(graph, modules, watch, batches, count, progress)
    for name, node in norms.items():
        _smooth(graph.get_submodule(name), _linear_readers(graph, node), peaks[name])
    for name, node in sites.items():
        pair = _pair(graph, node)
        assert pair is not None
        module = passes.module_of(graph, node)
        rectifier = ops.traits_of(module).rectifier
        cap = rectifier(module)[1] if rectifier else inf
        widest = cap / _ROOM if cap < inf else float(peaks[name].max())
        factors = peaks[name] / max(widest, torch.finfo(torch.float32).tiny)
        _scale(*pair, torch.where(peaks[name] > 0, factors, torch.ones_like(factors)).clamp(1 / _MOST, 1))
    return [*sites, *norms]


def _pair(graph: GraphModule, node: Node) -> tuple[nn.Module, nn.Conv2d] | None:
    """The layer before an activation (or before the tensor itself) and the depthwise convolution after it."""
    if len(node.users) != 1 or node.op != "call_module":
        return None
    reader = passes.module_of(graph, next(iter(node.users)))
    if not isinstance(reader, nn.Conv2d) or not reader.groups == reader.in_channels == shape_of(node)[1]:
        return None
    module = passes.module_of(graph, node)
    if ops.traits_of(module).rectifier:
        source = node.all_input_nodes[0]
        module = passes.module_of(graph, source) if len(source.users) == 1 else None
    return (module, reader) if isinstance(module, ops.LAYERS) else None


def _scale(before: nn.Module, after: nn.Conv2d, factors: Tensor) -> None:
    """Divides the outputs of `before` by the factors and multiplies the inputs of the depthwise `after` by them."""
    with torch.no_grad():
        before.weight.div_(factors.view(-1, *[1] * (before.weight.dim() - 1)))  # type: ignore[operator]
        if before.bias is not None:
            before.bias.div_(factors)  # type: ignore[operator]
        after.weight.mul_(factors.repeat_interleave(after.out_channels // after.groups).view(-1, 1, 1, 1))


def _linear_readers(graph: GraphModule, node: Node) -> list[nn.Linear]:
    """The linear layers that alone read a LayerNorm of the last axis; none: something else does, too."""
    norm = passes.module_of(graph, node)
    if not isinstance(norm, nn.LayerNorm) or len(norm.normalized_shape) != 1 or norm.bias is None:
        return []
    readers = [passes.module_of(graph, user) for user in node.users]
    layers = [reader for reader in readers if isinstance(reader, nn.Linear)]
    return layers if len(layers) == len(readers) else []


def _smooth(norm: nn.Module, layers: list[nn.Linear], peaks: Tensor) -> None:
    """Divides the channels of a LayerNorm by factors and multiplies the columns of the layers by them."""
    with torch.no_grad():
        columns = torch.stack([layer.weight.abs().amax(0) for layer in layers]).amax(0)
        speaking = (peaks > 0) & (columns > 0)
        factors = torch.where(speaking, (peaks / columns.clamp(min=torch.finfo(torch.float32).tiny)).sqrt(), torch.inf)
        factors = factors / factors[speaking].median() if bool(speaking.any()) else factors
        factors = torch.where(speaking, factors, torch.ones_like(factors)).clamp(1 / _MOST, _MOST)
        for side in (norm.weight, norm.bias):
            side.div_(factors)  # type: ignore[operator]
        for layer in layers:
            layer.weight.mul_(factors)

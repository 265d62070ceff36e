"""Finds the numbers of a student on calibration faces: ranges of activations, scales of weights, biases."""

from collections.abc import Mapping
from functools import partial
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError
from bitface.graph import ops, passes
from bitface.graph.builder import gives_embedding, shape_of
from bitface.quant.batches import Batches, Progress, run_watched
from bitface.quant.observers import OBSERVERS, MinMax
from bitface.quant.plan import FLOAT
from bitface.quant.quantizers import Quantizer, UniformQuantizer, mean_size
from bitface.quant.student import QuantizedConv2d, QuantizedLinear, Student


def activation_ranges(
    student: Student, batches: Batches, count: int, observer: str = "mse", progress: Progress | None = None
) -> None:
    """Sets the range of every activation quantizer from what the float network does.

    Args:
        batches: gives the preprocessed calibration images `[B, 3, H, W]`, the same ones in the same order each time.
        count: how many images that is.
        observer: a name of `observers.OBSERVERS`.

    Raises:
        BitfaceError: an activation is NaN or infinite (named).
    """
    _set_ranges(student.activation_quantizers, observed_inputs(student, batches, count, observer, progress))


def observed_inputs(
    student: Student, batches: Batches, count: int, observer: str = "mse", progress: Progress | None = None
) -> dict[str, MinMax]:
    """What observers see at every activation quantizer in the float network; arguments and errors as above."""
    student.enable(False)  # a quantizer that is switched off passes on what it would have to quantize
    try:
        return _observed(student, {**student.activation_quantizers}, batches, count, observer, progress)
    finally:
        student.enable(True)


def output_ranges(
    student: Student, batches: Batches, count: int, observer: str = "mse", progress: Progress | None = None
) -> dict[str, UniformQuantizer]:
    """A uint8 quantizer for the output of each layer that nothing rounds, as a PReLU or another operator in float
    follows, or as it is the embedding: what an engine needs that can't fuse it, or rounds every tensor.

    The ranges are those of the student as it is, quantizers and all. Arguments and errors as in `activation_ranges`.
    """
    outputs = {name: UniformQuantizer(8, False, False) for name in _unrounded(student)}
    modules = {name: student.graph.get_submodule(name) for name in outputs}
    if outputs:
        _set_ranges(outputs, _observed(student, modules, batches, count, observer, progress))
    return outputs


def _observed(
    student: Student,
    modules: dict[str, nn.Module],
    batches: Batches,
    count: int,
    observer: str,
    progress: Progress | None,
) -> dict[str, MinMax]:
    observers = {name: OBSERVERS[observer]() for name in modules}
    looks = max((o.looks for o in observers.values()), default=0)
    for look in range(looks):
        watch, advance = partial(_observe, observers, look), partial(_advance, progress, look, looks)
        run_watched(student.graph, modules, watch, batches, count, advance)
    return observers


def _set_ranges(quantizers: Mapping[str, Quantizer], observers: Mapping[str, MinMax]) -> None:
    for name, quantizer in quantizers.items():
        set_range(quantizer, observers[name])


def set_range(quantizer: Quantizer, observer: MinMax) -> None:
    """Gives a quantizer of activations the range that an observer found for it."""
    low, high = observer.range(quantizer.bits, quantizer.signed, quantizer.symmetric)
    quantizer.set_range(torch.tensor([low]), torch.tensor([high]))


def weight_scales(student: Student, search: bool = True) -> None:
    """Sets the scales of the weights: the least squared error of a search over ranges, or the extremes."""
    for layer in student.quantized_layers().values():
        set_scales(layer.weight_quantizer, layer.weight.detach(), search)


def set_scales(quantizer: Quantizer, weight: Tensor, search: bool = True) -> None:
    """Sets the scales of one layer's weights `[out, …]`; see `weight_scales`."""
    rows = weight.reshape(quantizer.channels, -1)
    if quantizer.bits == 1:
        quantizer.set_numbers(mean_size(rows), torch.zeros(quantizer.channels))
        return
    low, high = rows.amin(1), rows.amax(1)
    best = torch.full((quantizer.channels,), torch.inf)
    best_fraction = torch.ones(quantizer.channels)
    for fraction in torch.linspace(1.0, 0.3, 71 if search else 1):
        quantizer.set_range(low * fraction, high * fraction)
        error = (quantizer(rows) - rows).square().sum(1)
        best_fraction = torch.where(error < best, fraction, best_fraction)
        best = torch.minimum(error, best)
    quantizer.set_range(low * best_fraction, high * best_fraction)


def correct_biases(student: Student, images: Tensor, batch: int = 32) -> None:
    """Takes the mean error of every output channel out of the biases, layer by layer from the image on.

    Each layer's error is measured after the layers corrected before it, so that what is left doesn't add up (Nagel
    et al. 2019, empirical bias correction, here against the float network on the same images).

    Args:
        images: preprocessed `[N, 3, H, W]`; every live tensor is held for all of them.

    Raises:
        BitfaceError: the error of a layer is NaN or infinite (named).
    """
    graph = student.graph
    last_reader = {source: node for node in graph.graph.nodes for source in node.all_input_nodes}
    values: dict[Node, tuple[list[Tensor], list[Tensor]]] = {}
    with torch.no_grad():
        for node in graph.graph.nodes:
            if node.op == "output":
                break
            values[node] = _both(student, node, values, list(images.split(batch)))
            for source in node.all_input_nodes:
                if last_reader[source] is node:
                    del values[source]
    student.enable(True)


def _both(
    student: Student, node: Node, values: dict[Node, tuple[list[Tensor], list[Tensor]]], images: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """A node's value in the float network and in the student, and the correction of its bias on the way."""
    if node.op == "placeholder":
        return images, images
    if node.op == "get_attr":
        constant = student.graph.get_buffer(str(node.target))
        return [constant] * len(images), [constant] * len(images)
    module = passes.module_of(student.graph, node)
    assert module is not None
    results = []
    for on in (False, True):
        for part in module.modules():
            if isinstance(part, Quantizer):
                part.enabled = on
        inputs = [values[source][on] for source in node.args if isinstance(source, Node)]
        results.append([module(*parts) for parts in zip(*inputs, strict=True)])
    plain, quantized = results
    if isinstance(module, QuantizedConv2d | QuantizedLinear):
        # The channels of a linear layer are the last axis, those of a convolution the second.
        trailing = 2 if isinstance(module, nn.Conv2d) else 0
        errors = torch.cat([a - b for a, b in zip(plain, quantized, strict=True)]).double()
        shift = errors.movedim(-1 - trailing, 0).flatten(1).mean(1).float()
        if not torch.isfinite(shift).all():
            raise BitfaceError(f"'{node.target}' is NaN or infinite on the calibration faces; check the preprocessing")
        module.add_to_bias(shift)
        quantized = [part + shift.view(-1, *[1] * trailing) for part in quantized]
    return plain, quantized


def _unrounded(student: Student) -> list[str]:
    """The quantized layers with quantized inputs that a PReLU follows, convolutions that other operators in float
    follow, such as hard-swish, the maximum of two halves or a sum that the plan leaves in float, and the layer that
    gives the embedding."""
    graph, layers = student.graph, student.quantized_layers()
    bits = {layer.name: layer.bits for layer in student.layers}
    names = []
    for node in graph.graph.nodes:
        name = str(node.target)
        if name not in layers or FLOAT in (bits[name].weight, bits[name].activation):
            continue
        before_prelu = any(isinstance(passes.module_of(graph, user), nn.PReLU) for user in node.users)
        # What has more bits would lose them, and of a map of one place nothing is gained.
        worth = bits[name].activation <= 8 and prod(shape_of(node)[2:]) > 1
        in_float = worth and isinstance(layers[name], nn.Conv2d) and _read_in_float(graph, node)
        embedding = bits[name].activation <= 8 and gives_embedding(graph, node)
        if before_prelu or in_float or embedding:
            names.append(name)
    return names


def _read_in_float(graph: GraphModule, node: Node) -> bool:
    """Whether something that engines don't fuse into a layer computes with its output before it is rounded."""
    readers = [(user, passes.module_of(graph, user)) for user in node.users]
    if any(user.op == "output" or ops.traits_of(module).limiter for user, module in readers):
        return False
    return any(
        _read_in_float(graph, user)
        if isinstance(module, ops.Reshape | ops.Transpose | nn.MaxPool2d)
        else not isinstance(module, Quantizer)
        for user, module in readers
    )


def _observe(observers: dict[str, MinMax], look: int, name: str, value: Tensor) -> None:
    observer = observers[name]
    observer.update(value, look)
    if not np.isfinite(observer.high - observer.low):
        raise BitfaceError(f"'{name}' is NaN or infinite on the calibration faces; check the preprocessing")


def _advance(progress: Progress | None, look: int, looks: int, position: int, count: int) -> None:
    if progress:
        progress(look * count + position, looks * count)

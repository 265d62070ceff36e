"""A learned rotation stays exact, is the same every time, and rounds a stream with less error than a fixed one."""

import torch
from torch import Tensor

from bitface.graph import passes
from bitface.quant.basis import hadamard, turn
from bitface.quant.batches import run_watched
from bitface.quant.learned_rotation import learned
from bitface.quant.rotate import streams
from support.quantized import Residual, network


def rounding_error(x: Tensor, bits: int) -> float:
    """With the best of 36 ranges, as a part of the energy."""
    errors = []
    for share in torch.linspace(0.3, 1, 36).tolist():
        low, high = x.min() * share, x.max() * share
        scale = (high - low) / (2**bits - 1)
        errors.append(((x.clamp(low, high) - low) / scale).round() * scale + low - x)
    return min(float(error.square().sum()) for error in errors) / float(x.square().sum())


def test_a_stream_learns_to_be_rounded() -> None:
    graph = passes.fold(network(Residual(16), 12).graph)
    images = torch.randn(12, 3, 12, 12, generator=torch.Generator().manual_seed(4))
    (stream,) = streams(graph)
    matrix, again = (learned(graph, {stream: 3}, lambda: iter(images.split(4)), 12)[stream] for _ in range(2))
    assert torch.equal(matrix, again)
    assert (matrix @ matrix.T - torch.eye(len(matrix), dtype=torch.float64)).abs().max() < 1e-10
    tensors: dict[str, list[Tensor]] = {str(node.target): [] for node in stream.tensors}
    run_watched(
        graph, {name: graph.get_submodule(name) for name in tensors},
        lambda name, value: tensors[name].append(value.movedim(1, -1).flatten(0, -2)),
        lambda: iter(images.split(4)), 12,
    )  # fmt: skip
    errors = [
        sum(rounding_error(torch.cat(parts).double() @ one.T, 3) for parts in tensors.values())
        for one in (matrix, hadamard(len(matrix)), torch.eye(len(matrix), dtype=torch.float64))
    ]
    assert errors[0] < 0.9 * min(errors[1:])
    with torch.no_grad():
        expected = graph(images)
        turn(graph, stream.sides, matrix)
        assert (graph(images) - expected).abs().max() <= 1e-5 * expected.abs().max()

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from bitface import backbones
from bitface.errors import UsageError
from bitface.graph import from_module, passes
from bitface.quant import BitPlan, Calibration, quantize
from bitface.quant.basis import hadamard, turn
from bitface.quant.post_training import begun
from bitface.quant.rotate import Stream, streams, turned_like
from support.quantized import Residual, faces, network, settle


def rotate(graph: GraphModule) -> list[Stream]:
    result = streams(graph)
    for stream in result:
        turn(graph, stream.sides, hadamard(stream.channels))
    return result


@pytest.mark.parametrize("channels", [1, 7, 12, 16, 48])
def test_a_stream_is_turned_and_the_function_stays(channels: int) -> None:
    graph = passes.fold(from_module(settle(Residual(channels), 9), size=(9, 9)).graph)
    images = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    with torch.no_grad():
        expected = graph(images)
        (stream,) = rotate(graph)
        assert (graph(images) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert [len(side) for side in (stream.tensors, stream.makers, stream.readers)] == [5, 3, 3]
    names = {name for name, value in graph.state_dict().items() if not torch.equal(value, before[name])}
    untouched = {f"expand.{place}.bias" for place in range(2)} | {"last.bias"}
    assert channels == 1 or names == {name for name in before if "own" not in name} - untouched


@pytest.mark.parametrize(
    ("between", "leak"), [(nn.Identity, "depthwise"), (nn.Identity, "mean"), (nn.ReLU, ""), (lambda: nn.PReLU(12), "")]
)
def test_what_has_a_basis_of_its_own_is_left(between: Callable[[], nn.Module], leak: str) -> None:
    graph = passes.fold(from_module(settle(Residual(12, between, leak), 9), size=(9, 9)).graph)
    assert streams(graph) == []


def test_a_layer_that_is_called_twice() -> None:
    net = Residual()
    net.project[1] = net.project[0]
    graph = passes.fold(from_module(settle(net, 9), size=(9, 9)).graph)
    images = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = graph(images)
        assert len(rotate(graph)) == 1
        assert (graph(images) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_streams_of_a_mobilefacenet() -> None:
    graph = passes.fold(network(backbones.create("mobilefacenet", 32), 112).graph)
    found = [(len(stream.makers), len(stream.readers), stream.channels) for stream in streams(graph)]
    assert found == [(5, 5, 64), (7, 7, 128), (3, 3, 128)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 24, 64, 96, 100, 512])
def test_matrices_are_orthogonal_and_flat(size: int) -> None:
    matrix = hadamard(size)
    assert torch.allclose(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), atol=1e-12)
    flattest = 1 / size**0.5
    assert matrix.abs().max() <= 2**0.5 * flattest + 1e-12
    if size & (size - 1) == 0:
        assert torch.allclose(matrix.abs(), torch.full_like(matrix, flattest))


@pytest.mark.parametrize(
    ("word", "way", "turned"),
    [
        ("w4a4", "auto", True),
        ("w8a8", "auto", False),
        ("w4a4", "off", False),
        ("w8a8", "hadamard", True),
        ("w4a4", "learned", True),
    ],
)
def test_streams_below_eight_bits_are_turned(word: str, way: str, turned: bool) -> None:
    net = network(Residual(), 9)
    student, _ = begun(net, faces(4, 9), BitPlan.parse(word), Calibration("minmax", rotate=way))
    weight = passes.fold(net.graph).get_submodule("stem").weight
    assert torch.equal(student.graph.get_submodule("stem").weight, weight) != turned  # type: ignore[arg-type]


def test_unknown_rotations_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown rotation 'hadamar'; did you mean 'hadamard'"):
        Calibration(rotate="hadamar")


def test_a_teacher_in_the_basis_of_its_student() -> None:
    net = network(Residual(16), 9)
    folded = passes.fold(net.graph)
    for way, turned in (("hadamard", True), ("learned", True), ("off", False)):
        calibration = Calibration("minmax", equalization=False, bias_correction=False, rotate=way)
        student, _ = quantize(net, faces(8, 9), BitPlan.parse("w4a4"), calibration)
        graph = turned_like(folded, student.graph)
        assert (graph is not folded) == turned
        rotated = passes.fold(net.graph)
        if way == "learned":
            continue  # nobody else knows by what
        if turned:
            rotate(rotated)
        for name in ("project.0.weight", "expand.1.weight", "last.weight"):
            error = graph.state_dict()[name] - rotated.state_dict()[name]
            assert error.norm() <= 0.1 * rotated.state_dict()[name].norm()

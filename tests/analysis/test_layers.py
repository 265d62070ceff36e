"""Both graphs side by side, against hooks on the two of them, and damage done on purpose."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bitface.analysis.layers import Point, compare_layers, start_of
from bitface.errors import BitfaceError
from bitface.graph import Network, from_module, passes
from bitface.graph.integer import INTEGER_LAYERS, QuantizeDequantize
from bitface.prune import Pruning, prune
from bitface.quant import BitPlan, quantize
from bitface.quant.equalize import equalize
from support.quantized import Mixed, PreActivation, faces, network, settle

Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]


def batches_of(teacher: Network, images: np.ndarray, batch: int = 8) -> Batches:
    assert teacher.preprocess is not None
    inputs = torch.from_numpy(teacher.preprocess(images))
    return lambda: ((part, part) for part in inputs.split(batch))


@pytest.fixture(scope="module")
def teacher() -> Network:
    return network(Mixed(), 16)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return faces(24, 16)


def student_of(teacher: Network, images: np.ndarray, bits: str = "w8a8") -> torch.fx.GraphModule:
    return quantize(teacher, images, BitPlan.parse(bits))[0].graph


def test_a_student_that_is_its_teacher(teacher: Network, images: np.ndarray) -> None:
    graph = passes.fold(teacher.graph)
    found = compare_layers(graph, graph, batches_of(teacher, images))
    assert found.start is None
    assert found.ranges == ()
    assert {point.snr for point in found.points} == {120.0}
    assert min(point.cosine for point in found.points) == pytest.approx(1)
    assert found.faces == 24


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5])
def test_a_pruned_network_beside_its_teacher(teacher: Network, images: np.ndarray, ratio: float) -> None:
    """Its last layer gives the same numbers as the teacher's and reads fewer: they aren't one layer."""
    student, _ = prune(teacher, Pruning(ratio, round_to=2), images)
    with pytest.raises(BitfaceError, match="other names, shapes or another order"):
        compare_layers(passes.fold(teacher.graph), passes.fold(student.graph), batches_of(teacher, images))


class Depthwise(nn.Module):
    """Equalization scales what lies between the first two layers; 16 x 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8))
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.fc = nn.Linear(8 * 8 * 8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.depthwise(self.before(x)), 1))


def test_equalization_is_no_damage(images: np.ndarray) -> None:
    teacher = network(Depthwise(), 16)
    graph, batches = passes.fold(teacher.graph), batches_of(teacher, images)
    equal = passes.fold(teacher.graph)
    inputs = [first for first, _ in batches()]
    assert equalize(equal, lambda: iter(inputs), len(images)) == ["before.1"]
    assert not torch.allclose(equal.get_parameter("before.0.weight"), graph.get_parameter("before.0.weight"), rtol=0.1)
    assert min(point.snr for point in compare_layers(graph, equal, batches).points) > 90


def test_damage_behind_an_equalized_tensor_is_the_layers_own(images: np.ndarray) -> None:
    teacher = network(Depthwise(), 16)
    student = student_of(teacher, images)
    student.get_submodule("depthwise").weight[::2] = 0
    found = compare_layers(passes.fold(teacher.graph), student, batches_of(teacher, images))
    assert found.start is not None
    assert found.start.name == "depthwise"
    assert found.start.before > 25


@pytest.mark.parametrize("module", [Mixed, PreActivation])
def test_figures_match_hooks(module: type[nn.Module]) -> None:
    size = 16 if module is Mixed else 8
    teacher, images = network(module(), size), faces(24, size)
    student, graph = student_of(teacher, images, "w4a8"), passes.fold(teacher.graph)
    found = compare_layers(graph, student, batches_of(teacher, images, 7))
    inputs = next(batches_of(teacher, images, 24)())[0]
    ours, theirs = outputs(graph, inputs), outputs(student, inputs)
    end = found.points[-1].name
    assert {point.name for point in found.points} >= set(theirs) - {"image"} - {"fc_input", "flatten"} - views(student)
    for point in found.points:
        if point.kind in ("image", "quantizer"):
            continue
        x, y = (value[point.name].double().transpose(0, 1).flatten(1) for value in (ours, theirs))
        if point.name == end:
            x, y = x.reshape(1, -1), y.reshape(1, -1)
        scale = ((x * y).sum(1) / (y * y).sum(1).clamp(min=1e-300)).clamp(min=0)[:, None]
        left = (x - scale * y).square().sum() / x.square().sum()
        assert point.snr == pytest.approx(float(-10 * torch.log10(left)), abs=1e-3), point.name
        assert point.bits == getattr(student.get_submodule(point.name), "bits", None)


class Heads(nn.Module):
    """A view that two layers read is quantized itself; 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.one, self.other = nn.Linear(64, 6), nn.Linear(64, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(self.stem(x), 1)
        return self.one(x) + self.other(x)


def test_a_view_that_is_quantized() -> None:
    teacher, images = network(Heads(), 8), faces(24, 8)
    student = student_of(teacher, images)
    found = compare_layers(passes.fold(teacher.graph), student, batches_of(teacher, images))
    assert {one.name for one in found.ranges} >= {point.name for point in found.points if point.kind == "quantizer"}
    assert min(point.snr for point in found.points) > 25


def test_a_network_that_breaks_is_refused(teacher: Network, images: np.ndarray) -> None:
    graph = passes.fold(teacher.graph)
    inputs = next(batches_of(teacher, images, 24)())[0]
    with pytest.raises(BitfaceError, match="NaN"):
        compare_layers(graph, graph, lambda: iter([(inputs, inputs * torch.inf)]))


def outputs(graph: torch.fx.GraphModule, inputs: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _, __, value, name=name: found.__setitem__(name, value))
        for name, module in graph.named_modules()
        if not list(module.children())
    ]
    with torch.no_grad():
        graph(inputs)
    for handle in handles:
        handle.remove()
    return found


def views(graph: torch.fx.GraphModule) -> set[str]:
    return {name for name, module in graph.named_modules() if type(module).__name__ == "Reshape"}


@pytest.mark.parametrize("name", ["stem.2_a8", "deep.2_a8", "point_a8", "pool_a8"])
def test_a_range_that_saturates_is_named(teacher: Network, images: np.ndarray, name: str) -> None:
    student = student_of(teacher, images)
    quantizer = student.get_submodule(name)
    assert isinstance(quantizer, QuantizeDequantize)
    quantizer.scale /= 12
    found = compare_layers(passes.fold(teacher.graph), student, batches_of(teacher, images))
    assert found.start is not None
    assert (found.start.name, found.start.kind, found.start.bits) == (name, "quantizer", 8)
    worst = max(found.ranges, key=lambda one: one.clip_noise)
    assert worst.name == name
    assert worst.clipped > 0.05


@pytest.mark.parametrize("name", ["stem.0", "deep.0", "point", "wide.0", "fc"])
def test_weights_that_are_wrong_are_named(teacher: Network, images: np.ndarray, name: str) -> None:
    student = student_of(teacher, images)
    layer = student.get_submodule(name)
    assert isinstance(layer, INTEGER_LAYERS)
    noise = torch.from_numpy(np.random.default_rng(0).integers(-100, 100, tuple(layer.weight.shape)))
    layer.weight.copy_((layer.weight + noise).clamp(-127, 127))
    found = compare_layers(passes.fold(teacher.graph), student, batches_of(teacher, images))
    assert found.start is not None
    assert found.start.name == name
    assert found.start.before > 20 > found.start.snr


def test_another_preprocessing_starts_at_the_image(teacher: Network, images: np.ndarray) -> None:
    graph = passes.fold(teacher.graph)
    inputs = next(batches_of(teacher, images, 24)())[0]
    found = compare_layers(graph, graph, lambda: iter([(inputs, inputs.flip(1) + 0.5)]))
    assert found.start is not None
    assert found.start.name == "image"


def test_a_rise_that_doesnt_matter_is_no_start() -> None:
    quiet = Point("a", "Conv", None, 60, 120, 1, 2.9)
    assert start_of([quiet]) is None
    loud = Point("b", "Conv", None, 3, 60, 0.5, 9.0)
    assert start_of([quiet, loud]) is loud
    assert start_of([]) is None


def test_networks_that_have_nothing_in_common(teacher: Network, images: np.ndarray) -> None:
    other = from_module(settle(nn.Sequential(nn.Conv2d(3, 5, 16), nn.Flatten()), 16), size=(16, 16))
    with pytest.raises(BitfaceError, match="other names"):
        compare_layers(passes.fold(teacher.graph), passes.fold(other.graph), batches_of(teacher, images))

"""Heads of attention get another basis: the function stays, peaks go, and what is read elsewhere is left."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.backbones.edgeface import EdgeFace
from bitface.backbones.vit import VisionTransformer
from bitface.graph import from_module, passes
from bitface.quant import BitPlan, Calibration, quantize
from bitface.quant.attention import heads
from bitface.quant.basis import hadamard, turn
from bitface.quant.post_training import begun
from bitface.quant.rotate import turned_like
from support.quantized import faces, network

SIZE, WIDTH, HEADS = 12, 64, 2


class Attention(nn.Module):
    """Attention over the pixels of an image, `[N, 3, 12, 12]` → `[N, 64]`, with layers of their own.

    Args:
        leak: what is read once more beside the product: query, key, value or scores.
        shared: keys and queries are the same.
        constant: the scores are the same for every image, and so is what they make of a value in floating point.
    """

    def __init__(self, leak: str = "", shared: bool = False, constant: bool = False) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 4, 4)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.leak, self.shared = leak, shared
        self.scores = nn.Parameter(torch.randn(9, 9)) if constant else None

    def split(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 9, HEADS, WIDTH // HEADS).transpose(1, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch(image).flatten(2).transpose(1, 2)
        query, value = self.query(x), self.value(x)
        key = query if self.shared else self.key(x)
        scores: Tensor | None = self.scores
        if scores is None:
            scores = torch.softmax(self.split(query) @ self.split(key).transpose(2, 3), 3)
        mixed = (scores @ self.split(value)).transpose(1, 2).reshape(-1, 9, WIDTH)
        result = self.proj(mixed)
        beside = {"query": query, "key": key, "value": value, "mixed": mixed}.get(self.leak)
        if beside is not None:
            result = result + beside
        pooled: Tensor = result.mean(1)
        return pooled


def folded(module: nn.Module, size: int = SIZE) -> GraphModule:
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.3)
            if layer.bias is not None:
                nn.init.normal_(layer.bias)
    return passes.fold(from_module(module.eval(), size=(size, size)).graph)


def names(graph: GraphModule) -> list[set[str]]:
    return [{str(side.layer.target) for side in one.sides} for one in heads(graph)]


def check_turned(graph: GraphModule, size: int = SIZE) -> set[str]:
    """The function stays; gives what of the state has changed."""
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    with torch.no_grad():
        expected = graph(images)
        for one in heads(graph):
            turn(graph, one.sides, hadamard(one.channels))
        assert (graph(images) - expected).abs().max() <= 1e-5 * expected.abs().max()
    return {name for name, value in graph.state_dict().items() if not torch.equal(value, before[name])}


def test_queries_with_keys_and_values_with_what_follows() -> None:
    graph = folded(Attention())
    assert names(graph) == [{"query", "key"}, {"value", "proj"}]
    assert [one.sides[0].channels.shape for one in heads(graph)] == [(HEADS, WIDTH // HEADS)] * 2
    changed = check_turned(graph)
    assert changed == {f"{name}.{part}" for name in ("query", "key", "value") for part in ("weight", "bias")} | {
        "proj.weight"
    }


@pytest.mark.parametrize(
    ("leak", "left"),
    [
        ("query", [{"value", "proj"}]),
        ("key", [{"value", "proj"}]),
        ("value", [{"query", "key"}]),
        ("mixed", [{"query", "key"}]),
    ],
)
def test_what_is_read_elsewhere_is_left(leak: str, left: list[set[str]]) -> None:
    graph = folded(Attention(leak))
    assert names(graph) == left
    check_turned(graph)


def test_queries_that_are_the_keys_are_left() -> None:
    graph = folded(Attention(shared=True))
    assert names(graph) == [{"value", "proj"}]
    check_turned(graph)


def test_a_layer_that_is_called_twice_is_two() -> None:
    net = Attention()
    net.key = net.query
    graph = folded(net)
    assert len(heads(graph)) == 2
    check_turned(graph)


def test_scores_that_no_image_changes() -> None:
    graph = folded(Attention(constant=True))
    assert names(graph) == [{"value", "proj"}]
    check_turned(graph)
    student, _ = begun(network(Attention(constant=True), SIZE), faces(4, SIZE), BitPlan.parse("w4a4"))
    assert student.layers


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: VisionTransformer(32, 2, 16, 36), 4),
        # Its products are of channels, divided by their length over all tokens: no rotation passes through that.
        (lambda: EdgeFace((8, 8, 12, 16), (1, 2, 1, 1), 4, 16, 36), 0),
    ],
)
def test_backbones(make: Callable[[], nn.Module], found: int) -> None:
    graph = folded(make(), 36)
    assert len(heads(graph)) == found
    check_turned(graph, 36)


@pytest.mark.parametrize(
    ("word", "way", "turned"),
    [("w4a4", "auto", True), ("w4a4s8", "auto", False), ("w4a4", "off", False), ("w8a8", "learned", True)],
)
def test_products_below_eight_bits_are_turned(word: str, way: str, turned: bool) -> None:
    net = network(Attention(), SIZE)
    student, _ = begun(net, faces(4, SIZE), BitPlan.parse(word), Calibration("minmax", rotate=way))
    before = passes.fold(net.graph).get_submodule("query").weight
    assert torch.equal(student.graph.get_submodule("query").weight, before) != turned  # type: ignore[arg-type]


def test_peaks_go() -> None:
    """Of a tensor with a few channels that are large and matter little, four bits hold more without them."""
    net = network(Attention(), SIZE)
    with torch.no_grad():
        for name, factor in (("query", 8), ("key", 1 / 8), ("value", 8)):
            for part in net.graph.get_submodule(name).parameters():
                part.view(HEADS, WIDTH // HEADS, -1)[:, 0] *= factor
        next(net.graph.get_submodule("proj").parameters()).view(WIDTH, HEADS, -1)[:, :, 0] /= 8
    assert net.preprocess
    images = torch.from_numpy(net.preprocess(faces(16, SIZE, 1)))
    cosines = []
    for way in ("off", "hadamard"):
        student, _ = quantize(net, faces(16, SIZE), BitPlan.parse("w8a4"), Calibration("minmax", rotate=way))
        with torch.no_grad():
            cosines.append(torch.cosine_similarity(student.graph(images), net.graph(images)).mean().item())
    assert 1 - cosines[1] < 0.5 * (1 - cosines[0])


def test_a_teacher_in_the_basis_of_its_student() -> None:
    net = network(Attention(), SIZE)
    graph = passes.fold(net.graph)
    for way in ("hadamard", "off"):
        calibration = Calibration("minmax", equalization=False, bias_correction=False, rotate=way)
        student, _ = quantize(net, faces(8, SIZE), BitPlan.parse("w4a4"), calibration)
        found = turned_like(graph, student.graph)
        assert (found is not graph) == (way == "hadamard")
    rotated = passes.fold(net.graph)
    for one in heads(rotated):
        turn(rotated, one.sides, hadamard(one.channels))
    student, _ = quantize(
        net, faces(8, SIZE), BitPlan.parse("w8a8"), Calibration("minmax", bias_correction=False, rotate="hadamard")
    )
    state = turned_like(graph, student.graph).state_dict()
    for name in ("query.weight", "value.bias", "proj.weight"):
        assert (state[name] - rotated.state_dict()[name]).abs().max() < 0.05 * rotated.state_dict()[name].abs().max()

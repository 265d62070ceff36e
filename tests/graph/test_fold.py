"""Folding leaves the function as it is, folds what it may, and leaves alone what it may not.

Channels, height and width are all 4, so that a constant per column can be mistaken for one per channel.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.graph import ops, passes
from bitface.graph.torch_reader import from_module
from support.onnx_models import relative_difference

SIDE = 4


class Parts(nn.Module):
    """Layers and constants, and a forward that joins them. `stem` makes four channels of the image."""

    def __init__(self, join: Callable[["Parts", Tensor], Any]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.conv, self.conv2 = nn.Conv2d(4, 4, 3, bias=False), nn.Conv2d(4, 6, 1)
        self.padded = nn.Conv2d(4, 4, 3, padding=1)
        self.grouped, self.depthwise = nn.Conv2d(4, 6, 2, groups=2), nn.Conv2d(4, 4, 2, groups=4, bias=False)
        self.whole, self.whole_depthwise = nn.Conv2d(4, 5, 4), nn.Conv2d(4, 4, 4, groups=4)
        self.norm3, self.norm6 = nn.BatchNorm2d(3), nn.BatchNorm2d(6)
        self.norm, self.norm2 = nn.BatchNorm2d(4, eps=1e-3), nn.BatchNorm2d(4, affine=False)
        self.flat_norm, self.norm1d = nn.BatchNorm1d(64), nn.BatchNorm1d(4)
        self.fc, self.fc4, self.columns = nn.Linear(64, 5, bias=False), nn.Linear(4, 4), nn.Linear(4, 4)
        for shape in ((1,), (4,), (4, 1), (4, 1, 1), (1, 4, 1, 1), (4, 4, 4), (1, 1, 4), (5, 1, 1, 1)):
            self.register_buffer("c" + "x".join(map(str, shape)), torch.rand(shape) + 0.5)
        self.join = join

    def forward(self, x: Tensor) -> Any:
        return self.join(self, x)


def kinds(graph: GraphModule) -> list[str]:
    """The operators in the order in which they run."""
    modules = (passes.module_of(graph, node) for node in graph.graph.nodes)
    return [ops.op_name(module) or "" for module in modules if module is not None]


def fold(module: nn.Module) -> GraphModule:
    """The folded graph, after comparing it with the graph it is made of."""
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    graph = from_module(module, (SIDE, SIDE))
    before, code = copy.deepcopy(graph.state_dict()), graph.code
    folded = passes.fold(graph)
    with torch.no_grad():
        for batch in (1, 3):
            assert relative_difference(folded(images[:batch]), module(images[:batch])) <= 1e-5
    assert graph.code == code
    assert all(torch.equal(value, before[key]) for key, value in graph.state_dict().items())
    assert not any(isinstance(part, ops.NORMS) for part in folded.modules())
    assert str(passes.fold(folded).graph) == str(folded.graph)
    read = {str(node.target) for node in folded.graph.nodes}
    assert all(name in read or name.rpartition(".")[0] in read for name in folded.state_dict())
    return folded


AFFINE = "ChannelAffine"
Join = Callable[[Parts, Tensor], Any]
FOLDED: dict[str, tuple[Join, list[str]]] = {
    "behind a convolution": (lambda m, x: m.norm(m.stem(x)), ["Conv"]),
    "behind one without a bias": (lambda m, x: m.norm(m.conv(m.stem(x))), ["Conv", "Conv"]),
    "behind a padded one": (lambda m, x: m.norm(m.padded(m.stem(x))), ["Conv", "Conv"]),
    "behind a grouped one": (lambda m, x: m.norm6(m.grouped(m.stem(x))), ["Conv", "Conv"]),
    "behind a depthwise one": (lambda m, x: m.norm(m.depthwise(m.stem(x))), ["Conv", "Conv"]),
    "two behind a convolution": (lambda m, x: m.norm2(m.norm(m.stem(x))), ["Conv"]),
    "two before a padded one": (
        lambda m, x: m.padded(m.norm2(m.norm(m.stem(x).relu()))), ["Conv", "Relu", AFFINE, "Conv"]
    ),
    "before an unpadded one": (lambda m, x: m.conv(m.norm(m.stem(x).relu())), ["Conv", "Relu", "Conv"]),
    "before a grouped one": (lambda m, x: m.grouped(m.norm(m.stem(x).relu())), ["Conv", "Relu", "Conv"]),
    "before a depthwise one": (lambda m, x: m.depthwise(m.norm(m.stem(x).relu())), ["Conv", "Relu", "Conv"]),
    "before a padded one": (lambda m, x: m.padded(m.norm(m.stem(x).relu())), ["Conv", "Relu", AFFINE, "Conv"]),
    "before a pad": (
        lambda m, x: m.conv(nn.functional.pad(m.norm(m.stem(x).relu()), (1, 1, 1, 1))),
        ["Conv", "Relu", AFFINE, "Pad", "Conv"],
    ),
    "of the image": (lambda m, x: m.stem(m.norm3(x)), ["Conv"]),
    "at the end": (lambda m, x: m.norm(m.stem(x).relu()), ["Conv", "Relu", AFFINE]),
    "before flatten and linear": (
        lambda m, x: m.fc(m.norm(m.stem(x).relu()).flatten(1)), ["Conv", "Relu", "Reshape", "Linear"]
    ),
    "between flatten and linear": (
        lambda m, x: m.fc(m.flat_norm(m.stem(x).relu().flatten(1))), ["Conv", "Relu", "Reshape", "Linear"]
    ),
    "behind flatten, not per channel": (
        lambda m, x: m.flat_norm(m.stem(x).flatten(1)), ["Conv", "Reshape", AFFINE]
    ),
    "behind a linear layer": (lambda m, x: m.norm1d(m.fc4(m.stem(x).mean((2, 3)))), ["Conv", "ReduceMean", "Linear"]),
    "before a linear layer": (lambda m, x: m.fc4(m.norm1d(m.stem(x).mean((2, 3)))), ["Conv", "ReduceMean", "Linear"]),
    "behind a linear layer over columns": (
        lambda m, x: m.norm(m.columns(m.stem(x))), ["Conv", "Linear", AFFINE]
    ),
    "before a linear layer over columns": (
        lambda m, x: m.columns(m.norm(m.stem(x).relu())), ["Conv", "Relu", AFFINE, "Linear"]
    ),
    "behind unsqueezes": (
        lambda m, x: m.norm(m.fc4(m.stem(x).mean((2, 3))).unsqueeze(2).unsqueeze(3)).flatten(1),
        ["Conv", "ReduceMean", "Linear"],
    ),
    "behind a view of the map": (lambda m, x: m.norm1d(m.stem(x).flatten(2)), ["Conv", "Reshape"]),
    "behind a view with another reader": (
        lambda m, x: (lambda view: m.norm1d(view) + view)(m.stem(x).flatten(2)), ["Conv", "Reshape", AFFINE, "Add"]
    ),
    "behind a convolution with another reader": (
        lambda m, x: (lambda y: m.norm(y) * y.sigmoid())(m.stem(x)), ["Conv", AFFINE, "Sigmoid", "Mul"]
    ),
    "read by two layers": (
        lambda m, x: (lambda y: m.conv2(y) + m.norm6(m.conv2(y)))(m.norm(m.stem(x).relu())),
        ["Conv", "Relu", AFFINE, "Conv", "Conv", "Add"],
    ),
    "twice by one sum": (lambda m, x: (lambda y: y + y)(m.norm(m.stem(x).relu())), ["Conv", "Relu", AFFINE, "Add"]),
    "one layer and one norm called twice": (
        lambda m, x: m.norm(m.padded(m.norm(m.padded(m.stem(x))).relu())), ["Conv", "Conv", "Relu", "Conv"]
    ),
    "mul per channel": (lambda m, x: m.stem(x) * m.c4x1x1, ["Conv"]),
    "mul per channel, first": (lambda m, x: m.c1x4x1x1 * m.stem(x), ["Conv"]),
    "add per channel": (lambda m, x: m.stem(x) + m.c4x1x1, ["Conv"]),
    "sub": (lambda m, x: m.stem(x) - m.c4x1x1, ["Conv"]),
    "sub from a constant": (lambda m, x: m.c4x1x1 - m.stem(x), ["Conv"]),
    "div": (lambda m, x: m.stem(x) / m.c4x1x1, ["Conv"]),
    "div of a constant": (lambda m, x: m.c4x1x1 / m.stem(x).sigmoid(), ["Conv", "Sigmoid", "Div"]),
    "numbers": (lambda m, x: (3 - 2 * m.stem(x)) / m.c1 + 1, ["Conv"]),
    "normalised image": (lambda m, x: m.stem((x - 127.5) / 128), ["Conv"]),
    "normalised image, padded": (lambda m, x: m.padded(m.stem(x * 2)), ["Conv", "Conv"]),
    "mul per column": (lambda m, x: m.stem(x) * m.c4, ["Conv", "Mul"]),
    "mul per column, long": (lambda m, x: m.stem(x) * m.c1x1x4, ["Conv", "Mul"]),
    "add per row": (lambda m, x: m.stem(x) + m.c4x1, ["Conv", "Add"]),
    "add per pixel": (lambda m, x: m.stem(x) + m.c4x4x4, ["Conv", "Add"]),
    "add per feature": (lambda m, x: m.stem(x).mean((2, 3)) + m.c4, ["Conv", "ReduceMean", AFFINE]),
    "mul that widens": (lambda m, x: m.stem(x)[:, :1] * m.c4x1x1, ["Conv", "Slice", "Mul"]),
    "window of the whole map": (lambda m, x: m.whole(m.stem(x)).flatten(1), ["Conv", "Reshape", "Linear"]),
    "norm behind the whole map": (
        lambda m, x: m.whole(m.norm(m.stem(x).relu())).flatten(1), ["Conv", "Relu", "Reshape", "Linear"]
    ),
    "depthwise window of the whole map": (
        lambda m, x: m.fc4(m.norm(m.whole_depthwise(m.stem(x))).flatten(1)), ["Conv", "Conv", "Reshape", "Linear"]
    ),
    "views of views": (
        lambda m, x: m.stem(x).flatten(2).view(-1, 2, 32).view(-1, 4, 4, 4).flatten(1), ["Conv", "Reshape"]
    ),
    "a view there and back": (lambda m, x: m.padded(m.stem(x).flatten(2).view(-1, 4, 4, 4)), ["Conv", "Conv"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDED)
def test_fold(name: str, scramble: Callable[[nn.Module], nn.Module]) -> None:
    join, expected = FOLDED[name]
    torch.manual_seed(4)
    assert kinds(fold(scramble(Parts(join)))) == expected


def test_weights_that_are_shared_are_folded_apart(scramble: Callable[[nn.Module], nn.Module]) -> None:
    module: Any = scramble(Parts(lambda m, x: m.norm(m.padded(m.conv3(m.stem(x)))).relu()))
    module.conv3 = nn.Conv2d(4, 4, 3, padding=1)
    module.conv3.weight = module.padded.weight
    assert kinds(fold(module)) == ["Conv", "Conv", "Conv", "Relu"]


@pytest.mark.parametrize("seed", range(25))
def test_any_chain(seed: int, scramble: Callable[[nn.Module], nn.Module]) -> None:
    """Random networks: what a rule misses alone, it may break beside another."""
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    steps: list[Callable[[Parts, Tensor], Tensor]] = [
        lambda m, x: m.norm(x), lambda m, x: m.norm2(x), lambda m, x: m.padded(x), lambda m, x: x.relu(),
        lambda m, x: x * m.c4x1x1, lambda m, x: m.c4x1 - x, lambda m, x: x / 3, lambda m, x: x + m.c4x4x4,
        lambda m, x: x.flatten(2).view(-1, 4, 4, 4), lambda m, x: m.norm(x) + m.norm2(x),
        lambda m, x: x.flatten(2) .unsqueeze(3).squeeze(3).view(-1, 4, 4, 4), lambda m, x: x + m.norm(m.padded(x)),
        lambda m, x: m.norm1d(x.flatten(2)).view(-1, 4, 4, 4), lambda m, x: 1 - m.padded(m.norm(x)),
    ]  # fmt: skip
    ends: list[Callable[[Parts, Tensor], Tensor]] = [
        lambda m, x: m.fc(x.flatten(1)), lambda m, x: m.whole(x), lambda m, x: m.flat_norm(x.flatten(1)),
        lambda m, x: m.norm(m.whole_depthwise(x)).flatten(1), lambda m, x: m.norm6(m.grouped(x)),
    ]  # fmt: skip
    chosen = [steps[index] for index in torch.randint(len(steps), (8,), generator=random)]
    chosen.append(ends[int(torch.randint(len(ends), (), generator=random))])

    def join(m: Parts, x: Tensor) -> Tensor:
        x = m.stem(x)
        for step in chosen:
            x = step(m, x)
        return x

    fold(scramble(Parts(join)))


def test_names_that_folding_adds_are_free(scramble: Callable[[nn.Module], nn.Module]) -> None:
    module = scramble(Parts(lambda m, x: m.whole(m.whole_input(m.stem(x))).flatten(1)))
    module.add_module("whole_input", nn.PReLU(4))
    assert kinds(fold(module)) == ["Conv", "PRelu", "Reshape", "Linear"]

"""Pruned networks against the same networks with zeros in the place of what was taken out."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bitface import backbones
from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network, from_module, load_network, ops, passes
from bitface.graph.summary import summarise
from bitface.prune import Pruning, prune
from bitface.prune.choice import Sizes, keep, lowest
from bitface.prune.dependency import Group, find_groups, take_out
from bitface.prune.importance import magnitude, taylor
from support.quantized import Mixed, PreActivation, faces, network


class Joined(nn.Module):
    """Two branches side by side, squeeze-and-excitation, and a plain convolution in two groups; 16 x 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(3, 16, 3, 2, 1)
        self.mix = nn.Conv2d(24, 16, 1)
        self.squeeze, self.excite = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
        self.paired = nn.Conv2d(16, 16, 3, 2, 1, groups=2)
        self.fc = nn.Linear(16 * 4 * 4, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.mix(torch.cat((torch.relu(self.left(x)), torch.relu(self.right(x))), 1)))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.fc(torch.flatten(self.paired(x * gate), 1))


def mobile() -> Network:
    return network(backbones.create("mobilefacenet:0.25", 16, input_size=32), 32)


NETWORKS = {
    "mixed": lambda: network(Mixed(), 16),
    "pre-activation": lambda: network(PreActivation(), 8),
    "joined": lambda: network(Joined(), 16),
    "mobilefacenet": mobile,
    "iresnet": lambda: network(backbones.create("iresnet18:0.25", 16, input_size=32), 32),
    "mobilenetv2": lambda: network(backbones.create("mobilenetv2:0.5", 16, input_size=32), 32),
}


def silenced(graph: nn.Module, groups: list[Group], removed: list[list[int]]) -> nn.Module:
    """The network with zeros in all weights that write or read the channels: what it computes without them."""
    graph = copy.deepcopy(graph)
    with torch.no_grad():
        for group, channels in zip(groups, removed, strict=True):
            for part in group.parts:
                module = graph.get_submodule(part.layer)
                places = part.index[torch.isin(part.channel, torch.tensor(channels, dtype=torch.int64))]
                if isinstance(module, nn.Conv2d | nn.Linear) and not part.out and getattr(module, "groups", 1) == 1:
                    module.weight[:, places] = 0
                else:
                    for value in module.parameters():
                        value[places if len(value) > 1 else slice(0, 0)] = 0
    return graph


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_left_computes_what_it_did(name: str) -> None:
    check(NETWORKS[name]())


@pytest.mark.data
@pytest.mark.parametrize("name", ["foamliu", "prelu"])
def test_the_same_of_imported_files(name: str, data_dir: Path) -> None:
    check(
        load_network(data_dir / "models" / f"{name}_mobilefacenet.onnx", "rgb-imagenet" if name == "foamliu" else None)
    )


@pytest.mark.assets
def test_the_same_of_the_default_teacher(asset: Callable[[str], Path]) -> None:
    check(load_network(asset("sface")))


def check(made: Network) -> None:
    """Takes a third of each group's channels out, at random, and compares with the silenced network."""
    graph = passes.fold(made.graph)
    groups = find_groups(graph)
    random = np.random.default_rng(0)
    removed = [sorted(random.choice(group.channels, group.channels // 3, replace=False).tolist()) for group in groups]
    expected = silenced(graph, groups, removed)
    count, sizes = sum(value.numel() for value in graph.parameters()), Sizes(graph, groups)
    share = sizes.removed([group.channels - len(gone) for group, gone in zip(groups, removed, strict=True)])
    pruned = take_out(graph, groups, removed)
    inputs = torch.randn(4, 3, *made.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = expected(inputs)
        assert torch.allclose(pruned(inputs), wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert sum(value.numel() for value in pruned.parameters()) == round(count * (1 - share))


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
@pytest.mark.parametrize("scope", ["global", "uniform"])
def test_the_share_is_of_the_parameters(importance: str, scope: str) -> None:
    made = mobile()
    before = summarise(Network(passes.fold(made.graph), "")).parameters
    pruned, groups = prune(made, Pruning(0.3, importance, scope, round_to=4), faces(16, 32))
    assert 1 - summarise(pruned).parameters / before == pytest.approx(0.3, abs=0.03)
    assert pruned.embedding_size == made.embedding_size
    assert all(group.after % 4 == 0 and group.after > 0 for group in groups)
    again, _ = prune(made, Pruning(0.3, importance, scope, round_to=4), faces(16, 32))
    assert again.fingerprint() == pruned.fingerprint()
    inputs = torch.randn(2, 3, 32, 32)
    assert pruned.graph(inputs).shape == (2, 16)
    if scope == "uniform":
        assert all(abs(group.after / group.before - 0.8) < 0.26 for group in groups)


def test_taylor_is_how_far_the_embedding_moves() -> None:
    # A channel is scaled down by a little: the embedding's squared way is Taylor's estimate times that squared.
    made, images, little = network(Mixed(), 16), faces(8, 16), 1e-3
    graph = passes.fold(made.graph)
    groups = find_groups(graph)
    # Each draw is unbiased: the mean over many comes near.
    draws = [taylor(graph, groups, made.preprocess, images, seed) for seed in range(600)]
    inputs = torch.from_numpy(made.preprocess(images))
    with torch.no_grad():
        before = nn.functional.normalize(graph(inputs))
        for number, group in enumerate(groups):
            found = torch.stack([draw[number] for draw in draws]).mean(0)
            writers = [
                part for part in group.parts
                if part.out and isinstance(part.module, ops.LAYERS) and getattr(part.module, "groups", 1) == 1
            ]  # fmt: skip
            for channel in range(0, group.channels, 3):
                for scale in (1 - little, 1 / (1 - little)):
                    for part in writers:
                        for value in part.module.parameters():
                            value[part.index[part.channel == channel]] *= scale
                    if scale < 1:
                        moved = nn.functional.normalize(graph(inputs)) - before
                expected = float(moved.square().sum(1).mean()) / little**2
                assert float(found[channel]) == pytest.approx(expected, rel=0.3, abs=2e-5)


def test_magnitude_is_the_norm_of_the_group() -> None:
    graph = passes.fold(network(Mixed(), 16).graph)
    groups = find_groups(graph)
    group = next(group for group in groups if {part.layer for part in group.parts} >= {"stem.0", "deep.0", "point"})
    found = magnitude([group])[0]
    stem, point, wide = (graph.get_submodule(name).weight for name in ("stem.0", "point", "wide.0"))
    squares = [stem.flatten(1).square().sum(1), point.flatten(1).square().sum(1)]
    squares += [weight.transpose(0, 1).flatten(1).square().sum(1) for weight in (point, wide)]
    total = torch.stack(squares).sum(0)
    assert torch.allclose(found, total / total.mean(), rtol=1e-4)


def test_the_choice_is_the_nearest_there_is() -> None:
    graph = passes.fold(mobile().graph)
    groups = find_groups(graph)
    sizes, scores = Sizes(graph, groups), [torch.rand(group.channels) for group in groups]
    for ratio in (0.05, 0.2, 0.5, 0.8):
        kept = keep(sizes, groups, scores, ratio, "global", 1)
        assert sizes.removed(kept) == pytest.approx(ratio, abs=0.02)
        limit = max(
            float(score[lowest(score, count)].max())
            for score, count in zip(scores, kept, strict=True)
            if count < len(score)
        )
        for score, count in zip(scores, kept, strict=True):
            stays = [channel for channel in range(len(score)) if channel not in lowest(score, count)]
            assert len(stays) == 1 or float(score[stays].min()) >= limit - 1e-6


def test_lowest() -> None:
    assert lowest(torch.tensor([3.0, 1.0, 2.0, 1.0]), 2) == [1, 3]
    assert lowest(torch.tensor([1.0, 1.0, 1.0]), 2) == [2]
    assert lowest(torch.tensor([1.0, 2.0]), 2) == []


class Shuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x.reshape(x.shape[0], 2, 4, 6, 6).permute(0, 2, 1, 3, 4).reshape(x.shape[0], 8, 6, 6)
        return self.fc(torch.flatten(self.second(x), 1))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(x, 1))


@pytest.mark.parametrize(("module", "words"), [(Shuffled, "Transpose mixes channels"), (Plain, "can be pruned")])
def test_what_cannot_be_followed(module: type[nn.Module], words: str) -> None:
    made = from_module(module(), "rgb-127.5-127.5", size=(8, 8))
    with pytest.raises(BitfaceError, match=words):
        prune(made, Pruning(0.2), faces(4, 8))


def test_a_constant_for_each_channel_is_followed_or_refused() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 16, 3), nn.Linear(16 * 36, 4)
            self.register_buffer("map", torch.randn(1, 16, 6, 6))

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.flatten(torch.relu(self.conv(x) + self.map), 1))

    made = from_module(Shifted(), "rgb-127.5-127.5", size=(8, 8))
    with pytest.raises(BitfaceError, match="can't follow"):
        prune(made, Pruning(0.4), faces(4, 8))


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, True, "0.2", float("nan")])
def test_impossible_ratios(ratio: Any) -> None:
    with pytest.raises(UsageError, match="above 0 and below 1"):
        Pruning(ratio)


def test_a_ratio_that_would_empty_a_layer() -> None:
    with pytest.raises(UsageError, match="empty layers"):
        prune(mobile(), Pruning(0.99, "magnitude"), faces(2, 32))

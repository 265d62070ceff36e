"""Images distilled from a teacher alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bitface.data import distilled, sources
from bitface.data.distilled import apart, distilled_faces
from bitface.data.faces import find_images, load_faces
from bitface.data.synthetic import fill_faces
from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network, from_module
from bitface.preprocess import parse
from bitface.store import Store
from support.quantized import Mixed, network


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(distilled, "BATCH", 8)
    monkeypatch.setattr(distilled, "STEPS", 12)
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))


def spread(net: Network, images: np.ndarray) -> float:
    """The mean squared cosine between embeddings of different images."""
    assert net.preprocess is not None
    with torch.no_grad():
        unit = nn.functional.normalize(net.graph(torch.from_numpy(net.preprocess(images)))).numpy()
    cosines = unit @ unit.T
    return float((cosines[~np.eye(len(unit), dtype=bool)] ** 2).mean())


def test_the_network_tells_the_images_apart() -> None:
    net = network(Mixed(), 16)
    calls: list[tuple[int, int]] = []
    images = distilled_faces(net, 13, progress=lambda done, total: calls.append((done, total)))
    assert (images.shape, images.dtype) == ((13, 16, 16, 3), np.uint8)
    assert calls == [(step, 24) for step in range(1, 25)]
    noise = np.random.default_rng(0).integers(0, 256, (13, 16, 16, 3), dtype=np.uint8)
    assert spread(net, images) < 0.75 * spread(net, noise)
    assert images.reshape(13, -1).std(1).min() > 5


def test_images_are_a_function_of_the_seed_and_their_number() -> None:
    net = network(Mixed(), 16)
    first = distilled_faces(net, 10)
    np.testing.assert_array_equal(distilled_faces(net, 10), first)
    np.testing.assert_array_equal(distilled_faces(net, 5), first[:5])
    assert (distilled_faces(net, 10, seed=1) != first).any()


def test_the_teacher_is_left_as_it_was() -> None:
    net = network(Mixed(), 16)
    before = net.fingerprint()
    distilled_faces(net, 4)
    assert net.fingerprint() == before
    assert all(parameter.requires_grad for parameter in net.graph.parameters())
    assert not any(module._forward_hooks for module in net.graph.modules())


def test_moments_and_their_gradients() -> None:
    for shape in ((4, 5, 3, 2), (6, 5)):
        x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
        mean, square = distilled._Moments.apply(x)
        dims = [axis for axis in range(x.dim()) if axis != 1]
        torch.testing.assert_close(mean, x.mean(dims))
        torch.testing.assert_close(square - mean.square(), x.var(dims, correction=0))
        assert torch.autograd.gradcheck(distilled._Moments.apply, x)


def test_a_frozen_prelu_has_the_gradient_of_a_prelu() -> None:
    slope = torch.tensor([0.2, -0.5, 1.5], dtype=torch.float64)
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    module = distilled._FrozenPReLU(slope)
    torch.testing.assert_close(module(x), nn.functional.prelu(x, slope))
    assert torch.autograd.gradcheck(module, x)


def test_kept_statistics_are_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inputs of the BatchNorms come nearer to what these have kept than without this term."""
    net = network(Mixed(), 16)
    monkeypatch.setattr(distilled, "STEPS", 40)

    def distance(images: np.ndarray) -> float:
        norms = [module for module in net.graph.modules() if isinstance(module, nn.BatchNorm2d)]
        seen: list[torch.Tensor] = []
        handles = [norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for norm in norms]
        assert net.preprocess is not None
        with torch.no_grad():
            net.graph(torch.from_numpy(net.preprocess(images)))
        for handle in handles:
            handle.remove()
        total = 0.0
        for norm, x in zip(norms, seen, strict=True):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            total += float(((x.mean((0, 2, 3)) - norm.running_mean).square() / norm.running_var).mean())
            total += float((x.std((0, 2, 3)) / norm.running_var.sqrt() - 1).square().mean())
        return total

    near = distance(distilled_faces(net, 8))
    monkeypatch.setattr(distilled, "_STATISTICS", 0.0)
    assert near < 0.9 * distance(distilled_faces(net, 8))


def test_colours_follow_the_preprocessing() -> None:
    """The same network with its first layer's inputs swapped, told so, is shown the same images."""
    torch.manual_seed(0)
    module = Mixed()
    net = network(module, 16)
    swapped = network(module, 16)
    first = next(m for m in swapped.graph.modules() if isinstance(m, nn.Conv2d))
    first.weight.data = first.weight.data.flip(1)
    swapped = swapped.with_preprocess(parse("bgr-127.5-127.5", (16, 16)))
    close = np.abs(distilled_faces(net, 4).astype(int) - distilled_faces(swapped, 4).astype(int))
    assert close.mean() < 1  # sums in another order


def test_finished_batches_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, store = network(Mixed(), 16), Store(tmp_path)
    whole = distilled_faces(net, 16)

    def stop(done: int, total: int) -> None:
        if done == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distilled_faces(net, 16, store=store, progress=stop)
    (batch,) = (path for path in tmp_path.rglob("*") if path.is_file())
    steps: list[int] = []
    again = distilled_faces(net, 16, store=store, progress=lambda done, _: steps.append(done))
    assert steps == list(range(13, 25))
    np.testing.assert_array_equal(again, whole)
    batch.write_bytes(b"damaged")
    np.testing.assert_array_equal(distilled_faces(net, 16, store=store), whole)


class Constant(nn.Module):
    """Answers alike whatever it sees."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 16)
        self.conv.weight.data.zero_()
        self.conv.bias.data.fill_(value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.flatten(self.conv(x), 1)


def test_networks_from_which_nothing_can_be_made() -> None:
    constant = from_module(Constant(), "rgb-127.5-127.5", "flat", size=(16, 16))
    with pytest.raises(BitfaceError, match=r"^flat: gives nearly the same embedding .* give faces"):
        distilled_faces(constant, 4)
    broken = from_module(Constant(3e38), "rgb-127.5-127.5", "broken", size=(16, 16))
    with pytest.raises(BitfaceError, match=r"^broken: its embeddings aren't finite"):
        distilled_faces(broken, 4)
    with pytest.raises(BitfaceError, match=r"^flat: .* name it with preprocess="):
        distilled_faces(replace(constant, preprocess=None), 4)


def test_as_a_source() -> None:
    net = network(Mixed(), 16)
    source = sources.Source.parse("none:9")
    folder = sources.cached(source, 0, net)
    assert len(list(folder.glob("*.png"))) == 9
    assert sources.kind_of(folder, 9) == sources.DISTILLED
    assert sources.kind_of(folder, 10) == sources.REAL  # somebody has added an image
    made = [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    assert sources.cached(source, 0, net) == folder
    assert [path.stat().st_mtime_ns for path in sorted(folder.iterdir())] == made
    next(folder.glob("*.png")).unlink()
    assert len(list(sources.cached(source, 0, net).glob("*.png"))) == 9
    with pytest.raises(UsageError, match="name the network"):
        sources.cached(source)


def test_faces_are_brought_apart() -> None:
    """By little: pixels stay near what they were, and the teacher tells the images apart better than before."""
    net = network(Mixed(), 16)
    faces = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
    calls: list[tuple[int, int]] = []
    images = apart(net, faces, progress=lambda done, total: calls.append((done, total)))
    assert (images.shape, images.dtype, calls) == (faces.shape, np.uint8, [(1, 4), (2, 4), (3, 4), (4, 4)])
    assert spread(net, images) < spread(net, faces)
    assert 2 < np.abs(images.astype(int) - faces).mean() < 30
    np.testing.assert_array_equal(apart(net, faces[:8]), images[:8])
    with pytest.raises(BitfaceError, match="name it with preprocess="):
        apart(replace(net, preprocess=None), faces)


@pytest.mark.assets
def test_spread_faces_as_a_source() -> None:
    net = network(Mixed(), 16)
    with pytest.raises(UsageError, match="'spread' makes images from a teacher: name the network"):
        sources.cached(sources.Source.parse("spread:9"))
    folder, plain = (sources.cached(sources.Source.parse(word), 0, net) for word in ("spread:9", "synthetic:16"))
    assert (len(list(folder.glob("*.png"))), sources.kind_of(folder, 9)) == (9, sources.SPREAD)
    own, before = (load_faces(find_images([one]), net.size).images for one in (folder, plain))
    assert 2 < np.abs(own.astype(int) - before[:9]).mean() < 30
    more = load_faces(find_images([sources.cached(sources.Source.parse("spread:11"), 0, net)]), net.size).images
    np.testing.assert_array_equal(more[:9], own)


def test_two_processes_make_the_same_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path))
    write, others = fill_faces, []

    def overtaken(*faces: Any) -> None:
        with monkeypatch.context() as alone:
            alone.setattr(sources, "fill_faces", write)
            others.append(sources.cached(sources.Source.parse("synthetic:2")))
        write(*faces)

    monkeypatch.setattr(sources, "fill_faces", overtaken)
    assert sources.cached(sources.Source.parse("synthetic:2")) == others[0]
    assert len(list(others[0].glob("*.png"))) == 2


@pytest.mark.parametrize(
    ("word", "kind", "path", "count"),
    [
        ("crops", "folder", "crops", 0),
        ("synthetic", "synthetic", None, 2000),
        ("synthetic:7", "synthetic", None, 7),
        ("synthetics", "folder", "synthetics", 0),
        ("none", "none", None, 512),
        ("none:64", "none", None, 64),
        ("spread:64", "spread", None, 64),
        ("generator:a/b.onnx", "generator", "a/b.onnx", 2000),
        ("generator:C:\\net.pt:12", "generator", "C:\\net.pt", 12),
    ],
)
def test_words(word: str, kind: str, path: str | None, count: int) -> None:
    assert sources.Source.parse(word) == sources.Source(kind, Path(path) if path else None, count)


def test_other_ways_of_making_images_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    net, source = network(Mixed(), 16), sources.Source.parse("none:4")
    folder = sources.cached(source, 0, net)
    monkeypatch.setattr(distilled, "STEPS", 3)
    assert sources.cached(source, 0, net) != folder


def test_impossible_words() -> None:
    with pytest.raises(UsageError, match="'none:0' asks for no faces"):
        sources.Source.parse("none:0")
    with pytest.raises(BitfaceError, match=r"gone.onnx: can't be read .* 'generator:' names a file"):
        sources.cached(sources.Source.parse("generator:gone.onnx:5"))

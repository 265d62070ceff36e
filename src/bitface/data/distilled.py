"""Faces without faces: images that a teacher itself calls different faces, made from nothing but the teacher.

Noise is changed by gradient descent until the network answers as it answers to faces: with long embeddings, spread
over the sphere, the same for an image, its mirror image and a slightly shifted one. Where BatchNorms have kept what
tensors look like on real faces, the images match that too (ZeroQ, Cai et al. 2020); an embedding network without a
classifier and with its BatchNorms folded away needs nothing else. The images are sums over scales, so that coarse
things change first, as in photographs.

Begun with faces in the place of noise, the first steps of the same bring made faces apart, which are much alike.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.cpu import keep_memory
from bitface.data.faces import Progress
from bitface.errors import BitfaceError, option
from bitface.graph import Network, ops, passes
from bitface.store import Store, array

STEPS, APART_STEPS = 30, 2
BATCH = 64
# Pixels of faces to begin with lie so far from black and white, shares of the way, that they can be changed.
_ROOM = 0.02
_RATE = 0.05
_SCALES = (28, 16, 8, 4, 2, 1)
_SHIFT = 3
_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # as `preprocess.luma`
_MIRRORED = 4  # one image of so many
# What each term of the objective weighs.
_MIRROR, _SPREAD, _SMOOTH, _LENGTH, _STATISTICS = 1.0, 1.0, 2.0, 0.1, 1.0
# Brightness, orange against blue, and green against magenta, by how much photographs vary in them.
_COLOURS = torch.tensor([[1.0, 0.35, 0.1], [1.0, 0.0, -0.2], [1.0, -0.35, 0.1]])
# Faces of different people are nearly at right angles; images above this are all the same to the network.
_ALIKE = 0.9


def version() -> str:
    """Names how images are made: what was kept under other numbers is of another kind."""
    weights = (_MIRROR, _SPREAD, _SMOOTH, _LENGTH, _STATISTICS)
    numbers = repr((STEPS, APART_STEPS, BATCH, _ROOM, _RATE, _SCALES, _SHIFT, _MIRRORED, weights, _COLOURS.tolist()))
    return hashlib.sha256(numbers.encode()).hexdigest()[:8]


def distilled_faces(
    network: Network,
    count: int,
    seed: int = 0,
    store: Store | None = None,
    progress: Progress | None = None,
    device: torch.device = torch.device("cpu"),
) -> np.ndarray:
    """`count` images from a teacher alone: uint8 RGB `[count, H, W, 3]`.

    They are made in batches of 64, each by its number and the seed alone: more of them begin with fewer.

    Args:
        network: the teacher, with its preprocessing.
        store: keeps finished batches, so that stopping loses one at most.
        progress: called with (steps done, steps in all).
        device: where they are made; what is drawn is drawn on the CPU.

    Raises:
        BitfaceError: the preprocessing is unknown, or the network answers alike to whatever it is shown.
    """
    return _made(network, [None] * math.ceil(count / BATCH), STEPS, seed, store, progress, device)[:count]


def apart(
    network: Network,
    faces: np.ndarray,
    seed: int = 0,
    store: Store | None = None,
    progress: Progress | None = None,
    device: torch.device = torch.device("cpu"),
) -> np.ndarray:
    """Faces, changed a little until a teacher takes them for less alike: uint8 RGB, as `faces`.

    Args:
        network: the teacher, with its preprocessing.
        faces: uint8 RGB `[N, H, W, 3]`, of the network's size; N is a multiple of `BATCH`, whose faces are brought
            apart from one another.
        store, progress, device: as in `distilled_faces`.

    Raises:
        BitfaceError: as `distilled_faces`.
    """
    return _made(network, np.split(faces, len(faces) // BATCH), APART_STEPS, seed, store, progress, device)


def _made(
    network: Network,
    starts: Sequence[np.ndarray | None],
    steps: int,
    seed: int,
    store: Store | None,
    progress: Progress | None,
    device: torch.device,
) -> np.ndarray:
    """The images of several batches; each begins with faces, or with noise."""
    images = []
    for number, start in enumerate(starts):
        tell = _tell(progress, number * steps, len(starts) * steps)
        compute = partial(_batch, network, start, steps, seed * 1_000_003 + number, tell, device)
        images.append(store.value("batches", f"{number:05d}", array("images"), compute) if store else compute())
    return np.concatenate(images)


def has_statistics(graph: GraphModule) -> bool:
    """Whether a graph has kept what its tensors look like on the faces it was trained with."""
    return any(isinstance(module, ops.NORMS) for module in graph.modules())


def _batch(
    network: Network, faces: np.ndarray | None, steps: int, seed: int, tell: Callable[[int], None], device: torch.device
) -> np.ndarray:
    """Images after some steps from noise, or from faces."""
    if network.preprocess is None:
        raise BitfaceError(
            f"{network.name}: doesn't say how its input is normalised, and without faces that can't be found; "
            f"name it with {option('preprocess')}"
        )
    keep_memory()
    generator = torch.Generator().manual_seed(seed)
    height, width = network.size
    sides = [(scale, math.ceil(height / scale), math.ceil(width / scale)) for scale in _SCALES]
    if faces is None:
        start = torch.zeros((), device=device)
        layers = [torch.randn(BATCH, 3, *s, generator=generator).mul_(0.5 if scale > 2 else 0.1) for scale, *s in sides]
    else:
        start = _logits(faces).to(device)
        layers = [torch.zeros(BATCH, 3, *s) for _, *s in sides]
    layers = [layer.to(device).requires_grad_(True) for layer in layers]
    channels = network.preprocess.channels
    numbers = network.preprocess.mean, network.preprocess.std
    mean, std = (torch.tensor(values[:channels], device=device).view(channels, 1, 1) for values in numbers)
    optimizer = torch.optim.Adam(layers, _RATE)
    graph, statistics = _watched(network.graph, device)
    for step in range(steps):
        images = _image(start, layers, height, width)
        shift = torch.randint(-_SHIFT, _SHIFT + 1, (2,), generator=generator).tolist()
        view = images.roll(shift, (2, 3))
        view = view.flip(1) if network.preprocess.color == "bgr" else view
        view = (view * _LUMA.to(device)).sum(1, keepdim=True) if network.preprocess.color == "grey" else view
        mirrored = torch.arange(
            step % _MIRRORED, BATCH, _MIRRORED, device=device
        )  # others in each step, as they cost time
        inputs = (torch.cat([view, view[mirrored].flip(3)]) - mean) / std
        statistics.clear()
        embeddings = graph(inputs.contiguous(memory_format=torch.channels_last))
        loss, alike = _objective(images / 255, embeddings, mirrored, statistics)
        if not torch.isfinite(loss):
            raise BitfaceError(f"{network.name}: its embeddings aren't finite; no images can be made from it")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        tell(step + 1)
    if alike > _ALIKE:
        raise BitfaceError(
            f"{network.name}: gives nearly the same embedding for whatever it is shown (mean cosine {alike:.2f}), so "
            f"no images can be made from it; give faces, or check {option('preprocess')}"
        )
    with torch.no_grad():
        pixels = _image(start, layers, height, width).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def _logits(faces: np.ndarray) -> Tensor:
    """What `_image` begins with so that it gives these faces, uint8 `[B, H, W, 3]`; `[B, 3, H, W]`."""
    shares = torch.from_numpy(faces).permute(0, 3, 1, 2) / 255
    return shares.clamp(_ROOM, 1 - _ROOM).logit()


def _image(start: Tensor, layers: list[Tensor], height: int, width: int) -> Tensor:
    """RGB from 0 to 255, `[B, 3, H, W]`."""
    size = (height, width)
    planes = [nn.functional.interpolate(layer, size, mode="bilinear", align_corners=False) for layer in layers]
    colours = torch.einsum("bchw,dc->bdhw", torch.stack(planes).sum(0), _COLOURS.to(planes[0].device))
    return torch.sigmoid(start + colours) * 255


def _objective(images: Tensor, embeddings: Tensor, mirrored: Tensor, statistics: list[Tensor]) -> tuple[Tensor, float]:
    """What is made small, and how alike the embeddings of different images are.

    Args:
        images: 0 to 1, `[B, 3, H, W]`.
        embeddings: of them, and of the mirror images of some of them, `[B + M, D]`.
        mirrored: which ones, `[M]`.
        statistics: how far the output of each layer is from what its BatchNorm has kept.
    """
    length = embeddings.norm(dim=1)
    unit = nn.functional.normalize(embeddings)
    unit, mirror_images = unit[: len(images)], unit[len(images) :]
    cosines = (unit @ unit.T)[~torch.eye(len(unit), dtype=torch.bool, device=unit.device)]
    rough = images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()
    loss = (
        _MIRROR * (1 - (unit[mirrored] * mirror_images).sum(1)).mean()
        + _SPREAD * cosines.square().mean()
        + _SMOOTH * rough
        - _LENGTH * length.clamp(min=1e-12).log().mean()
    )
    if statistics:
        loss = loss + _STATISTICS * torch.stack(statistics).mean()
    return loss, float(cosines.detach().mean())


def _watched(graph: GraphModule, device: torch.device) -> tuple[GraphModule, list[Tensor]]:
    """A folded copy with nothing to train, and a list that gets the distance of each layer's output as it runs.

    After a BatchNorm, outputs have its bias for a mean and its weight for a deviation.
    """
    folded, distances = passes.fold(graph).eval().requires_grad_(False).to(device), []
    modules = dict(folded.named_modules())

    def watch(target: Tensor, deviation: Tensor, _: nn.Module, __: Any, output: Tensor) -> None:
        mean, square = _Moments.apply(output)  # type: ignore[no-untyped-call]
        spread = deviation.square().clamp(min=1e-8)
        variance = (square - mean.square()).clamp(min=1e-12)
        distances.append(((mean - target).square() / spread).mean() + ((variance / spread).sqrt() - 1).square().mean())

    for node in graph.graph.nodes:
        norm = passes.module_of(graph, node)
        if isinstance(norm, ops.NORMS):
            layer = modules.get(str(node.all_input_nodes[0].target))
            if isinstance(layer, ops.LAYERS):
                layer.register_forward_hook(
                    partial(watch, norm.bias.detach().to(device), norm.weight.detach().to(device))
                )
    for name, module in modules.items():
        if isinstance(module, nn.PReLU):
            holder, _, leaf = name.rpartition(".")
            setattr(folded.get_submodule(holder), leaf, _FrozenPReLU(module.weight))
    return folded, distances


class _Moments(torch.autograd.Function):
    """The mean and the mean square of each channel: torch's own variance takes ten times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x)
        rows = x.movedim(1, -1).flatten(0, -2)
        return rows.mean(0), rows.square().mean(0)

    @staticmethod
    def backward(ctx: Any, by_mean: Tensor, by_square: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        shape, count = (-1, *[1] * (x.dim() - 2)), x.numel() // x.shape[1]
        return torch.addcmul((by_mean / count).view(shape), x, (2 * by_square / count).view(shape))


class _FrozenPReLU(nn.Module):
    """A PReLU whose slopes need no gradient: its backward pass takes a quarter of the time of torch's."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = _PReLU.apply(x, self.slope)  # type: ignore[no-untyped-call]
        return result


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return nn.functional.prelu(x, slope)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, slope = ctx.saved_tensors
        slope = slope.view(-1, *[1] * (x.dim() - 2))
        positive = torch.ops.aten.threshold_backward(gradient, x, 0)
        return positive.mul_(1 - slope).addcmul_(gradient, slope), None


def _tell(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    return lambda steps: progress(before + steps, total) if progress else None

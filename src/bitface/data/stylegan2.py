"""The generator of StyleGAN2 in its ADA form: noise → colour images.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), and "Training Generative Adversarial
Networks with Limited Data" (2020): a mapping network from latents z to styles w, and a synthesis network that doubles
the side from block to block and sums each block's picture onto the enlarged one of the block before ("skip").
"""

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bitface.errors import BitfaceError

_EPSILON = 1e-8
_MAPPING_RATE = 0.01
_MOST_BLOCKS = 10
# What a state dict may lack: it is the same in every published generator.
_OPTIONAL = ("resample_filter", "num_batches_tracked")
_UNFIT = "looks like a StyleGAN2-ADA generator, but "


class StyleGAN2(nn.Module):
    """Latents `[B, z_dim]` → RGB images `[B, 3, H, W]`, roughly in -1 to 1; unconditional, with constant noise.

    Parameters and buffers are named as in published state dicts, so that those load without renaming. Activations
    aren't clamped at 256, as half precision demands: in float32, they don't get there.

    Args:
        channels: the width of each block, from the one of 4x4 pixels on.
        layers: how many fully connected layers the mapping network has.
    """

    def __init__(self, z_dim: int, w_dim: int, channels: Sequence[int], layers: int = 8) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.resolution = 4 << (len(channels) - 1)
        self.mapping = _Mapping(z_dim, w_dim, layers)
        self.synthesis = _Synthesis(w_dim, channels)

    def forward(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        """`truncation` draws the styles to their mean: 1 leaves them, 0 gives the same image for every latent."""
        result: Tensor = self.synthesis(self.mapping(z, truncation))
        return result


def stylegan2_from_state(state: Mapping[str, Tensor]) -> StyleGAN2 | None:
    """The network of a published state dict, in evaluation mode; None where the keys are of something else.

    All sizes are read from the shapes. The filters (`resample_filter`) may be absent.

    Raises:
        BitfaceError: the keys are of this family, but one is missing, one too many or misshapen (the first is named),
            holds no finite numbers, or the generator is conditional.
    """
    if not all(any(key.startswith(f"{part}.") for key in state) for part in ("mapping", "synthesis")):
        return None
    if embed := next((key for key in state if key.startswith("mapping.embed.")), None):
        raise BitfaceError(f"a conditional StyleGAN2-ADA generator ('{embed}'); only unconditional ones are read")
    layers = len(_numbers(state, r"mapping\.fc(\d+)\."))
    blocks = len(_numbers(state, r"synthesis\.b(\d+)\."))
    if blocks > _MOST_BLOCKS:
        raise BitfaceError(f"a StyleGAN2-ADA generator of {blocks} blocks; more than {_MOST_BLOCKS} aren't read")
    w_dim, z_dim = _shape(state, "mapping.fc0.weight", 2)
    _shape(state, "synthesis.b4.const", 3)
    channels = [_shape(state, f"synthesis.b{4 << block}.conv1.weight", 4)[0] for block in range(blocks)]
    with torch.device("meta"):
        network = StyleGAN2(z_dim, w_dim, channels, layers)
    expected = network.state_dict()
    if difference := first_difference(expected, state):
        raise BitfaceError(_UNFIT + difference)
    complete = {key: state[key].float().contiguous() if key in state else _filter() for key in expected}
    network.load_state_dict(complete, assign=True)
    return network.eval().requires_grad_(False)


def first_difference(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the first tensor of `state` that doesn't fit a network's own state dict; None if all do."""
    for key, own in expected.items():
        if key not in state:
            if key.endswith(_OPTIONAL):
                continue
            return f"'{key}' is missing"
        tensor = state[key]
        if tensor.shape != own.shape:
            return f"'{key}' has the shape {list(tensor.shape)} instead of {list(own.shape)}"
        if own.is_floating_point() and not (tensor.is_floating_point() and torch.isfinite(tensor).all()):
            return f"'{key}' holds something else than finite floating-point numbers"
    return next((f"'{key}' doesn't belong to it" for key in state if key not in expected), None)


def modulated_convolution(x: Tensor, weight: Tensor, styles: Tensor, fir: Tensor | None = None) -> Tensor:
    """A convolution with other weights for each image: its `styles` times `weight`, each filter scaled to norm 1.

    Equations 1 and 3 of the first paper; the side stays, or doubles where a filter `fir` to smooth with is given.

    Args:
        x: `[B, I, H, W]`.
        weight: `[O, I, 3, 3]`.
        styles: one factor for each image and input channel, `[B, I]`.
        fir: `[4, 4]`, of sum 1.
    """
    # Factors of input channels act on the input and norms of filters on the output: no weights for each image.
    x = x * styles[:, :, None, None]
    if fir is None:
        x = functional.conv2d(x, weight, padding=1)
    else:
        x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        # Three of four pixels were zeros before the convolution, hence the factor of 4.
        x = functional.conv2d(x, _per_channel(4 * fir.flip(0, 1), x), padding=1, groups=x.shape[1])
    energy = styles.square() @ weight.square().sum((2, 3)).T
    return x * torch.rsqrt(energy + _EPSILON)[:, :, None, None]


def enlarged(image: Tensor, fir: Tensor) -> Tensor:
    """An image `[B, C, H, W]` with twice the side, zeros inserted and smoothed with `fir` `[4, 4]`."""
    kernel = _per_channel(4 * fir, image)
    return functional.conv_transpose2d(image, kernel, stride=2, padding=1, groups=image.shape[1])


class _Mapping(nn.Module):
    """Latents `[B, z_dim]` → styles `[B, w_dim]`."""

    w_avg: Tensor

    def __init__(self, z_dim: int, w_dim: int, layers: int) -> None:
        super().__init__()
        for layer in range(layers):
            self.add_module(f"fc{layer}", _Linear(w_dim if layer else z_dim, w_dim, rate=_MAPPING_RATE))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, truncation: float) -> Tensor:
        w = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + _EPSILON)
        for layer in self.children():
            w = _activation(layer(w))
        return self.w_avg.lerp(w, truncation)


class _Synthesis(nn.Module):
    """Styles `[B, w_dim]` → images. Every layer gets the same style: mixing them is for training."""

    def __init__(self, w_dim: int, channels: Sequence[int]) -> None:
        super().__init__()
        for block, width in enumerate(channels):
            self.add_module(f"b{4 << block}", _Block(channels[max(block - 1, 0)], width, w_dim, 4 << block))

    def forward(self, w: Tensor) -> Tensor:
        x = image = None
        for block in self.children():
            x, image = block(x, image, w)
        assert image is not None
        result: Tensor = image
        return result


class _Block(nn.Module):
    """Features and image of half the side → those of this side; the first block (side 4) begins with a constant."""

    resample_filter: Tensor

    def __init__(self, before: int, width: int, w_dim: int, side: int) -> None:
        super().__init__()
        self.register_buffer("resample_filter", _filter())
        if side == 4:
            self.const = nn.Parameter(torch.randn(width, 4, 4))
        else:
            self.conv0 = _Convolution(before, width, w_dim, side, up=True)
        self.conv1 = _Convolution(width, width, w_dim, side, up=False)
        self.torgb = _ToRGB(width, w_dim)

    def forward(self, x: Tensor | None, image: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        x = self.const.expand(len(w), -1, -1, -1) if x is None else self.conv0(x, w)
        x = self.conv1(x, w)
        picture = self.torgb(x, w)
        return x, picture if image is None else enlarged(image, self.resample_filter) + picture


class _Convolution(nn.Module):
    """A modulated convolution, constant noise, bias and activation; `side` is that of the output."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(self, before: int, width: int, w_dim: int, side: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.affine = _Linear(w_dim, before, bias=1.0)
        # No equalized learning rate here: dividing by the norm takes any factor out again.
        self.weight = nn.Parameter(torch.randn(width, before, 3, 3))
        self.bias = nn.Parameter(torch.zeros(width))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(side, side))
        self.register_buffer("resample_filter", _filter())

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = modulated_convolution(x, self.weight, self.affine(w), self.resample_filter if self.up else None)
        return _activation(x + (self.noise_const * self.noise_strength + self.bias[:, None, None]))


class _ToRGB(nn.Module):
    """Features → a picture, by a modulated 1x1 convolution whose filters keep their norms."""

    def __init__(self, width: int, w_dim: int) -> None:
        super().__init__()
        self.affine = _Linear(w_dim, width, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        styles = self.affine(w) / math.sqrt(x.shape[1])
        return functional.conv2d(x * styles[:, :, None, None], self.weight, self.bias)


class _Linear(nn.Module):
    """A fully connected layer with equalized learning rate: `rate` and the fan-in scale what is stored."""

    def __init__(self, before: int, after: int, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.rate = rate
        self.weight = nn.Parameter(torch.randn(after, before) / rate)
        self.bias = nn.Parameter(torch.full([after], bias))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * (self.rate / math.sqrt(x.shape[1])), self.bias * self.rate)


def _activation(x: Tensor) -> Tensor:
    """Leaky ReLU; the factor keeps the variance."""
    return functional.leaky_relu(x, 0.2) * math.sqrt(2)


def _filter() -> Tensor:
    """The binomial filter 1, 3, 3, 1 in both directions, of sum 1."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(line, line)


def _per_channel(kernel: Tensor, x: Tensor) -> Tensor:
    return kernel.expand(x.shape[1], 1, -1, -1)


def _numbers(state: Mapping[str, Tensor], pattern: str) -> set[str]:
    """The different numbers that keys have where the pattern has its group."""
    return {match[1] for key in state if (match := re.match(pattern, key))}


def _shape(state: Mapping[str, Tensor], key: str, rank: int) -> torch.Size:
    if key not in state:
        raise BitfaceError(f"{_UNFIT}'{key}' is missing")
    shape = state[key].shape
    if len(shape) != rank or 0 in shape:
        raise BitfaceError(f"{_UNFIT}'{key}' has the shape {list(shape)} instead of {rank} sizes")
    return shape

"""Files with a generator in them → endless streams of images, each from its seed and its number alone.

What is read: an ONNX file from latents to images, and the state dicts of a DCGAN and of StyleGAN2-ADA. Nothing in a
file is executed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from bitface.backbones.weights import describe, is_state_dict, load_plain, named_line, unnested, without_prefixes
from bitface.data import dcgan
from bitface.data.stylegan2 import first_difference, stylegan2_from_state
from bitface.errors import BitfaceError
from bitface.graph.onnx_file import read_model
from bitface.telemetry import silenced

_ACCEPTED = "an ONNX file from latents to images, or the state dict of a DCGAN or StyleGAN2-ADA generator"
_NESTS = ("G_ema", "g_ema", "netG_state_dict", "state_dict", "generator")


@dataclass(frozen=True)
class Generator:
    """A network from noise to images.

    Args:
        name: kind and size, as `StyleGAN2-ADA 256x256` (height before width).
        latent: the shape of the numbers that an image is made from; of vectors a single length.
        batch: how many images are made at once.
        render: latents `[batch, *latent]` and the truncation → RGB `[batch, 3, H, W]`, 0 to 255, not rounded.
    """

    name: str
    latent: tuple[int, ...]
    batch: int
    render: Callable[[Tensor, float], Tensor]

    def images(self, seed: int, truncation: float = 1.0) -> Iterator[np.ndarray]:
        """An endless stream of uint8 RGB images `[H, W, 3]`.

        `truncation` below 1 gives up variety for quality. StyleGAN2-ADA draws its styles to their mean; the others
        have none, so that their latents are scaled.
        """
        noise = torch.Generator().manual_seed(seed)
        while True:
            # Batches are always full, whatever is asked for, and each latent is drawn by itself: both the random
            # generator and the convolutions otherwise give other numbers for another batch size.
            latents = torch.stack([torch.randn(*self.latent, generator=noise) for _ in range(self.batch)])
            with torch.inference_mode():
                pixels = self.render(latents, truncation).permute(0, 2, 3, 1)
                batch = np.ascontiguousarray(pixels.round().clamp(0, 255).to(torch.uint8).numpy())
            yield from batch


def open_generator(path: Path) -> Generator:
    """The generator of a file: `.onnx`, `.safetensors`, or by any other name what `torch.save` writes.

    An ONNX file takes one float32 input, latents `[B, Z]` or the noise `[B, C, h, w]` of a diffusion model that needs
    one step, and gives images `[B, 3, H, W]` first. Whether they are in -1 to 1, 0 to 1 or 0 to 255 is decided here,
    from a first batch. A state dict may be nested under `G_ema`, `g_ema`,
    `netG_state_dict`, `state_dict` or `generator`.

    Raises:
        BitfaceError: the file is missing or holds none of these; a pickled network isn't opened.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise BitfaceError("no such file")
        return _from_onnx(path) if path.suffix.lower() == ".onnx" else _from_state(_state_dict(path))
    except BitfaceError as error:
        # Names in the file may hold line breaks, or worse for a terminal.
        text = "".join(letter if letter.isprintable() else " " for letter in str(error))
        raise BitfaceError(f"{path}: {text}") from error
    except Exception as error:  # tensors of a kind that no generator has make torch raise anything
        raise BitfaceError(f"{path}: damaged, or its tensors are of another kind ({named_line(error)})") from error


def _from_onnx(path: Path) -> Generator:
    with silenced():
        import onnxruntime as ort

    try:
        read_model(path)  # which refuses what is too large, or lies outside the file's folder
    except BitfaceError as error:
        raise BitfaceError(f"{error}; give {_ACCEPTED}") from error
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the engine raises RuntimeError and its own kinds
        raise BitfaceError(f"ONNX Runtime can't load it ({named_line(error)}); give {_ACCEPTED}") from error
    fixed, latent = _latent_shape(session.get_inputs())
    source, target = session.get_inputs()[0].name, session.get_outputs()[0].name

    def run(latents: Tensor) -> Tensor:
        try:
            images = np.asarray(session.run([target], {source: latents.numpy()})[0])
            if images.shape[:2] != (len(latents), 3) or images.ndim != 4:
                shape = list(images.shape)
                raise BitfaceError(f"no generator: its output '{target}' has the shape {shape}, not [B, 3, H, W]")
            return torch.from_numpy(images.astype(np.float32, copy=False))
        except BitfaceError:
            raise
        except Exception as error:
            raise BitfaceError(f"ONNX Runtime can't run it ({named_line(error)})") from error

    latents = torch.randn(fixed or 8, *latent, generator=torch.Generator().manual_seed(0))
    first = run(latents)
    if not torch.isfinite(first).all():
        raise BitfaceError("no generator: its images hold NaN or infinity")
    if not torch.allclose(first, run(latents), rtol=0.01, atol=0.01 * float(first.abs().max())):
        raise BitfaceError("gives other images for the same latents, so no image could be made again; fix its noise")
    height, width = first.shape[2:]
    scale, shift = _scale(first)
    return Generator(
        f"ONNX {height}x{width}",
        latent,
        fixed or _batch(max(height, width)),
        lambda latents, truncation: (run(latents * truncation) + shift) * scale,
    )


def _latent_shape(inputs: list[Any]) -> tuple[int | None, tuple[int, ...]]:
    """The batch where it is fixed, and the shape of a latent."""
    described = ", ".join(f"'{value.name}' {value.type} {value.shape}" for value in inputs)
    if len(inputs) == 1 and inputs[0].type == "tensor(float)" and len(inputs[0].shape) in (2, 4):
        batch, *latent = inputs[0].shape
        if all(isinstance(side, int) and side > 0 for side in latent):
            return (batch if isinstance(batch, int) and batch > 0 else None), tuple(latent)
    raise BitfaceError(
        f"no generator: it must take latents [B, Z] or [B, C, h, w] in float32 and nothing else, not {described}"
    )


def _scale(images: Tensor) -> tuple[float, float]:
    """The factor and what is added before it that bring images to 0 to 255."""
    if images.min() < -0.05:
        return 127.5, 1.0
    return (255.0, 0.0) if images.max() <= 1.05 else (1.0, 0.0)


def _batch(side: int) -> int:
    return 8 if side > 128 else 32


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix.lower() == ".safetensors":
            content: Any = safetensors.torch.load_file(path, device="cpu")
        else:
            content = load_plain(path)
    except BitfaceError:
        raise
    except OSError as error:
        raise BitfaceError(f"can't be read ({error.strerror or error})") from error
    except Exception as error:  # a broken or hostile file can raise anything
        raise BitfaceError(
            "no state dict: damaged, or a pickled network, and pickles aren't opened because they can execute "
            f"anything; save the network's state_dict() alone. Accepted: {_ACCEPTED}"
        ) from error
    content = unnested(content, _NESTS)
    if not is_state_dict(content):
        raise BitfaceError(f"no state dict in it ({describe(content)}); accepted: {_ACCEPTED}")
    return without_prefixes(dict(content))


def _from_state(state: dict[str, Tensor]) -> Generator:
    if all(key.startswith("main.") for key in state):
        return _dcgan(state)
    network = stylegan2_from_state(state)
    if network is None:
        raise BitfaceError(f"no generator that is known ({describe(state)}); accepted: {_ACCEPTED}")
    side, run = network.resolution, _ready(network)
    return Generator(
        f"StyleGAN2-ADA {side}x{side}",
        (network.z_dim,),
        _batch(side),
        lambda latents, truncation: (run(latents, truncation) + 1) * 127.5,
    )


def _dcgan(state: dict[str, Tensor]) -> Generator:
    network = dcgan.DcganGenerator()
    size = f"{dcgan.SIDE}x{dcgan.SIDE}"
    if difference := first_difference(network.state_dict(), state):
        raise BitfaceError(f"no DCGAN generator of {size} colour images: {difference}")
    network.load_state_dict(state)
    run = _ready(network)
    return Generator(
        f"DCGAN {size}",
        (dcgan.LATENT,),
        _batch(dcgan.SIDE),
        lambda latents, truncation: (run(latents * truncation) + 1) * 127.5,
    )


def _ready(network: nn.Module) -> nn.Module:
    # Channels last: a third faster on a CPU for the DCGAN, a tenth for StyleGAN2.
    result: nn.Module = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return result

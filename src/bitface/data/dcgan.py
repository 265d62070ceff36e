"""The generator of a deep convolutional GAN: noise → small colour images (Radford et al., 2016)."""

from pathlib import Path

import torch
from torch import nn

from bitface.errors import BitfaceError

LATENT = 100
SIDE = 64


class Generator(nn.Module):
    """Latents `[N, 100]` → RGB images `[N, 3, 64, 64]` in -1 to 1.

    Five transposed convolutions double the side from 4 to 64. Layers are numbered as in the usual published
    state dicts (`main.0`, `main.1`, ...), so that those load without renaming.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = LATENT
        for width in (512, 256, 128, 64):
            layers += [_upsampling(before, width), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.main = nn.Sequential(*layers, _upsampling(before, 3), nn.Tanh())

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.main(latents[:, :, None, None])


def _upsampling(channels_in: int, channels_out: int) -> nn.ConvTranspose2d:
    if channels_in == LATENT:
        return nn.ConvTranspose2d(channels_in, channels_out, 4, bias=False)
    return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)


def load_generator(path: Path) -> Generator:
    """The generator of a checkpoint that has its state dict under `netG_state_dict`, in evaluation mode.

    Nothing but tensors is unpickled: a file with anything else in it is refused.

    Raises:
        BitfaceError: the file is missing or isn't such a checkpoint.
    """
    generator = Generator()
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        generator.load_state_dict(checkpoint["netG_state_dict"])
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror or error})") from error
    # A file of another kind fails in many ways: unpickling, a missing key, another shape, no dictionary at
    # all.
    except Exception as error:
        raise BitfaceError(
            f"{path}: not a DCGAN generator of {SIDE}x{SIDE} colour images ({type(error).__name__}); "
            "use the default one"
        ) from error
    # Channels last: a third faster on a CPU.
    generator.eval().requires_grad_(False)
    return generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

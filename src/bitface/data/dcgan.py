"""The generator of a deep convolutional GAN: noise → small colour images (Radford et al., 2016)."""

import torch
from torch import nn

LATENT = 100
SIDE = 64


class DcganGenerator(nn.Module):
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
        result: torch.Tensor = self.main(latents[:, :, None, None])
        return result


def _upsampling(channels_in: int, channels_out: int) -> nn.ConvTranspose2d:
    if channels_in == LATENT:
        return nn.ConvTranspose2d(channels_in, channels_out, 4, bias=False)
    return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)

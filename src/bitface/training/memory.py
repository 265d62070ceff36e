"""What a step takes of a GPU's memory, and how many images would fit where it takes too much."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bitface import ranks
from bitface.device import fitting
from bitface.errors import BitfaceError, setting
from bitface.training.settings import Training

_TRIED = 4
# Numbers that an optimizer keeps of each parameter, its gradient among them.
_KEPT = {"adam": 3, "adamw": 3, "sgd": 2}


def bytes_of(module: nn.Module) -> int:
    """What a module's parameters take."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def images_that_fit(run: nn.Module, inputs: Tensor, half: bool, optimizer: str) -> int:
    """How many images a step of this rank can hold at once on a GPU, by the memory of a trial step of a few images.

    Args:
        run: what computes embeddings, with its parameters on the GPU; inputs: the few, `[B, 3, H, W]`.
        half: in bfloat16.
        optimizer: see `Training.optimizer`.
    """
    device = inputs.device
    run.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    fixed = torch.cuda.memory_allocated(device) + _KEPT[optimizer] * bytes_of(run)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        embeddings = run(inputs)
    embeddings.float().square().mean().backward()
    taken = torch.cuda.max_memory_allocated(device) + (_KEPT[optimizer] - 1) * bytes_of(run)
    run.zero_grad(set_to_none=True)
    return fitting(torch.cuda.get_device_properties(device).total_memory, fixed, len(inputs), taken)


def too_large(device: torch.device, batch: int, parts: int, fits: int) -> str:
    """What there is to do where a GPU's memory doesn't hold a step.

    Args:
        batch: images of the whole batch, which the ranks share, each in so many `parts`.
        fits: images that would fit at once on this rank; 0: not even one.
    """
    own = math.ceil(batch / ranks.count() / parts)
    if fits < 1:
        return (
            f"{device} is out of memory: not even one image fits beside the network; take a smaller one, or more GPUs"
        )
    if fits >= own:
        return (
            f"{device} is out of memory with {own} images at a time, which others may use too: set a recipe's "
            f"'accumulate' to {2 * parts}"
        )
    several = math.ceil(batch / ranks.count() / fits)
    return (
        f"{device} is out of memory with {own} images at a time, {fits} would fit: set {setting('batch')} to "
        f"{fits * ranks.count()}, or a recipe's 'accumulate' to {several}, which takes more time"
    )


@contextmanager
def within_memory(run: nn.Module, shape: tuple[int, ...], half: bool, training: Training) -> Iterator[None]:
    """Trains; where a GPU's memory doesn't hold a step, the message says what would fit.

    Args:
        run, half: see `images_that_fit`.
        shape: of an image as the network reads it.

    Raises:
        BitfaceError: it doesn't.
    """
    try:
        yield
        return
    except torch.OutOfMemoryError:
        pass  # in here the tensors of the failed step are still held
    device = next(run.parameters()).device
    try:
        fits = images_that_fit(run, torch.zeros(_TRIED, *shape, device=device), half, training.optimizer)
    except torch.OutOfMemoryError:
        fits = 0
    raise BitfaceError(too_large(device, training.batch, training.accumulate, fits))

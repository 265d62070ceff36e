"""Where a training computes: on the CPU, or on an accelerator that torch knows."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bitface import ranks
from bitface.cpu import bf16_pays
from bitface.errors import BitfaceError, UsageError, option

PRECISIONS = ("auto", "f32", "tf32", "bf16")
# Of a GPU's memory: what other programs, and torch's own buffers, leave of it.
_USABLE = 0.9


def device_of(word: str) -> torch.device:
    """The device of a word: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`, which is a GPU of NVIDIA's where there is one.

    Under torchrun, `cuda` and `auto` are the GPU of this rank.

    Raises:
        UsageError: no such word, or the device isn't there.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", word):
        raise UsageError(f"'{word}' is no device: use auto, cpu, cuda, cuda:1 or mps")
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if word == "cpu" or (word == "auto" and not cards):
        return torch.device("cpu")
    if word == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError(f"{option('device', word)}: there is no GPU of Apple's here; use cpu")
        return torch.device("mps")
    _, _, number = word.partition(":")
    index = int(number) if number else ranks.local()
    if index >= cards:
        there = f"there are {cards} (cuda:0 to cuda:{cards - 1})" if cards else "torch sees no GPU of NVIDIA's here"
        raise UsageError(f"{option('device', word)}: there is no cuda:{index}, {there}; use another one, or cpu")
    if number and ranks.count() > 1:
        raise UsageError(f"{option('device', word)}: each rank has a GPU of its own; say cuda")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def precision_of(word: str, device: torch.device) -> str:
    """What a training computes in on a device: `f32`, `tf32` or `bf16`; `auto` is bf16 where that is faster.

    Raises:
        UsageError: the device has no such numbers.
    """
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device)[0] >= 8  # Ampere: the first with bf16 and TF32
        if word == "tf32" and not fast:
            raise UsageError("this GPU has no TF32, which Ampere brought; take precision f32")
        return ("bf16" if fast else "f32") if word == "auto" else word
    if word == "tf32":
        raise UsageError("TF32 is arithmetic of NVIDIA's GPUs; take precision f32, bf16 or auto")
    if word == "auto":
        return "bf16" if device.type == "cpu" and bf16_pays() else "f32"
    return word


@contextmanager
def computing(device: torch.device, precision: str) -> Iterator[None]:
    """Lets a GPU compute float32 as `f32` or `tf32` while the block runs; says in one line that its memory is full.

    Raises:
        BitfaceError: the GPU's memory is full.
    """
    if device.type != "cuda":
        yield
        return
    matrices, layers = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matrices.allow_tf32, layers.allow_tf32, layers.benchmark
    matrices.allow_tf32 = layers.allow_tf32 = precision == "tf32"
    layers.benchmark = True
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BitfaceError(f"{device} is out of memory ({str(error).partition('. ')[0]})") from error
    finally:
        matrices.allow_tf32, layers.allow_tf32, layers.benchmark = before


def title_of(device: torch.device) -> str:
    """What a device is, for a result: `cpu`, or `cuda:0 NVIDIA H200`."""
    name = f" {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{device}{name}"


def fitting(total: float, fixed: float, small: int, taken: float) -> int:
    """The largest batch of this rank that fits into a device's memory; 0: none.

    Args:
        total: bytes of the device.
        fixed: bytes taken whatever the batch: weights, gradients, what the optimizer keeps.
        small: images of a trial step; taken: the bytes at its peak.
    """
    each = max(taken - fixed, 1.0) / small
    return max(0, int((total * _USABLE - fixed) / each))

"""Devices: which are there, what they compute in, and what fits into them."""

import pytest
import torch

from bitface.device import device_of, fitting, precision_of, title_of
from bitface.errors import UsageError

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
CPU = torch.device("cpu")


def test_the_cpu_is_always_there() -> None:
    assert device_of("cpu") == CPU
    assert title_of(CPU) == "cpu"
    assert precision_of("f32", CPU) == "f32"
    assert precision_of("auto", CPU) in ("f32", "bf16")


@NO_GPU
def test_without_a_gpu_the_choice_is_the_cpu() -> None:
    assert device_of("auto") == CPU


@NO_GPU
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("cuda", "device='cuda': there is no cuda:0, torch sees no GPU of NVIDIA's here"),
        ("cuda:3", "there is no cuda:3"),
        ("gpu", "'gpu' is no device: use auto, cpu, cuda, cuda:1 or mps"),
        ("cuda:x", "is no device"),
    ],
)
def test_devices_that_are_not_there(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        device_of(word)


def test_tf32_is_of_gpus() -> None:
    with pytest.raises(UsageError, match="TF32 is arithmetic of NVIDIA's GPUs"):
        precision_of("tf32", CPU)


def test_what_fits() -> None:
    # 10 GB, of which nine tenths may be used: 1 GB whatever the batch, and 100 MB for each image.
    assert fitting(10e9, 1e9, 4, 1.4e9) == 80
    assert fitting(1e9, 1e9, 4, 1.4e9) == 0

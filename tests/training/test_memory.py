"""What is said where a GPU's memory doesn't hold a step."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bitface.errors import BitfaceError
from bitface.runtime.teacher import DeviceTeacher
from bitface.training import fit, memory
from bitface.training.memory import bytes_of, too_large
from support import quantized
from support.training import Net, trainee
from training.test_loop import SHORT


@pytest.mark.parametrize(
    ("batch", "parts", "fits", "message"),
    [
        (512, 1, 200, "with 512 images at a time, 200 would fit: set 'batch' to 200, or a recipe's 'accumulate' to 3"),
        (512, 4, 100, "with 128 images at a time, 100 would fit: set 'batch' to 100, or a recipe's 'accumulate' to 6"),
        (512, 1, 600, "which others may use too: set a recipe's 'accumulate' to 2"),
        (512, 1, 0, "not even one image fits"),
    ],
)
def test_the_batch_that_would_fit_is_named(batch: int, parts: int, fits: int, message: str) -> None:
    text = too_large(torch.device("cuda", 0), batch, parts, fits)
    assert text.startswith("cuda:0 is out of memory")
    assert message in text


def test_bytes() -> None:
    assert bytes_of(Net()) == 4 * (4 * 27 + 4 + 8 + 3 * 144 + 3)


class Small(nn.Module):
    """A network on a device whose memory holds so many images at a time."""

    def __init__(self, network: nn.Module, holds: int) -> None:
        super().__init__()
        self.network, self.holds, self.seen = network, holds, list[int]()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        if len(images) > self.holds:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1.00 GiB")
        result: Tensor = self.network(images)
        return result


def test_a_step_that_does_not_fit_names_the_batch_that_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "images_that_fit", lambda run, inputs, half, optimizer: 3)  # it asks the GPU
    one = trainee(SHORT, evaluate=False)
    one.run = Small(one.model, 3)
    with pytest.raises(
        BitfaceError, match=r"8 images at a time, 3 would fit: set 'batch' to 3, or a recipe's 'accumulate' to 3"
    ):
        fit(one, SHORT)


def test_a_teacher_takes_as_many_images_as_fit() -> None:
    teacher = DeviceTeacher(quantized.network(quantized.Mixed(), 16), torch.device("cpu"))
    faces = quantized.faces(20, 16)
    expected = teacher.embed(faces)
    small = Small(teacher.graph, 5)
    teacher.graph = small
    np.testing.assert_allclose(teacher.embed(faces), expected, rtol=1e-4, atol=1e-6)
    assert small.seen[:7] == [20, 20, 20, 20, 16, 8, 4]
    small.holds = 0
    with pytest.raises(BitfaceError, match="cpu is out of memory: not even one image fits beside the teacher"):
        teacher.embed(faces)

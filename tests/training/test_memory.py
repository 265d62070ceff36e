"""What is said where a GPU's memory doesn't hold a step."""

import pytest
import torch

from bitface.training.memory import bytes_of, too_large
from support.training import Net


@pytest.mark.parametrize(
    ("batch", "parts", "fits", "message"),
    [
        (512, 1, 200, "with 512 images at a time, 200 would fit: set 'batch' to 200, or 'accumulate' to 3"),
        (512, 4, 100, "with 128 images at a time, 100 would fit: set 'batch' to 100, or 'accumulate' to 6"),
        (512, 1, 600, "which others may use too: set 'accumulate' to 2"),
        (512, 1, 0, "not even one image fits"),
    ],
)
def test_the_batch_that_would_fit_is_named(batch: int, parts: int, fits: int, message: str) -> None:
    text = too_large(torch.device("cuda", 0), batch, parts, fits)
    assert text.startswith("cuda:0 is out of memory")
    assert message in text


def test_bytes() -> None:
    assert bytes_of(Net()) == 4 * (4 * 27 + 4 + 8 + 3 * 144 + 3)

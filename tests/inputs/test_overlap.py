"""What a test shows of the faces that a model was made with."""

import numpy as np
import pytest

from bitface.errors import BitfaceError
from bitface.inputs.overlap import Used, overlap

CODES = np.random.default_rng(0).integers(0, 1 << 63, (20, 4)).astype(np.uint64)
PATHS = [f"{index}.png" for index in range(10)]
EMBEDDINGS = np.eye(10, 16, dtype=np.float32)


def test_copies_are_named() -> None:
    used = CODES[5:].copy()
    used[0] ^= np.uint64(0b1011)  # the copy of 5.png differs in three bits
    found, warnings = overlap(Used(used), CODES[:10], PATHS, EMBEDDINGS, 0.5)
    assert found["copied"] == [f"{index}.png" for index in range(5, 10)]
    assert (found["copies"], found["images"], found["used"]) == (5, 10, 15)
    assert "people" not in found
    assert warnings == [
        "5 of 10 test images (50.00%) are among the 15 faces that the model was made with, or copies of them: "
        "5.png, 6.png, 7.png, 8.png, 9.png"
    ]


def test_people_are_counted_where_the_images_are_at_hand() -> None:
    people = np.zeros((15, 16), np.float32)
    people[:, 15] = 1
    people[3] = EMBEDDINGS[2] * 2 + 0.1
    people[4] = EMBEDDINGS[7] + EMBEDDINGS[8]  # 0.71 to both
    used = Used(np.zeros((15, 4), np.uint64), people)
    found, warnings = overlap(used, CODES[:10], PATHS, EMBEDDINGS, 0.7)
    assert (found["people"], found["copies"]) == (3, 0)
    assert len(warnings) == 1
    assert "3 of 10 test images (30.0%) show somebody" in warnings[0]
    assert overlap(used, CODES[:10], PATHS, EMBEDDINGS, 0.72)[0]["people"] == 1
    assert "people" not in overlap(used, CODES[:10], PATHS, EMBEDDINGS, None)[0]


def test_nothing_in_common_says_nothing() -> None:
    assert overlap(Used(CODES[10:]), CODES[:10], PATHS, EMBEDDINGS, 0.5)[1] == []
    with pytest.raises(BitfaceError, match="3 codes for 10 images"):
        overlap(Used(CODES), CODES[:3], PATHS, EMBEDDINGS, 0.5)

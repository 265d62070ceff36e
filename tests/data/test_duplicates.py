"""Codes that copies share and other faces don't."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bitface.data.duplicates import NEAR, SIDE, codes_of, copies, nearest, read_codes, write_codes
from bitface.errors import BitfaceError

RANDOM = np.random.default_rng(0)
# Smooth pictures, as photographs are.
PICTURES = np.stack(
    [cv2.resize(RANDOM.integers(0, 256, (9, 9, 3), dtype=np.uint8), (112, 112), interpolation=cv2.INTER_CUBIC)
     for _ in range(30)]
)  # fmt: skip


def compressed(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    return np.array(Image.open(file))


COPIES = {
    "compressed": compressed,
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=0.9, beta=12),
    "smaller and back": lambda image: cv2.resize(cv2.resize(image, (80, 80)), (112, 112)),
    "noisy": lambda image: np.clip(image + RANDOM.normal(0, 3, image.shape), 0, 255).astype(np.uint8),
}


def test_the_code_against_its_definition() -> None:
    image = PICTURES[0]
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (17, 16), interpolation=cv2.INTER_AREA)
    bits = [small[row, column] < small[row, column + 1] for row in range(16) for column in range(16)]
    code = codes_of(image[None])
    assert code.shape == (1, 4)
    assert np.unpackbits(code.view(np.uint8)).tolist() == bits


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found(how: str) -> None:
    place, bits = nearest(codes_of(np.stack([COPIES[how](image) for image in PICTURES])), codes_of(PICTURES))
    assert place.tolist() == list(range(30))
    assert bits.max() <= NEAR


def test_other_pictures_are_not() -> None:
    _, bits = nearest(codes_of(PICTURES[:15]), codes_of(PICTURES[15:]))
    assert bits.min() > 2 * NEAR


def test_the_nearest_against_a_loop() -> None:
    codes, others = (RANDOM.integers(0, 1 << 63, (count, 4)).astype(np.uint64) for count in (7, 2100))
    place, bits = nearest(codes, others)
    for index, code in enumerate(codes):
        apart = [sum((int(a) ^ int(b)).bit_count() for a, b in zip(code, other, strict=True)) for other in others]
        assert (bits[index], place[index]) == (min(apart), apart.index(min(apart)))
    assert nearest(codes, others[:0])[1].tolist() == [257] * 7


def test_codes_are_kept_in_a_file(tmp_path: Path) -> None:
    codes = codes_of(PICTURES)
    write_codes(tmp_path / "faces.safetensors", codes, "hash")
    kept, manifest = read_codes(tmp_path / "faces.safetensors")
    np.testing.assert_array_equal(kept, codes)
    assert (kept.dtype, manifest) == (np.uint64, "hash")
    (tmp_path / "faces.safetensors").write_bytes(b"something else")
    with pytest.raises(BitfaceError, match="holds no codes of faces"):
        read_codes(tmp_path / "faces.safetensors")


def test_copies_are_found_without_comparing_all() -> None:
    """Beside an oracle that compares all: every pair of up to 11 differing bits, no pair of more than 24."""
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, (120, SIDE * SIDE), dtype=np.uint8)
    for number in range(60, 120):  # copies of the first half, from equal to hardly alike
        flipped = random.choice(SIDE * SIDE, number - 60, replace=False)
        bits[number] = bits[number - 60]
        bits[number, flipped] ^= 1
    codes = np.packbits(bits, axis=1).view(np.uint64)
    differing = (bits[:, None] != bits[None]).sum(2)
    pairs = {(i, j) for i in range(120) for j in range(i + 1, 120)}
    found = [(int(i), int(j)) for i, j in copies(codes)]
    assert found == sorted(set(found))
    assert {pair for pair in pairs if differing[pair] <= 11} <= set(found)
    assert set(found) <= {pair for pair in pairs if differing[pair] <= NEAR}
    assert len(found) >= 12 + 8
    same = np.repeat(codes[:1], 5, axis=0)
    assert len(copies(same)) == 10
    assert copies(codes[:1]).shape == copies(codes[:0]).shape == (0, 2)

"""Renewable vectors: the same cosines under one key, strangers under two."""

import hashlib
import hmac
import math

import numpy as np
import pytest

from bitface.errors import UsageError
from bitface.evaluation.gallery import Origin, enrolled
from bitface.evaluation.keys import GalleryKey
from bitface.evaluation.rotation import rotation
from bitface.evaluation.scores.similarity import unit_rows

KEY, OTHER = GalleryKey(b"k" * 32), GalleryKey(b"l" * 32)


def test_the_matrix_by_hand() -> None:
    """Gram and Schmidt on the normal numbers, in plain loops."""
    size = 5
    seed = hmac.new(b"k" * 32, b"rotation\0salt", hashlib.sha256).digest()
    stream = hashlib.shake_256(seed).digest(16 * size * size)
    uniform = [
        (int.from_bytes(stream[at : at + 8], "little") // 2**11 + 0.5) / 2**53 for at in range(0, len(stream), 8)
    ]
    radius, angle = uniform[: size * size], uniform[size * size :]
    normal = [math.sqrt(-2 * math.log(a)) * math.cos(2 * math.pi * b) for a, b in zip(radius, angle, strict=True)]
    columns: list[np.ndarray] = []
    for column in np.array(normal).reshape(size, size).T:
        for before in columns:
            column = column - (column @ before) * before
        columns.append(column / math.sqrt(column @ column))
    assert rotation(KEY, b"salt", size) == pytest.approx(np.array(columns).T, abs=1e-9)


@pytest.mark.parametrize("size", [1, 2, 128])
def test_it_is_orthogonal(size: int) -> None:
    matrix = rotation(KEY, b"salt", size)
    assert matrix @ matrix.T == pytest.approx(np.eye(size), abs=1e-12)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return unit_rows(first)[0] @ unit_rows(second)[0].T


@pytest.mark.parametrize(("int8", "off"), [(False, 1e-6), (True, 0.01)])
def test_scores_within_a_key_stay_and_across_keys_are_chance(int8: bool, off: float) -> None:
    rng = np.random.default_rng(0)
    people, probes = rng.normal(size=(50, 128)), rng.normal(size=(9, 128)).astype(np.float32)
    plain = enrolled(people, [f"p{at}" for at in range(50)], Origin("f", "p"), int8=int8)
    turned = plain.turned(KEY)
    scores = cosines(probes, plain.unit(slice(None))[0])
    assert cosines(turned.probes(probes, KEY), turned.unit(slice(None))[0]) == pytest.approx(scores, abs=off)
    renewed = turned.turned(OTHER, KEY)
    assert renewed.rotation != turned.rotation
    assert cosines(renewed.probes(probes, OTHER), renewed.unit(slice(None))[0]) == pytest.approx(scores, abs=2 * off)
    strangers = [plain, turned.turned(KEY, KEY), renewed]  # one key and another salt are strangers, too
    for other in strangers:
        same = np.diag(cosines(turned.unit(slice(None))[0], other.unit(slice(None))[0]))
        assert abs(same.mean()) < 0.05  # of 50 cosines of random vectors, which spread by 1/sqrt(128)
        assert same.std() == pytest.approx(128**-0.5, rel=0.35)


def test_a_turned_gallery_needs_its_key() -> None:
    turned = enrolled(np.eye(3), ["a", "b", "c"], Origin("f", "p")).turned(KEY)
    with pytest.raises(UsageError, match="turned by a key; name its file"):
        turned.probes(np.eye(3, dtype=np.float32), None)
    with pytest.raises(UsageError, match="turned by a key"):
        turned.turned(OTHER)

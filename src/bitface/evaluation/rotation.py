"""Renewable vectors: embeddings turned by a secret rotation, which changes no cosine between two that are turned alike.

The rotation is a random orthogonal matrix (Stewart, SIAM J. Numer. Anal. 17, 1980: the Q of a matrix of normal numbers,
with the signs that make the diagonal of R positive), made from a key and a salt. Vectors turned by another key, or with
another salt, are strangers to each other: a gallery that leaked is worth nothing against the next one, and none can be
linked to another. It is no encryption: whoever knows the plain vectors of as many faces as the vectors have numbers can
find the rotation (`benchmarks/stolen_gallery.py`).
"""

import hashlib

import numpy as np

from bitface.evaluation.arrays import Floats
from bitface.evaluation.keys import GalleryKey

SALT = 16


def rotation(key: GalleryKey, salt: bytes, size: int) -> Floats:
    """The orthogonal matrix `[size, size]` of a key and a salt; a row vector is turned by `vector @ matrix`.

    Its normal numbers are Box and Muller's, from the bytes of SHAKE-256, so that no library's generator matters.
    """
    stream = hashlib.shake_256(key.derived("rotation", salt)).digest(16 * size * size)
    # 53 bits each, in the middle of their intervals, as there is no logarithm of 0.
    uniform = ((np.frombuffer(stream, "<u8") >> 11).astype(np.float64) + 0.5) / 2.0**53
    radius, angle = np.sqrt(-2 * np.log(uniform[: size * size])), 2 * np.pi * uniform[size * size :]
    normal = (radius * np.cos(angle)).reshape(size, size)
    q, r = np.linalg.qr(normal)
    return np.asarray(q * np.sign(np.diag(r)), np.float64)

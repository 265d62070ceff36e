"""Faces to learn from, and a network that is ready for them."""

import tempfile
from pathlib import Path

from bitface.data.face_source import FaceSource
from bitface.graph import Network
from bitface.inputs.faces import Faces, gather, load_teacher, settle_preprocess
from bitface.progress import silent
from lib.common import LFW, networks


def network_and_faces(name: str, count: int | None, seed: int) -> tuple[Network, Faces]:
    """One of the measured networks, and LFW faces that are in no pair.

    Args:
        count: so many are learned from; None: all but those that are held out.
        seed: draws them.
    """
    path, preprocess = networks()[name]
    source = FaceSource([LFW / "images"], LFW / "not_in_pairs.txt", count)
    network = load_teacher(path, source, preprocess)
    with tempfile.TemporaryDirectory() as folder:
        faces = gather(source, network.size, seed, Path(folder) / "skipped.csv", silent, network)
    return settle_preprocess(network, faces.learning, preprocess)[0], faces

"""A network as the teacher of a training."""

from pathlib import Path

from bitface.graph import Network
from bitface.runtime.embedder import Embedder
from bitface.runtime.model import Model
from bitface.store import Store
from bitface.targets.registry import FASTEST
from bitface.training import Teacher, Training


def teacher_of(path: Path, network: Network, training: Training) -> Teacher:
    """A network as a teacher, on the fastest engine."""
    # What is kept is exact; a live teacher may be as coarse as the student's own arithmetic.
    precision = "bf16" if training.teacher == "live" and training.half else "f32"
    embedder = Embedder(Model(path, "float", network), FASTEST, precision=precision)
    return Teacher(embedder.embed, f"{network.fingerprint()} {FASTEST} {precision}", Store())

"""Which preprocessing a network was trained with, found on unlabelled faces.

A network that sees its faces as it did in training gives a face and its own mirrored, slightly shifted copy nearly
the same embedding, and other faces unrelated ones. Under a wrong preprocessing the two kinds of similarity approach
each other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bitface.graph import Network, to_onnx
from bitface.preprocess import PRESETS, parse
from bitface.runtime import engines

FEWEST_FACES = 8
_MOST_FACES = 64
_BATCH = 16
_SHIFTS = (-4, -3, -2, 2, 3, 4)  # pixels
_SEED = 0

# Trained networks reach 5 to 9 on real faces under the right preset; untrained ones, and trained ones under a preset
# that is far off, stay below 3.
_WORKS = 4.0
# Two scores on the same N faces scatter against each other by some 6 % / sqrt(N) (measured on three networks); this
# is four times as much.
_NOISE = 0.25
# Which of several presets of the same colour order leads by less than this is a matter of chance.
_EQUAL = 0.005


@dataclass(frozen=True)
class PresetScore:
    """How well a network tells faces apart under one preprocessing.

    Attributes:
        name: a word of `preprocess.parse`.
        score: d', the distance between a face's similarity to its own copy and its similarities to other faces, in
            standard deviations of the latter, averaged over the faces. None: too few faces.
        own, other: mean cosine of a face with its copy, and with other faces.
        faces: how many.
    """

    name: str
    score: float | None
    own: float | None
    other: float | None
    faces: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rank_presets(
    network: Network,
    faces: np.ndarray,
    also: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[PresetScore]:
    """The score of every preset, the best first; in the order of `PRESETS` where there are too few faces.

    Args:
        faces: aligned crops of different people, uint8 RGB `[N, H, W, 3]` of the network's size. The first 64 are
            used; fewer than 8 give no score.
        also: words to rank besides `PRESETS`. The network's own preprocessing is always ranked.

    Raises:
        UsageError: a word of `also` is no preprocessing.
        ValueError: faces of another size.
    """
    own = [network.preprocess.name] if network.preprocess else []
    words = list(dict.fromkeys([*PRESETS, *own, *also]))
    faces = faces[:_MOST_FACES]
    if len(faces) < FEWEST_FACES:
        return [PresetScore(word, None, None, None, len(faces)) for word in words]
    run = engines.openvino(to_onnx(network.graph).SerializeToString(), _BATCH)
    both = np.concatenate([faces, copies(faces)])
    scores = []
    for done, word in enumerate(words, 1):
        inputs = parse(word, network.size)(both)
        embeddings = np.concatenate([run(part)[:count] for part, count in _batches(inputs)])
        scores.append(PresetScore(word, *separation(*np.split(embeddings, 2)), len(faces)))
        if progress:
            progress(done, len(words))
    return sorted(scores, key=lambda score: -(score.score or 0.0))


def best_preset(
    scores: Sequence[PresetScore], default: str | None = None
) -> tuple[str | None, str | None]:
    """The preset to use, and a warning in one sentence where there is one.

    Presets whose scores differ by no more than chance are as good as each other. If `default` is among the best
    ones, it is taken. Otherwise RGB goes before BGR, as colours hardly show in the score, and among presets of one
    colour order that are equal to half a percent the earliest of `PRESETS` is taken.

    Args:
        scores: as `rank_presets` gives them.
        default: what the file or the user says. It is warned of where it is clearly worse than the best.

    Returns:
        (None, why) where the faces can't tell; a default that isn't among the scores isn't judged.
    """
    if not scores or scores[0].score is None:
        count = scores[0].faces if scores else 0
        return None, f"{count} faces are too few to check the preprocessing; give at least {FEWEST_FACES}"
    best = scores[0].score
    if best < _WORKS:
        return None, (
            f"under no preset does the network tell these faces apart (d' {best:.1f} at best, with "
            f"{scores[0].name}; trained networks reach 5 or more): are they aligned face crops, and is it trained?"
        )
    margin = 1 - _NOISE / scores[0].faces**0.5
    good = {score.name: score.score for score in scores if (score.score or 0.0) >= best * margin}
    if default in good:
        return default, None
    rgb = {name: value for name, value in good.items() if name.startswith("rgb")} or good
    equal = [name for name, value in rgb.items() if value >= max(rgb.values()) * (1 - _EQUAL)]
    chosen = min(equal, key=lambda name: PRESETS.index(name) if name in PRESETS else len(PRESETS))
    given = next((score for score in scores if score.name == default), None)
    if given is None:
        return chosen, None
    return chosen, (
        f"the preprocessing {default} seems wrong: under {chosen} the network tells these faces apart better "
        f"(d' {good[chosen]:.1f} against {given.score:.1f})"
    )


def copies(faces: np.ndarray) -> np.ndarray:
    """Every face mirrored and shifted by 2 to 4 pixels along both axes; the border is repeated."""
    reach = max(_SHIFTS)
    wide = np.pad(faces[:, :, ::-1], ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    height, width = faces.shape[1:3]
    offsets = reach + np.random.default_rng(_SEED).choice(_SHIFTS, (len(faces), 2))
    return np.stack(
        [face[top : top + height, left : left + width] for face, (top, left) in zip(wide, offsets, strict=True)]
    )


def separation(embeddings: np.ndarray, others: np.ndarray) -> tuple[float, float, float]:
    """d', mean own and mean other cosine of `[N, D]` embeddings and those of the copies; zeros where not finite."""
    first, second = _normalised(embeddings), _normalised(others)
    cosines = first @ second.T
    if not np.isfinite(cosines).all():
        return 0.0, 0.0, 0.0
    own = np.diag(cosines)
    rest = ~np.eye(len(cosines), dtype=bool)
    count = len(cosines) - 1
    # For each face: it against the copies of others, and its copy against the others.
    across = np.stack([cosines[rest].reshape(-1, count), cosines.T[rest].reshape(-1, count)], 1)
    across = across.reshape(len(cosines), -1)
    spread = across.std(1)
    distance = np.where(spread > 1e-9, (own - across.mean(1)) / np.maximum(spread, 1e-9), 0.0)
    return float(distance.mean()), float(own.mean()), float(across.mean())


def _normalised(embeddings: np.ndarray) -> np.ndarray:
    rows = embeddings.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _batches(inputs: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Parts of one size, the last one filled up, with the count of those that matter."""
    for start in range(0, len(inputs), _BATCH):
        part = inputs[start : start + _BATCH]
        filled = np.concatenate([part, np.zeros((_BATCH - len(part), *part.shape[1:]), part.dtype)])
        yield np.ascontiguousarray(filled), len(part)

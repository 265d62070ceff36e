"""Which preprocessing a network was trained with, found on unlabelled faces.

A network that sees its faces as it did in training gives a face and its own mirrored, slightly shifted copy nearly
the same embedding, and other faces unrelated ones. Under a wrong preprocessing the two kinds of similarity approach
each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bitface.graph import Network
from bitface.preprocess import GREY_PRESETS, PRESETS, parse, presets
from bitface.targets.base import Run, Settings
from bitface.targets.registry import FASTEST
from bitface.targets.start import start

FEWEST_FACES = 8
_FIRST_FACES = 16
_MOST_FACES = 64
_BATCH = 16
_SHIFTS = (-4, -3, -2, 2, 3, 4)  # pixels
_SEED = 0

# Presets that fall behind by this factor on the first faces aren't run on the rest.
_HOPELESS = 0.75
# Trained networks reach 5 to 9 on faces of many people under the right preset; untrained ones, trained ones under a
# preset that is far off, and pictures without faces stay below 3.5. So do faces of a few people only, who are like
# themselves on other photos too; but then the mean cosines are far apart (0.6 and more; otherwise below 0.35).
_WORKS = 4.0
_APART = 0.5
# The right preset's score lies below the best one's by at most 2.5 / N: 26 % seen on 8 faces, 10 % on 16, 5 % on 32
# and 1 % on 64, in 40 draws each of LFW and AT&T faces on three public networks.
_NOISE = 2.5
# What is closer than this can't be told apart at all, such as a standard deviation of 127.5 from one of 128.
_EQUAL = 0.001


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
    """The score of every preset, the best first; in the order of `presets` where there are too few faces.

    Args:
        faces: aligned crops of different people, uint8 RGB `[N, H, W, 3]` of the network's size. The first 64 are
            used; fewer than 8 give no score. Presets that are hopeless on the first 16 are left at these.
        also: words to rank besides `preprocess.presets`. The network's own preprocessing is always ranked.
        progress: called with (faces done, faces in all).

    Raises:
        UsageError: a word of `also` is no preprocessing.
        ValueError: faces of another size.
    """
    own = [network.preprocess.name] if network.preprocess else []
    preprocesses = {word: parse(word, network.size) for word in [*presets(network.channels), *own, *also]}
    faces = faces[:_MOST_FACES]
    if len(faces) < FEWEST_FACES:
        return [PresetScore(word, None, None, None, len(faces)) for word in preprocesses]
    run = start(FASTEST, network, Settings(_BATCH))
    pairs = np.stack([faces, copies(faces)])
    embeddings: dict[str, np.ndarray] = {word: np.zeros((2, 0, network.embedding_size)) for word in preprocesses}

    def score(words: Sequence[str], start: int, stop: int) -> list[PresetScore]:
        for place, word in enumerate(words):
            parts = [_embed(run, preprocesses[word](images)) for images in pairs[:, start:stop]]
            embeddings[word] = np.concatenate([embeddings[word], np.stack(parts)], 1)
            if progress:
                share = (place + 1) / len(words)
                progress(round(start + (stop - start) * share), len(faces))
        scores = [PresetScore(word, *separation(*embeddings[word]), stop) for word in words]
        return sorted(scores, key=lambda entry: -(entry.score or 0.0))

    first = score(list(preprocesses), 0, min(_FIRST_FACES, len(faces)))
    if len(faces) <= _FIRST_FACES:
        return first
    best = first[0].score or 0.0
    hopeful = [entry.name for entry in first if (entry.score or 0.0) >= _HOPELESS * best]
    # In the order given, so that equal scores rank as in PRESETS.
    finalists = score([word for word in preprocesses if word in hopeful], _FIRST_FACES, len(faces))
    return finalists + [entry for entry in first if entry.name not in hopeful]


def best_preset(scores: Sequence[PresetScore], default: str | None = None) -> tuple[str | None, str | None]:
    """The preset to use, and a warning in one sentence where there is one.

    Presets that chance could have put behind the best one are as good as it. If `default` is one of them, it is
    taken. Otherwise the best of these in RGB, as colours hardly show in the score and few networks want BGR; where
    there is none in RGB, the best. Scores that are all but equal go by the order of `PRESETS`.

    Args:
        scores: as `rank_presets` gives them.
        default: what the file or the user says. It is warned of where it is clearly worse than the best.

    Returns:
        (None, why) where the faces can't tell; a default that isn't among the scores isn't judged.
    """
    if not scores or scores[0].score is None or scores[0].own is None or scores[0].other is None:
        count = scores[0].faces if scores else 0
        return None, f"{count} faces are too few to check the preprocessing; give at least {FEWEST_FACES}"
    best = scores[0].score
    if best < _WORKS and scores[0].own - scores[0].other < _APART:
        return None, (
            f"under no preset does the network tell these faces apart (d' {best:.1f} at best, with {scores[0].name}; "
            "trained networks reach 5 or more): are they aligned crops of different people, and is it trained?"
        )
    margin = 1 - _NOISE / scores[0].faces
    values = {score.name: score.score or 0.0 for score in scores}
    good = {name: value for name, value in values.items() if value >= best * margin}
    if default in good:
        return default, None
    rgb = {name: value for name, value in good.items() if name.startswith("rgb")} or good
    equal = [name for name, value in rgb.items() if value >= max(rgb.values()) * (1 - _EQUAL)]
    order = PRESETS + GREY_PRESETS
    best_name = min(equal, key=lambda name: order.index(name) if name in order else len(order))
    if default not in values:
        return best_name, None
    return best_name, (
        f"the preprocessing {default} seems wrong: under {best_name} the network tells these faces apart better "
        f"(d' {good[best_name]:.1f} against {values[default]:.1f})"
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
    result: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return result


def _embed(run: Run, inputs: np.ndarray) -> np.ndarray:
    """Embeddings of preprocessed images, in batches of one size; the last one is filled up."""
    padding = -len(inputs) % _BATCH
    filled = np.concatenate([inputs, np.zeros((padding, *inputs.shape[1:]), inputs.dtype)])
    return np.concatenate([run(part) for part in np.split(filled, len(filled) // _BATCH)])[: len(inputs)]

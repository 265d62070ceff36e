"""What a stolen gallery tells: are its people found again by another model, and what do int8 and a rotation change?

    python benchmarks/stolen_gallery.py [--out out/stolen]

Somebody has the vectors of a gallery of LFW's people (the first image of each of the 1,680 who have several), without
names, and photographs of these people with their names (the other images). They embed the photographs by whatever
model they have and look for the nearest vector: rank-1 says how often it is the person's. The gallery is of a float
MobileFaceNet; the thief's model is that network, its integers, or another network. Where a rotation hides the vectors,
the thief may know whom some of them show (plain vectors of the same faces), and solve for it (Schönemann, 1966). What
is hit by chance there is of twenty rotations: mean, least and most.
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from lib.common import LFW, artifact, networks, save

from bitface.data.faces import FaceFile
from bitface.evaluation import identity_of
from bitface.evaluation.figures.intervals import wilson
from bitface.evaluation.gallery import Gallery, Origin, enrolled
from bitface.evaluation.keys import GalleryKey
from bitface.evaluation.scores.nearest import nearest
from bitface.evaluation.scores.similarity import unit_rows
from bitface.inputs.embeddings import embed_kept
from bitface.inputs.models import prepare
from bitface.store import Store

OWN, OTHER = "MobileFaceNet PReLU", "MobileFaceNet ReLU6"
FLOAT, TURNED = "the same network, float", "turned, float32"
KEY, NEXT_KEY = GalleryKey(bytes(range(32))), GalleryKey(bytes(range(1, 33)))
# Each hits other vectors by chance, and all faces of a person alike.
ROTATIONS = 20
KNOWN = (32, 64, 128, 256, 512)


def rank1(gallery: Gallery, probes: np.ndarray, people: np.ndarray) -> dict[str, Any]:
    """How often the nearest vector is the person's."""
    ids = np.array(gallery.ids)
    hits = int((ids[nearest(gallery, probes, 1).rows[:, 0]] == people).sum())
    bounds = wilson(hits, len(people))
    return {"rank1": hits / len(people), "low": bounds.low, "high": bounds.high}


def solved(turned: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """The orthogonal matrix that brings turned vectors nearest to plain ones."""
    left, _, right = np.linalg.svd(turned.T @ plain)
    return np.asarray(left @ right)


@dataclass
class Theft:
    """Who is enrolled with a first photograph, and who is looked for with the others.

    Attributes:
        own: the network's embeddings of all photographs.
        enrolled_rows, probe_rows: which of them are on which side; `subjects`: whom the probes show.
    """

    own: np.ndarray
    people: np.ndarray
    enrolled_rows: np.ndarray
    probe_rows: np.ndarray
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def subjects(self) -> np.ndarray:
        return np.asarray(self.people[self.probe_rows])

    @property
    def probes(self) -> np.ndarray:
        return np.asarray(self.own[self.probe_rows])

    def gallery(self) -> Gallery:
        return enrolled(self.own[self.enrolled_rows], self.people[self.enrolled_rows].tolist(), Origin("", ""))

    def add(self, gallery: str, thief: str, measured: dict[str, Any], **more: Any) -> None:
        row = {"key": f"{gallery} {thief}", "gallery": gallery, "thief": thief, "probes": len(self.probe_rows)}
        self.rows.append({**row, **measured, **more})
        print(self.rows[-1], flush=True)


def embeddings(out: Path, files: list[FaceFile]) -> dict[str, np.ndarray]:
    """Of every photograph, by each network that a thief may have."""

    def embedded(model: Path, word: str | None) -> np.ndarray:
        embedder = prepare(model, files, preprocess=word).embedder
        return np.asarray(embed_kept(embedder, files, Store(out))[0].values, np.float32)

    (path, word), (other, other_word) = networks()[OWN], networks()[OTHER]
    return {
        FLOAT: embedded(path, word),
        **{f"the same network, {bits}": embedded(artifact(OWN, bits, out), None) for bits in ("w8a8", "w4a4")},
        "another network": embedded(other, other_word),
    }


def with_keys(theft: Theft, plain: Gallery, turned: Gallery) -> None:
    """With the key, and with that of the next gallery."""
    probes = turned.probes(theft.probes, KEY)
    theft.add(TURNED, "the same network and the key", rank1(turned, probes, theft.subjects))
    scores = [
        unit_rows(side)[0] @ unit_rows(gallery.embeddings)[0].T
        for side, gallery in ((theft.probes, plain), (probes, turned))
    ]
    theft.add(
        "turned by another key",
        "a gallery turned by the old key",
        rank1(turned.turned(NEXT_KEY, KEY), turned.embeddings, np.array(turned.ids)),
        score_change=float(np.abs(scores[0] - scores[1]).max()),
    )


def without_keys(theft: Theft, plain: Gallery, turned: Gallery) -> None:
    """Whoever knows some of the people finds the rotation: by the vectors that are enrolled, or other photographs."""
    order = np.random.default_rng(0).permutation(len(turned))
    unit, hidden = unit_rows(plain.embeddings)[0], unit_rows(turned.embeddings)[0]
    subjects = theft.subjects
    for count in KNOWN:
        known = order[:count]
        others = np.array([np.flatnonzero(subjects == turned.ids[at])[0] for at in known])
        unknown = np.isin(subjects, np.array(turned.ids)[order[count:]])
        for words, vectors in (
            (f"{count} vectors known", unit[known]),
            (f"other photographs of {count} known", unit_rows(theft.probes[others])[0]),
        ):
            opened = enrolled(hidden @ solved(hidden[known], vectors), turned.ids, Origin("", ""))
            theft.add(TURNED, f"the same network, {words}", rank1(opened, theft.probes[unknown], subjects[unknown]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/stolen"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    names = sorted(str(path.relative_to(LFW / "images")) for path in (LFW / "images").glob("*/*.jpg"))
    several = Counter(map(identity_of, names))
    names = [name for name in names if several[identity_of(name)] > 1]
    people = np.array([identity_of(name) for name in names])
    first = np.concatenate(([True], people[1:] != people[:-1]))
    vectors = embeddings(options.out, [FaceFile(LFW / "images", name) for name in names])
    theft = Theft(vectors[FLOAT], people, np.flatnonzero(first), np.flatnonzero(~first))
    # The salts of rotations are the operating system's random bytes; here a seed's, so that the figures repeat.
    with patch("secrets.token_bytes", np.random.default_rng(0).bytes):
        measure(theft, vectors)
    test = f"LFW: {len(theft.enrolled_rows)} people enrolled, {len(theft.probe_rows)} photographs of them"
    save("stolen_gallery", theft.rows, test=test, chance=1 / len(theft.enrolled_rows))


def measure(theft: Theft, vectors: dict[str, np.ndarray]) -> None:
    """All rows: without the key, with it, and by faces that the thief knows."""
    plain = theft.gallery()
    turned = plain.turned(KEY)
    for thief, values in vectors.items():
        for name, gallery in {"float32": plain, "int8": plain.quantized()}.items():
            theft.add(name, thief, rank1(gallery, values[theft.probe_rows], theft.subjects))
    for thief, values in vectors.items():
        draws = [rank1(plain.turned(KEY), values[theft.probe_rows], theft.subjects)["rank1"] for _ in range(ROTATIONS)]
        theft.add(TURNED, thief, {"rank1": float(np.mean(draws)), "low": min(draws), "high": max(draws)})
    with_keys(theft, plain, turned)
    without_keys(theft, plain, turned)


if __name__ == "__main__":
    main()

"""What a stolen gallery tells: are its people found again by another model, and what do int8 and a rotation change?

    python benchmarks/stolen_gallery.py [--out out/stolen]

Somebody has the vectors of a gallery of LFW's people (the first image of each of the 1,680 who have several), without
names, and photographs of these people with their names (the other images). They embed the photographs by whatever
model they have and look for the nearest vector: rank-1 says how often it is the person's. The gallery is of a float
MobileFaceNet; the thief's model is that network, its integers, or another network. Where a rotation hides the vectors,
the thief may know whom some of them show (plain vectors of the same faces), and solve for it (Schönemann, 1966).
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import LFW, artifact, networks, save

from bitface.data.faces import FaceFile
from bitface.evaluation import identity_of
from bitface.evaluation.figures.intervals import wilson
from bitface.evaluation.gallery import Gallery, Origin, enrolled
from bitface.evaluation.keys import GalleryKey
from bitface.evaluation.scores.nearest import nearest
from bitface.evaluation.scores.similarity import unit_rows
from bitface.inputs.embeddings import embed_kept, prepare
from bitface.store import Store

OWN, OTHER = "MobileFaceNet PReLU", "MobileFaceNet ReLU6"
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
    enrolled_rows, probe_rows = np.flatnonzero(first), np.flatnonzero(~first)
    files = [FaceFile(LFW / "images", name) for name in names]

    def embedded(model: Path, word: str | None) -> np.ndarray:
        embedder = prepare(model, files, preprocess=word).embedder
        return np.asarray(embed_kept(embedder, files, Store(options.out))[0].values, np.float32)

    (path, word), (other, other_word) = networks()[OWN], networks()[OTHER]
    vectors = {
        "the same network, float": embedded(path, word),
        **{f"the same network, {bits}": embedded(artifact(OWN, bits, options.out), None) for bits in ("w8a8", "w4a4")},
        "another network": embedded(other, other_word),
    }
    own = vectors["the same network, float"]
    plain = enrolled(own[enrolled_rows], people[enrolled_rows].tolist(), Origin("", ""))
    key, next_key = GalleryKey(bytes(range(32))), GalleryKey(bytes(range(1, 33)))
    turned = plain.turned(key)
    galleries = {"float32": plain, "int8": plain.quantized(), "turned, float32": turned}
    rows: list[dict[str, Any]] = []

    def add(gallery: str, thief: str, found: dict[str, Any], **more: Any) -> None:
        rows.append(
            {
                "key": f"{gallery} {thief}",
                "gallery": gallery,
                "thief": thief,
                "probes": len(probe_rows),
                **found,
                **more,
            }
        )
        print(rows[-1], flush=True)

    subjects = people[probe_rows]
    for name, gallery in galleries.items():
        for thief, values in vectors.items():
            add(name, thief, rank1(gallery, values[probe_rows], subjects))
    # With the key, and with that of the next gallery.
    add("turned, float32", "the same network and the key", rank1(turned, turned.probes(own[probe_rows], key), subjects))
    scores = [
        unit_rows(side)[0] @ unit_rows(gallery.embeddings)[0].T
        for side, gallery in ((own[probe_rows], plain), (turned.probes(own[probe_rows], key), turned))
    ]
    change = float(np.abs(scores[0] - scores[1]).max())
    renewed = turned.turned(next_key, key)
    add(
        "turned by another key",
        "a gallery turned by the old key",
        rank1(renewed, turned.embeddings, np.array(turned.ids)),
        score_change=change,
    )
    # Whoever knows some of the people finds the rotation.
    order = np.random.default_rng(0).permutation(len(turned))
    unit, hidden = unit_rows(plain.embeddings)[0], unit_rows(turned.embeddings)[0]
    for count in KNOWN:
        matrix = solved(hidden[order[:count]], unit[order[:count]])
        opened = enrolled(hidden @ matrix, turned.ids, Origin("", ""))
        unknown = np.isin(subjects, np.array(turned.ids)[order[count:]])
        found = rank1(opened, own[probe_rows][unknown], subjects[unknown])
        add("turned, float32", f"the same network, {count} vectors known", found)
        # Known as other photographs of these people, not as the enrolled ones.
        places = np.array([np.flatnonzero(subjects == turned.ids[at])[0] for at in order[:count]])
        matrix = solved(hidden[order[:count]], unit_rows(own[probe_rows][places])[0])
        opened = enrolled(hidden @ matrix, turned.ids, Origin("", ""))
        add(
            "turned, float32",
            f"the same network, other photographs of {count} known",
            rank1(opened, own[probe_rows][unknown], subjects[unknown]),
        )
    save(
        "stolen_gallery",
        rows,
        test=f"LFW: {len(plain)} people enrolled, {len(probe_rows)} photographs of them",
        chance=1 / len(plain),
    )


if __name__ == "__main__":
    main()

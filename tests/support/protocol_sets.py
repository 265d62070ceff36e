"""Made-up faces of twenty people, and the files of every kind of protocol over them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bitface.evaluation.protocols.base import Embeddings, FaceProtocol

PEOPLE, SHOTS = 20, 4


def lines(path: Path, *rows: str) -> None:
    path.write_text("\n".join(rows) + "\n")


def write_sets(base: Path) -> Path:
    """Images of twenty people, and the lists of each kind of protocol."""
    random = np.random.default_rng(0)
    names = [f"p{person:02}/{shot}.png" for person in range(PEOPLE) for shot in range(SHOTS)]
    for name in names:
        for folder in ("images", "frames", "mega/facescrub_images"):
            path = base / folder / name
            if folder == "frames":  # person/video/frame
                path = base / folder / name.split("/")[0] / name[-5] / "1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(path)
    (base / "mega" / "megaface_images").mkdir()
    for index in range(30):
        Image.fromarray(np.full((112, 112, 3), index, np.uint8)).save(
            base / "mega" / "megaface_images" / f"{index}.png"
        )
    genuine = [f"p{person:02}/0.png p{person:02}/1.png 1 {person % 10}" for person in range(PEOPLE)]
    impostor = [f"p{person:02}/0.png p{(person + 1) % PEOPLE:02}/2.png 0 {person % 10}" for person in range(PEOPLE)]
    lines(base / "pairs.txt", *genuine, *impostor)
    rows = [f"{1 + n % 10}, p{n:02}/0, p{n:02}/1, 0.5, 1" for n in range(PEOPLE)]
    rows += [f"{1 + n % 10}, p{n:02}/2, p{(n + 1) % PEOPLE:02}/3, 0.5, 0" for n in range(PEOPLE)]
    lines(base / "splits.txt", "split number, first name, second name, L2 distance, is same", *rows)
    media = [f"{name} {2 * int(name[1:3]) + int(name[4]) // 2} {name[4]}" for name in names]
    lines(base / "tid_mid.txt", *media)
    points = "30 40 80 40 56 60 40 90 75 90"
    lines(base / "points.txt", *(f"{name} {points} 0.9" for name in names))
    matches = [f"{2 * n} {2 * n + 1} 1" for n in range(PEOPLE)] + [
        f"{2 * n} {(2 * n + 3) % 40} 0" for n in range(PEOPLE)
    ]
    lines(base / "matches.txt", *matches)
    header = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID"
    lines(base / "g1.csv", header, *(f"{n},{n},p{n:02}/0.png,{n}" for n in range(PEOPLE // 2)))
    lines(base / "g2.csv", header, *(f"{100 + n},{n},p{n:02}/0.png,{n}" for n in range(PEOPLE // 2, PEOPLE)))
    lines(base / "probes.csv", header, *(f"{200 + n},{n},p{n:02}/1.png,{50 + n}" for n in range(PEOPLE)))
    (base / "scrub.json").write_text(json.dumps({"path": names, "id": [name[:3] for name in names]}))
    (base / "mega.json").write_text(json.dumps({"path": [f"{index}.png" for index in range(30)]}))
    return base


SPECS: dict[str, dict[str, Any]] = {
    "pairs": {"pairs": "pairs.txt", "root": "images", "all_pairs": True},
    "people": {"people": "images"},
    "videos": {"videos": "splits.txt", "root": "frames"},
    "templates": {"templates": "tid_mid.txt", "points": "points.txt", "matches": "matches.txt", "root": "images"},
    "galleries": {"galleries": {"G1": "g1.csv", "G2": "g2.csv"}, "probes": "probes.csv", "root": "images"},
    "distractors": {"distractors": "mega.json", "probes": "scrub.json", "root": "mega"},
}


def person_of(path: str) -> int:
    """Whom a path of the made-up sets shows; distractors are nobody."""
    named = [part for part in path.split("/") if part.startswith("p") and part[1:].isdigit()]
    return int(named[0][1:]) if named else -1 - int(path.split("/")[-1].split(".")[0])


def faces(protocol: FaceProtocol, spread: float, seed: int = 1) -> Embeddings:
    """What a model makes of the made-up images: a centre for each person, and noise."""
    centres = {person: np.random.default_rng(1000 + person).standard_normal(16) for person in range(-40, PEOPLE)}
    noise = np.random.default_rng(seed).standard_normal((len(protocol.paths), 16))
    return Embeddings(np.stack([centres[person_of(path)] for path in protocol.paths]) + spread * noise)

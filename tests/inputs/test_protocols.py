"""Every kind of protocol that a suite can name, from files in the published forms to a result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitface.data.faces import load_faces
from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.registry import PROTOCOLS
from bitface.inputs.protocols import open_protocol

PEOPLE, SHOTS = 20, 4


def lines(path: Path, *rows: str) -> None:
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of twenty people, and the lists of each kind of protocol."""
    base = tmp_path_factory.mktemp("sets")
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
HEADLINES = {
    "pairs": "accuracy", "people": "rank-1", "videos": "accuracy", "templates": "TAR", "galleries": "rank-1",
    "distractors": "rank-1",
}  # fmt: skip


def person_of(path: str) -> int:
    """Whom a path of the made-up sets shows; distractors are nobody."""
    named = [part for part in path.split("/") if part.startswith("p") and part[1:].isdigit()]
    return int(named[0][1:]) if named else -1 - int(path.split("/")[-1].split(".")[0])


def test_every_kind_is_tried() -> None:
    assert set(SPECS) == set(PROTOCOLS) == set(HEADLINES)


@pytest.mark.parametrize("kind", SPECS)
def test_from_files_to_figures(kind: str, base: Path) -> None:
    opened = open_protocol("mine", SPECS[kind], base)
    assert opened.protocol.name == "mine"
    assert [file.relative for file in opened.files] == list(opened.protocol.paths)
    assert len(load_faces(opened.files[:5]).images) == min(5, len(opened.files))
    centres = {person: np.random.default_rng(1000 + person).standard_normal(16) for person in range(-40, PEOPLE)}
    noise = np.random.default_rng(1).standard_normal((len(opened.files), 16))
    faces = np.stack([centres[person_of(path)] for path in opened.protocol.paths])
    good, bad = Embeddings(faces + 0.01 * noise), Embeddings(noise)
    figures = {}
    for name, side in (
        ("good", (good, None)),
        ("mixed", (good, Embeddings(faces + 0.02 * noise))),
        ("bad", (bad, None)),
    ):
        result = opened.protocol.score(*side, fars=(0.5,), seed=0)
        figures[name] = next(figure for figure in result.figures() if figure.name.startswith(HEADLINES[kind]))
        json.dumps(result.to_json(curve=True), allow_nan=False)
    assert figures["good"].value == figures["mixed"].value == 1
    assert figures["bad"].value is not None
    assert figures["bad"].value < 0.9


def test_landmarks_cut_faces_out(base: Path) -> None:
    opened = open_protocol("mine", SPECS["templates"], base)
    assert opened.files[0].landmarks == ((30, 40), (80, 40), (56, 60), (40, 90), (75, 90))
    plain = open_protocol("mine", {key: value for key, value in SPECS["templates"].items() if key != "points"}, base)
    assert plain.files[0].landmarks is None
    assert not np.array_equal(load_faces(opened.files[:1]).images, load_faces(plain.files[:1]).images)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"root": "images"}, "must have one of the keys distractors, "),
        ({"pairs": "pairs.txt", "people": "images"}, "must have one of the keys"),
        ({"videos": "splits.txt"}, "lacks 'root'"),
        ({"videos": "splits.txt", "root": "frames", "frame": 3}, "unknown key 'frame'; did you mean 'frames'?"),
        ({"videos": "splits.txt", "root": "frames", "frames": "all"}, "'frames' of the protocol 'mine' can't be 'all'"),
        ({"galleries": {}, "probes": "probes.csv", "root": "images"}, "'galleries' of the protocol 'mine' can't be {}"),
        ({"templates": ["tid_mid.txt", "g1.csv"], "matches": "matches.txt", "root": "images"}, "must all be CSV files"),
    ],
)
def test_requests_that_make_no_sense(spec: dict[str, Any], message: str, base: Path) -> None:
    with pytest.raises(UsageError, match=message):
        open_protocol("mine", spec, base)


def test_files_that_are_missing(base: Path) -> None:
    for spec in ({"pairs": "no.txt", "root": "images"}, {"pairs": "pairs.txt", "root": "frames"}, {"pairs": "no.bin"}):
        with pytest.raises(BitfaceError):
            open_protocol("mine", spec, base)

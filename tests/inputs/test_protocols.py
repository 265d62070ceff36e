"""Every kind of protocol that a suite can name, from files in the published forms to a result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitface.data.faces import load_faces
from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.registry import PROTOCOLS
from bitface.inputs.protocols import asked_protocol, open_protocol, read_protocol
from support.protocol_sets import SPECS, faces, write_sets


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("sets"))


HEADLINES = {
    "pairs": "accuracy", "people": "rank-1", "videos": "accuracy", "templates": "TAR", "galleries": "rank-1",
    "distractors": "rank-1",
}  # fmt: skip


def test_every_kind_is_tried() -> None:
    assert set(SPECS) == set(PROTOCOLS) == set(HEADLINES)


@pytest.mark.parametrize("kind", SPECS)
def test_from_files_to_figures(kind: str, base: Path) -> None:
    opened = open_protocol("mine", SPECS[kind], base)
    assert opened.protocol.name == "mine"
    assert [file.relative for file in opened.files] == list(opened.protocol.paths)
    assert len(load_faces(opened.files[:5]).images) == min(5, len(opened.files))
    noise = np.random.default_rng(1).standard_normal((len(opened.files), 16))
    good, bad = faces(opened.protocol, 0.01), Embeddings(noise)
    figures = {}
    for name, side in (
        ("good", (good, None)),
        ("mixed", (good, faces(opened.protocol, 0.02))),
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


def test_a_protocol_of_its_own_file_or_of_a_suite(base: Path) -> None:
    (base / "one.yaml").write_text("people: images\n")
    (base / "suite.yaml").write_text("protocols:\n  A: {people: images}\n  B: {videos: splits.txt, root: frames}\n")
    assert read_protocol(str(base / "one.yaml")).protocol.name == "one"
    assert read_protocol(f"{base / 'suite.yaml'}:B").protocol.name == "B"
    for word, message in (
        ("suite.yaml", r"holds 2 protocols \(A, B\); name one"),
        ("suite.yaml:C", "no protocol 'C'"),
        ("one.yaml:A", "names no 'protocols'"),
    ):
        with pytest.raises(UsageError, match=message):
            read_protocol(f"{base / word}")
    with pytest.raises(UsageError, match="leave out pairs="):
        asked_protocol("one.yaml", base / "pairs.txt")

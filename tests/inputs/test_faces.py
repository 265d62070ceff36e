"""Where faces come from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitface.data.face_source import FaceSource
from bitface.data.sources import DISTILLED, REAL, SPREAD
from bitface.data.synthetic import DCGAN
from bitface.errors import BitfaceError, UsageError
from bitface.graph import passes
from bitface.inputs import faces
from support.packed_sets import crops, jpeg, write_rec
from support.quantized import Mixed, network


@pytest.mark.slow
def test_synthetic_and_real_faces_mix(
    asset: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dcgan", "yunet"):
        asset(name)
    noise = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(noise.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    gathered = faces.gather(FaceSource([tmp_path, Path("synthetic:20")]), (112, 112))
    assert len(gathered.learning) + len(gathered.held_out) == 26
    assert gathered.kind == f"real or unknown and {DCGAN}"
    alone = faces.gather(FaceSource([Path("synthetic:20")]), (112, 112))
    assert alone.total == 20
    assert alone.kind == DCGAN


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(BitfaceError, match="no such folder"):
        faces.gather(FaceSource([Path("synthetics:20")]), (112, 112))


def packed_set(tmp_path: Path, broken: tuple[int, ...] = ()) -> FaceSource:
    images = [b"none" if place in broken else jpeg(image) for place, image in enumerate(crops(40))]
    write_rec(tmp_path / "set", images, [place // 4 for place in range(40)])
    return FaceSource([Path(f"rec:{tmp_path / 'set'}")])


def test_more_than_fits_is_read_as_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    source = packed_set(tmp_path)
    inside = faces.gather(source, (112, 112), 3)
    assert isinstance(inside.learning, np.ndarray)
    assert inside.workers == 0
    monkeypatch.setattr(faces, "IN_MEMORY", 39 * 112 * 112 * 3)
    outside = faces.gather(source, (112, 112), 3)
    assert not isinstance(outside.learning, np.ndarray)
    np.testing.assert_array_equal(np.asarray(outside.learning), inside.learning)
    np.testing.assert_array_equal(outside.held_out, inside.held_out)
    assert list(outside.files) == list(inside.files)
    assert outside.workers >= 1
    assert faces.gather(replace(source, workers=0), (112, 112), 3).workers == 0
    assert "are read as they are needed" in outside.notes[-1]
    for gathered in (inside, outside):
        assert faces.labels_of(gathered, 30, None) is None
        by_source = faces.labels_of(gathered, 30, None, needed=True)
        by_word = faces.labels_of(gathered, 30, "folder")
        assert by_source is not None
        assert by_word is not None
        names = [file.person for file in gathered.files[:30]]
        assert by_source.tolist() == by_word.tolist() == [sorted(set(names)).index(name) for name in names]
    some = faces.gather(replace(source, max_images=10), (112, 112), 3)
    np.testing.assert_array_equal(some.learning, inside.learning[:10])


def test_damage_among_what_is_held_out_is_listed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(faces, "IN_MEMORY", 0)
    source, listed = replace(packed_set(tmp_path, tuple(range(8))), allow_skipped=True), tmp_path / "skipped.csv"
    gathered = faces.gather(source, (112, 112), 0, listed)
    assert gathered.skipped == 8 - len(gathered.held_out) > 0  # a fifth of 40
    assert len(listed.read_text().splitlines()) - 1 == gathered.skipped
    np.asarray(gathered.learning)
    assert gathered.skipped == len(listed.read_text().splitlines()) - 1 == 8


def test_a_list_chooses_no_records(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png")
    source = replace(packed_set(tmp_path), image_list=tmp_path / "list.txt")
    with pytest.raises(UsageError, match=r"chooses among files, and .* is a packed set"):
        faces.gather(source, (112, 112))


def test_what_could_not_be_seen_is_said() -> None:
    whole = network(Mixed(), 16)
    folded = replace(whole, graph=passes.fold(whole.graph))
    assert len(faces.unseen(DISTILLED, whole)) == 1
    notes = faces.unseen(DISTILLED, folded)
    assert len(notes) == 2
    assert "no BatchNorm" in notes[0]
    assert faces.unseen(REAL, folded) == []
    (note,) = faces.unseen(f"{REAL} and {SPREAD}", whole)
    assert "brought apart" in note

import hashlib
import json
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import gallery as module
from bitface.evaluation.gallery import Gallery, Origin, enrolled, quantized, read_gallery, write_gallery
from bitface.evaluation.protocols.closed_set import identify
from bitface.evaluation.scores.nearest import nearest
from bitface.evaluation.scores.similarity import unit_rows
from bitface.preprocess import Size

IDS = ("Ann", "Ann", "Böb", "Cy")


def rows(count: int = 4, size: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size)) * 7


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.safetensors"


def test_a_float_gallery_comes_back_as_it_was(path: Path) -> None:
    values = rows()
    write_gallery(path, enrolled(values, IDS, Origin("f" * 64, "rgb-127.5-127.5", True)))
    found = read_gallery(path)
    assert found.embeddings.tolist() == values.astype(np.float32).tolist()
    assert (found.ids, found.fingerprint, found.preprocess, found.flip) == (IDS, "f" * 64, "rgb-127.5-127.5", True)
    assert (len(found), found.size, found.precision, found.scales) == (4, 6, "float32", None)
    assert found.unit(slice(1, 3))[0].tolist() == unit_rows(values.astype(np.float32)[1:3])[0].tolist()


def test_an_int8_gallery_comes_back_as_it_was(path: Path) -> None:
    values = rows()
    write_gallery(path, enrolled(values, IDS, Origin("f", "rgb-raw"), int8=True))
    found = read_gallery(path)
    codes, scales = quantized(values.astype(np.float32))
    assert found.precision == "int8"
    assert found.embeddings.dtype == np.int8
    assert found.embeddings.tolist() == codes.tolist()
    assert found.scales.tolist() == scales.tolist()
    content = load(path.read_bytes())
    assert {name: (value.dtype, value.shape) for name, value in content.items()} == {
        "embeddings": (np.int8, (4, 6)),
        "scales": (np.float32, (4,)),
    }


def test_the_same_gallery_is_the_same_file(path: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_gallery(tmp_path / name, enrolled(rows(), IDS, Origin("f", "rgb-raw"), int8=True))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"a", "b"}


def test_codes_and_scales_by_hand() -> None:
    codes, scales = quantized(np.array([[3.0, -4.0, 0.0], [0.0, 0.0, -2e-30]]))
    # 3/5 and -4/5: the scale is 0.8/127, and 0.6 of it 95.25 steps.
    assert codes.tolist() == [[95, -127, 0], [0, 0, -127]]
    assert scales == pytest.approx([0.8 / 127, 1 / 127], rel=1e-7)


@pytest.mark.parametrize("size", [1, 7, 512])
def test_every_vector_uses_the_whole_range_and_none_is_half_a_step_off(size: int) -> None:
    values = np.random.default_rng(size).standard_t(2, size=(300, size))
    codes, scales = quantized(values)
    unit = unit_rows(values)[0]
    assert (np.abs(codes.astype(int)).max(axis=1) == 127).all()
    assert (np.abs(codes * scales[:, None].astype(np.float64) - unit) <= scales[:, None] * 0.50001).all()


def test_scores_against_int8_are_those_of_its_vectors() -> None:
    gallery, probes = enrolled(rows(40), ["x"] * 40, Origin("f", "p"), int8=True), rows(5, seed=1)
    vectors = gallery.embeddings.astype(np.float64) * gallery.scales[:, None]
    cosines = np.array([[a @ b / np.sqrt((a @ a) * (b @ b)) for b in vectors] for a in probes])
    for block in (3, 64):
        neighbours = nearest(gallery, probes, 40, block=block)
        assert neighbours.rows.tolist() == np.argsort(-cosines, axis=1, kind="stable").tolist()
        assert neighbours.scores == pytest.approx(-np.sort(-cosines, axis=1), abs=1e-6)


def test_scoring_an_int8_gallery_never_expands_it_whole() -> None:
    codes = np.random.default_rng(0).integers(-127, 128, (40_000, 64), np.int8)
    gallery = Gallery(codes, ("x",) * 40_000, "f", "p", scales=np.ones(40_000, np.float32))
    probes = rows(3, 64)
    tracemalloc.start()
    nearest(gallery, probes, 1, block=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < gallery.embeddings.size * 8 / 4


def test_rank_1_in_int8_is_that_of_its_vectors() -> None:
    rng = np.random.default_rng(5)
    people = rng.normal(size=(60, 24))
    values = people + 0.9 * rng.normal(size=(60, 24))
    probes = (people[:, None] + 0.9 * rng.normal(size=(60, 3, 24))).reshape(-1, 24)
    ids, subjects = [f"p{at}" for at in range(60)], [f"p{at // 3}" for at in range(180)]

    def rank1(vectors: np.ndarray) -> float:
        hits = 0
        for at, probe in enumerate(unit_rows(probes)[0]):
            scores = [float(probe @ vector) for vector in unit_rows(vectors)[0]]
            hits += all(scores[at // 3] > score for other, score in enumerate(scores) if other != at // 3)
        return hits / 180

    gallery = enrolled(values, ids, Origin("f", "p"))
    small = gallery.quantized()
    expanded = small.embeddings * small.scales[:, None].astype(np.float64)
    for form, vectors in ((gallery, values.astype(np.float32)), (small, expanded)):
        rate = identify(form, ids, probes, subjects, (1,)).points[0].rate
        assert rate == rank1(vectors)
        assert 0.2 < rate < 1
    both = [unit_rows(probes)[0] @ unit_rows(form)[0].T for form in (values, expanded)]
    assert 1e-4 < np.abs(both[0] - both[1]).max() < 0.02
    assert small.quantized() is small


def test_another_model_is_refused() -> None:
    gallery = enrolled(rows(), IDS, Origin("a1b2c3d4e5f60718", "rgb-raw"))
    gallery.check_model("a1b2c3d4e5f60718")
    gallery.check_model("0" * 64, allow_mixed=True)
    with pytest.raises(
        UsageError, match=r"by model a1b2c3d4e5f6, the probes come from 000000000000: .*allow_mixed=True"
    ):
        gallery.check_model("0" * 64)
    with pytest.raises(UsageError, match="from unknown"):
        gallery.check_model("")
    with pytest.raises(UsageError, match=r"by model unknown, .* unknown: "):
        enrolled(rows(), IDS, Origin("", "rgb-raw")).check_model("")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(4), IDS), r"float32 \[4\]; expected float32 \[images, size\]"),
        ((np.ones((0, 3)), ()), r"float32 \[0, 3\]"),
        ((np.ones((4, 3)), IDS[:3]), "3 names for 4 embeddings"),
        ((np.ones((2, 3)), ("Ann", "")), "none of them empty"),
        (([[1, 2], [np.nan, 1]], ("Ann", "Bob")), r"row 1 \(Bob\) is not finite"),
        (([[1, 2], [1e300, 1]], ("Ann", "Bob")), r"row 1 \(Bob\) is not finite"),
        (([[1, 2], [0, 0]], ("Ann", "Bob")), r"row 1 \(Bob\) is zero; enrol only images"),
        (([["x"]], ("Ann",)), "aren't numbers"),
    ],
)
def test_what_cannot_be_enrolled(arguments: tuple[Any, Any], message: str) -> None:
    for int8 in (False, True):
        with pytest.raises(BitfaceError, match=message):
            enrolled(*arguments, Origin("f", "p"), int8=int8)


def test_quantizing_names_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 2)
    with pytest.raises(BitfaceError, match="row 4 is zero or not finite"):
        quantized(np.array([[1.0], [2.0], [3.0], [4.0], [0.0], [5.0]]))


GOOD = {"version": 1, "ids": ["Ann", "Bob"], "fingerprint": "f", "preprocess": "p", "flip": False, "sha256": "0" * 64}
SINCE_2 = GOOD | {"version": 2, "engine": None, "engines": {}, "image_size": None}
FLOAT: dict[str, np.ndarray] = {"embeddings": np.ones((2, 3), np.float32)}
INT8: dict[str, np.ndarray] = {"embeddings": np.full((2, 3), 127, np.int8), "scales": np.ones(2, np.float32)}


def changed(
    tensors: dict[str, np.ndarray], name: str, at: int | tuple[int, int], value: float
) -> dict[str, np.ndarray]:
    copies = {key: array.copy() for key, array in tensors.items()}
    copies[name][at] = value
    return copies


@pytest.mark.parametrize(
    ("tensors", "description", "message"),
    [
        (FLOAT, None, "no description of a gallery"),
        (FLOAT, "{", "description isn't JSON"),
        (FLOAT, "[" * 100_000, "description isn't JSON"),
        (FLOAT, "[]", "isn't of version 2 or before"),
        (FLOAT, GOOD | {"version": 3}, "isn't of version 2 or before"),
        (FLOAT, GOOD | {"version": True}, "isn't of version 2 or before"),
        (FLOAT, GOOD | {"version": 2}, "has the entries"),
        (FLOAT, GOOD | {"engine": "openvino"}, "has the entries .*'engine'"),
        (FLOAT, SINCE_2 | {"engine": 1}, "its engine is 1; expected a str"),
        (FLOAT, SINCE_2 | {"engines": []}, "its engines is"),
        (FLOAT, SINCE_2 | {"engines": {"torch": {"cosine": "1"}}}, "its engines say .*expected numbers"),
        (FLOAT, GOOD | {"note": ""}, "has the entries .*'note'"),
        (FLOAT, {key: GOOD[key] for key in GOOD if key != "flip"}, "has the entries"),
        (FLOAT, SINCE_2 | {"image_size": "112"}, "its image_size is"),
        (FLOAT, SINCE_2 | {"image_size": [0, 112]}, "no image size"),
        (FLOAT, GOOD | {"ids": "ab"}, "ids aren't a list"),
        (FLOAT, GOOD | {"ids": ["Ann", 3]}, "ids must be names"),
        (FLOAT, GOOD | {"ids": ["Ann", ""]}, "ids must be names"),
        (FLOAT, GOOD | {"ids": ["Ann"]}, "1 names for 2 embeddings"),
        (FLOAT, GOOD | {"fingerprint": None}, "fingerprint is null; expected a str"),
        (FLOAT, GOOD | {"flip": 1}, "flip is 1; expected a bool"),
        (FLOAT, GOOD, "doesn't match its checksum"),
        (INT8, GOOD, "doesn't match its checksum"),
        ({"vectors": FLOAT["embeddings"]}, GOOD, r"tensors \['vectors'\]; expected embeddings"),
        (FLOAT | {"more": np.ones(1, np.float32)}, GOOD, "expected embeddings"),
        ({"embeddings": np.ones((2, 3))}, GOOD, r"float64 \[2, 3\]"),
        ({"embeddings": np.ones(2, np.float32)}, GOOD, r"float32 \[2\]"),
        ({"embeddings": np.ones((2, 3), np.int8)}, GOOD, "int8 .* expected float32"),
        (FLOAT | {"scales": np.ones(2, np.float32)}, GOOD, "float32 .* expected int8"),
        (INT8 | {"scales": np.ones(3, np.float32)}, GOOD, "scales are float32 .3.; expected one per vector"),
        (INT8 | {"scales": np.ones(2)}, GOOD, "scales are float64"),
        (changed(FLOAT, "embeddings", (1, 2), np.inf), GOOD, r"row 1 \(Bob\) is not finite"),
        (changed(FLOAT, "embeddings", 0, 0), GOOD, r"row 0 \(Ann\) is zero"),
        (changed(INT8, "embeddings", 1, 0), GOOD, r"row 1 \(Bob\) is zero"),
        (changed(INT8, "embeddings", (1, 1), -128), GOOD, r"row 1 \(Bob\) holds the code -128"),
        (changed(INT8, "scales", 0, 0), GOOD, r"row 0 \(Ann\) has the scale 0"),
        (changed(INT8, "scales", 1, -1), GOOD, r"row 1 \(Bob\) has the scale -1"),
        (changed(INT8, "scales", 1, np.nan), GOOD, "has the scale nan"),
        (changed(INT8, "scales", 1, np.inf), GOOD, "has the scale inf"),
    ],
)
def test_what_is_no_gallery_is_refused_in_one_line(
    path: Path, tensors: dict[str, np.ndarray], description: str | dict[str, object] | None, message: str
) -> None:
    text = description if isinstance(description, str) else json.dumps(description)
    path.write_bytes(save(tensors, None if description is None else {"bitface": text}))
    with pytest.raises(BitfaceError, match=message) as caught:
        read_gallery(path)
    assert str(caught.value).startswith(f"{path}: not a usable gallery: ")
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused_in_one_line(path: Path) -> None:
    write_gallery(path, enrolled(rows(), IDS, Origin("f", "rgb-raw"), int8=True))
    content = path.read_bytes()
    damaged = [content[:size] for size in (0, 5, 8, 40, len(content) - 1)]
    damaged += [content + b"\0", struct.pack("<Q", 2**63) + content[8:], b"\x80\x04K\x01." * 50]
    damaged += [content.replace(b'"I8"', b'"I9"'), content.replace(b"[4,6]", b"[4,7]")]
    for bad in damaged:
        assert bad != content
        path.write_bytes(bad)
        with pytest.raises(BitfaceError, match=r"people\.safetensors: not a") as caught:
            read_gallery(path)
        assert "\n" not in str(caught.value)


def test_no_changed_byte_goes_unnoticed(path: Path) -> None:
    write_gallery(path, enrolled(rows(), IDS, Origin("f", "rgb-raw"), int8=True))
    content = path.read_bytes()
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 + at % 255
        path.write_bytes(changed)
        with pytest.raises(BitfaceError, match=r"people\.safetensors: not a"):
            read_gallery(path)


def test_names_are_capped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_METADATA", 1000)
    gallery = enrolled(rows(), ["x" * 300] * 4, Origin("f", "p"))
    with pytest.raises(BitfaceError, match="names of the gallery take more than"):
        write_gallery(path, gallery)
    assert not path.exists()
    monkeypatch.setattr(module, "LARGEST_METADATA", 10_000)
    write_gallery(path, gallery)
    monkeypatch.setattr(module, "LARGEST_METADATA", 1000)
    with pytest.raises(BitfaceError, match="header"):
        read_gallery(path)


def test_galleries_of_version_1_are_read(path: Path) -> None:
    """They say neither their engine nor the size of their images."""
    description = {key: GOOD[key] for key in GOOD if key != "sha256"}
    digest = hashlib.sha256(json.dumps(description, separators=(",", ":")).encode() + FLOAT["embeddings"].tobytes())
    text = json.dumps(description | {"sha256": digest.hexdigest()}, separators=(",", ":"))
    path.write_bytes(save(FLOAT, {"bitface": text}))
    gallery = read_gallery(path)
    assert (gallery.ids, gallery.engine, gallery.engines, gallery.image_size) == (("Ann", "Bob"), None, {}, None)
    write_gallery(path, replace(gallery, engine="torch", engines={"openvino": {"cosine": 0.5}}, image_size=Size(9, 8)))
    assert read_gallery(path).engines == {"openvino": {"cosine": 0.5}}
    assert read_gallery(path).image_size == Size(9, 8)


def test_missing_files_and_folders(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BitfaceError, match=r"people\.safetensors: can't be read"):
        read_gallery(path)
    with pytest.raises(BitfaceError, match="can't be read"):
        read_gallery(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(BitfaceError, match="can't be written"):
        write_gallery(tmp_path / "file" / "people.safetensors", enrolled(rows(), IDS, Origin("f", "p")))

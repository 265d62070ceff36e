"""Gallery files: written and read, damaged, encrypted."""

import hashlib
import json
import stat
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import gallery_file as module
from bitface.evaluation.gallery import Origin, enrolled, quantized
from bitface.evaluation.gallery_file import read_gallery, write_gallery
from bitface.evaluation.keys import GalleryKey
from bitface.evaluation.scores.similarity import unit_rows
from bitface.preprocess import Size

IDS = ("Ann", "Ann", "Böb", "Cy")
KEY = GalleryKey(bytes(range(32)))


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


GOOD = {"version": 1, "ids": ["Ann", "Bob"], "fingerprint": "f", "preprocess": "p", "flip": False, "sha256": "0" * 64}
SINCE_2 = GOOD | {"version": 2, "engine": None, "engines": {}, "image_size": None}
SINCE_3 = SINCE_2 | {"version": 3, "rotation": None}
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
        (FLOAT, "[]", "isn't of version 3 or before"),
        (FLOAT, GOOD | {"version": 4}, "isn't of version 3 or before"),
        (FLOAT, GOOD | {"version": True}, "isn't of version 3 or before"),
        (FLOAT, GOOD | {"version": 2}, "has the entries"),
        (FLOAT, GOOD | {"engine": "openvino"}, "has the entries .*'engine'"),
        (FLOAT, SINCE_2 | {"engine": 1}, "its engine is 1; expected a str"),
        (FLOAT, SINCE_2 | {"engines": []}, "its engines is"),
        (FLOAT, SINCE_2 | {"engines": {"torch": {"cosine": "1"}}}, "its engines say .*expected numbers"),
        (FLOAT, SINCE_3 | {"rotation": "zz" * 16}, "rotation is 'zz.*expected 32 hexadecimal digits"),
        (FLOAT, SINCE_3 | {"rotation": 5}, "its rotation is 5; expected a str"),
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


@pytest.mark.parametrize("int8", [False, True])
def test_an_encrypted_gallery_tells_nothing_without_its_key(path: Path, int8: bool) -> None:
    pytest.importorskip("cryptography")
    gallery = enrolled(rows(), IDS, Origin("f" * 64, "rgb-raw"), int8=int8)
    assert write_gallery(path, gallery, KEY) == path.stat().st_size
    content = path.read_bytes()
    for secret in (b"Ann", "Böb".encode(), b"ffff", gallery.embeddings.tobytes()[:8], KEY.secret[:8]):
        assert secret not in content
    found = read_gallery(path, KEY)
    assert found.embeddings.tolist() == gallery.embeddings.tolist()
    assert (found.ids, found.fingerprint) == (IDS, "f" * 64)
    write_gallery(path, gallery, KEY)
    assert path.read_bytes()[16:60] != content[16:60]  # salt and nonce are of each write


def test_what_is_encrypted_by_hand_is_read(path: Path) -> None:
    """The format of `sealed`, step by step."""
    aead = pytest.importorskip("cryptography.hazmat.primitives.ciphers.aead")
    gallery = enrolled(rows(), IDS, Origin("f", "rgb-raw"))
    write_gallery(path, gallery)
    header = b"bitface sealed 1" + b"s" * 32 + b"n" * 12
    block = hashlib.sha256(
        bytes(key ^ 0x36 for key in KEY.secret.ljust(64, b"\0")) + b"encryption\0" + b"s" * 32
    ).digest()
    own = hashlib.sha256(bytes(key ^ 0x5C for key in KEY.secret.ljust(64, b"\0")) + block).digest()
    path.write_bytes(header + aead.ChaCha20Poly1305(own).encrypt(b"n" * 12, path.read_bytes(), header))
    assert read_gallery(path, KEY).ids == IDS


def test_no_changed_byte_of_an_encrypted_gallery_goes_unnoticed(path: Path) -> None:
    pytest.importorskip("cryptography")
    write_gallery(path, enrolled(rows(), IDS, Origin("f", "rgb-raw")), KEY)
    content = path.read_bytes()
    bad = [content[:size] for size in (16, 40, 60, 61, len(content) - 1)] + [content + b"\0"]
    for at in range(16, len(content)):
        bad.append(content[:at] + bytes([content[at] ^ (1 + at % 255)]) + content[at + 1 :])
    for one in bad:
        path.write_bytes(one)
        with pytest.raises(
            BitfaceError, match=r"people\.safetensors: not a usable gallery: .* another one's"
        ) as caught:
            read_gallery(path, KEY)
        assert "\n" not in str(caught.value)
    path.write_bytes(content)
    with pytest.raises(BitfaceError, match="the key is another one's, or the file was changed"):
        read_gallery(path, GalleryKey(bytes(32)))


def test_key_and_file_have_to_fit(path: Path) -> None:
    gallery = enrolled(rows(), IDS, Origin("f", "rgb-raw"))
    write_gallery(path, gallery)
    with pytest.raises(UsageError, match="isn't encrypted, so that anybody may have written it"):
        read_gallery(path, KEY)
    pytest.importorskip("cryptography")
    write_gallery(path, gallery, KEY)
    with pytest.raises(UsageError, match=r"is encrypted; name its key \(key_file='FILE'\)"):
        read_gallery(path)


def test_a_new_gallery_is_its_owners_alone(path: Path) -> None:
    gallery = enrolled(rows(), IDS, Origin("f", "rgb-raw"))
    write_gallery(path, gallery)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)  # what its owner wants stays
    write_gallery(path, gallery)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    (text,) = module.GalleryFile(path).exposed(None)
    assert text == f"{path}: others than its owner may read it (mode 640); chmod 600 {path}"


def test_who_left_is_gone_from_the_file(path: Path, tmp_path: Path) -> None:
    gallery = enrolled(rows(), IDS, Origin("f", "rgb-raw"), int8=True)
    write_gallery(path, gallery)
    traces = [b"Ann", *(gallery.embeddings[row].tobytes() for row in (0, 1)), gallery.scales[:2].tobytes()]
    assert all(trace in path.read_bytes() for trace in traces)
    write_gallery(path, gallery.without(["Ann"]))
    assert not any(trace in path.read_bytes() for trace in traces)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    rest = read_gallery(path)
    assert (rest.ids, rest.embeddings.tolist()) == (IDS[2:], gallery.embeddings[2:].tolist())
    with pytest.raises(UsageError, match="'Bob' isn't in the gallery; did you mean 'Böb'"):
        rest.without(["Bob"])
    with pytest.raises(UsageError, match="nobody would be left"):
        rest.without(["Böb", "Cy"])

"""Embeddings that are kept: used again, gone on with, and never wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitface.data.faces import FaceFile, find_images
from bitface.errors import BitfaceError
from bitface.graph import from_module
from bitface.inputs import embeddings as embedding
from bitface.inputs.embeddings import embed, embed_kept
from bitface.runtime import Embedder, Model
from bitface.store import Store
from support.ranks import on_ranks


@pytest.fixture
def faces(tmp_path: Path) -> list[FaceFile]:
    random = np.random.default_rng(0)
    folder = tmp_path / "faces"
    folder.mkdir()
    for index in range(10):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return find_images([folder])


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return linear()


def linear() -> Embedder:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(900, 8))
    network = from_module(net.eval(), "rgb-127.5-128", size=(32, 32))
    return Embedder(Model(Path("net.onnx"), "float", network), "torch")


def test_kept_embeddings_are_those_that_are_computed(
    embedder: Embedder, faces: list[FaceFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = embed(embedder, faces)
    found, skipped = embed_kept(embedder, faces, Store(tmp_path))
    assert np.array_equal(found.values, expected.values)
    assert found.valid is not None
    assert found.valid.all()
    assert found.fingerprint == embedder.fingerprint
    assert skipped == []
    monkeypatch.setattr(Embedder, "embed_files", lambda *_: pytest.fail("computed again"))
    (entry,) = (tmp_path / "embeddings").iterdir()
    left = entry.with_name(f".{entry.name}") / "parts"  # by a process that was killed when all was there
    left.mkdir(parents=True)
    again, _ = embed_kept(embedder, faces, Store(tmp_path))
    assert np.array_equal(again.values, expected.values)
    assert list((tmp_path / "embeddings").iterdir()) == [entry]


def test_what_was_begun_is_gone_on_with(
    embedder: Embedder, faces: list[FaceFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "_KEPT_EVERY", 4)
    plain, done = Embedder.embed_files, []

    def stops(self: Embedder, files: list[FaceFile], *rest: object) -> object:
        done.append([file.relative for file in files])
        if len(done) == 2:
            raise KeyboardInterrupt
        return plain(self, files, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Embedder, "embed_files", stops)
    with pytest.raises(KeyboardInterrupt):
        embed_kept(embedder, faces, Store(tmp_path))
    found, _ = embed_kept(embedder, faces, Store(tmp_path))
    assert [len(part) for part in done] == [4, 4, 4, 2]  # the first four once
    assert np.array_equal(found.values, embed(embedder, faces)[0].values)


def embedded(folder: str, kept: bool, count: int) -> tuple[bytes, list[bool], list[tuple[str, str]], int]:
    """What a rank gets of the first images of a folder, and how many of them it embedded itself."""
    own, plain = list[int](), Embedder.embed_files

    def counted(self: Embedder, files: list[FaceFile], *rest: object) -> object:
        own.append(len(files))
        return plain(self, files, *rest)  # type: ignore[arg-type]

    Embedder.embed_files = counted  # type: ignore[assignment, method-assign]
    files, there = find_images([Path(folder) / "faces"])[:count], linear()
    if kept:
        rows, skipped = embed_kept(there, files, Store(Path(folder)), True, True)
    else:
        rows, skipped = embed(there, files, True, True)
    Embedder.embed_files = plain  # type: ignore[method-assign]
    assert rows.valid is not None
    return rows.values.tobytes(), rows.valid.tolist(), skipped, sum(own)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("count", [10, 2])
def test_ranks_embed_their_parts(
    faces: list[FaceFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool, count: int
) -> None:
    monkeypatch.setattr("bitface.runtime.embedder.DECODED", 2)
    monkeypatch.setattr(embedding, "DECODED", 2)
    faces[1].path.write_bytes(b"no image")
    alone = embedded(str(tmp_path), False, count)
    assert alone[2][0][0] == "1.png"
    several = on_ranks(3, embedded, str(tmp_path), kept, count)
    assert [result[:3] for result in several] == [alone[:3]] * 3
    assert sum(result[3] for result in several) == count
    if kept:
        assert [result[3] for result in on_ranks(3, embedded, str(tmp_path), kept, count)] == [0, 0, 0]


def test_unusable_images_stay_unusable(embedder: Embedder, faces: list[FaceFile], tmp_path: Path) -> None:
    faces[3].path.write_bytes(b"no image")
    with pytest.raises(BitfaceError, match=r"1 of 10 images .*3.png"):
        embed_kept(embedder, faces, Store(tmp_path))
    for _ in range(2):
        found, skipped = embed_kept(embedder, faces, Store(tmp_path), allow_skipped=True)
        assert found.valid is not None
        assert list(np.flatnonzero(~found.valid)) == [3]
        assert [path for path, _ in skipped] == ["3.png"]


def test_another_image_or_setting_is_another_embedding(
    embedder: Embedder, faces: list[FaceFile], tmp_path: Path
) -> None:
    first, _ = embed_kept(embedder, faces, Store(tmp_path))
    flipped, _ = embed_kept(embedder, faces, Store(tmp_path), flip=True)
    assert not np.allclose(first.values, flipped.values)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(faces[0].path)
    changed, _ = embed_kept(embedder, faces, Store(tmp_path))
    assert not np.allclose(first.values[0], changed.values[0])
    assert np.array_equal(first.values[1:], changed.values[1:])


@pytest.mark.parametrize("harm", ["notes", "array", "shape"])
def test_damage_is_made_good(embedder: Embedder, faces: list[FaceFile], tmp_path: Path, harm: str) -> None:
    kept = Store(tmp_path)
    first = np.array(embed_kept(embedder, faces, kept)[0].values)
    (notes,), (array,) = tmp_path.rglob("*.json"), tmp_path.rglob("*.npy")
    if harm == "notes":
        notes.write_text("{")
    elif harm == "array":
        array.write_bytes(array.read_bytes()[:100])
    else:
        np.save(array, first[:, :2])
    assert np.array_equal(embed_kept(embedder, faces, kept)[0].values, first)

"""Synthetic faces: the same from the same seed, all different, and written whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitface.data import dcgan, synthetic
from bitface.data.assets import fetch
from bitface.data.faces import find_images, load_faces, manifest_hash
from bitface.data.generators import Generator, open_generator
from bitface.data.sheet import contact_sheet
from bitface.data.synthetic import make_faces, write_faces
from bitface.errors import BitfaceError, UsageError


def checkpoint(path: Path) -> Path:
    torch.manual_seed(0)
    torch.save({"netG_state_dict": dcgan.DcganGenerator().state_dict()}, path)
    return path


def faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


def test_writes_a_folder_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = faces(3)
    target = tmp_path / "new" / "faces"
    write_faces(target, images, {"seed": 1})
    assert sorted(path.name for path in target.iterdir()) == [
        "000000.png", "000001.png", "000002.png", "manifest.json"
    ]  # fmt: skip
    np.testing.assert_array_equal(load_faces(find_images([target])).images, images)
    assert json.loads((target / "manifest.json").read_text()) == {"seed": 1}
    with pytest.raises(BitfaceError, match="isn't an empty folder"):
        write_faces(target, images, {})
    (tmp_path / "empty").mkdir()
    write_faces(tmp_path / "empty", images, {})

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(BitfaceError, match="No space left"):
        write_faces(tmp_path / "full", images, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def test_the_contact_sheet() -> None:
    images = faces(5)
    sheet = contact_sheet(images, columns=3, gap=2)
    assert sheet.shape == (2 * 112 + 2, 3 * 112 + 4, 3)
    np.testing.assert_array_equal(sheet[114:, 114:226], images[4])
    assert (sheet[114:, 228:] == 255).all()
    assert contact_sheet(images[:2], columns=10).shape == (112, 226, 3)
    with pytest.raises(ValueError):
        contact_sheet(images[:0], 3)


def test_impossible_numbers() -> None:
    with pytest.raises(UsageError, match="can't make 0 faces"):
        make_faces(0)


@pytest.mark.assets
def test_faces_are_a_function_of_the_seed() -> None:
    calls: list[tuple[int, int]] = []
    first = make_faces(40, seed=1, progress=lambda done, total: calls.append((done, total)))
    assert first.images.shape == (40, 112, 112, 3)
    assert first.images.dtype == np.uint8
    assert calls == [(done, 40) for done in range(1, 41)]
    again = make_faces(40, seed=1)
    np.testing.assert_array_equal(first.images, again.images)
    assert first.manifest == again.manifest
    np.testing.assert_array_equal(make_faces(7, seed=1).images, first.images[:7])
    other = make_faces(40, seed=2)
    assert other.manifest["faces_sha256"] != first.manifest["faces_sha256"]
    manifest = first.manifest
    assert manifest["kept"] == 40
    assert manifest["made"] == 40 + manifest["no_face"] + manifest["near_duplicates"]
    assert manifest["no_face"] < 8
    assert manifest["faces_sha256"] == manifest_hash(first.images)
    assert len({image.tobytes() for image in first.images}) == 40


@pytest.mark.assets
def test_near_duplicates_and_missing_faces_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = open_generator

    def stuttering(path: Path) -> Generator:
        """The same images, each twice and with a black one behind."""
        opened = real(path)

        def render(latents: torch.Tensor, truncation: float) -> torch.Tensor:
            images = opened.render(latents, truncation)
            return torch.stack([images, images, torch.zeros_like(images)], 1).flatten(0, 1)

        return replace(opened, render=render)

    expected = make_faces(5, seed=1).images
    monkeypatch.setattr(synthetic, "open_generator", stuttering)
    made = make_faces(5, seed=1)
    np.testing.assert_array_equal(made.images, expected)
    assert made.manifest["near_duplicates"] >= 4
    assert made.manifest["no_face"] >= 4
    with pytest.raises(BitfaceError, match=r"only 0 of 5 .* after 47 images \(47 without a face"):
        make_faces(5, generator=checkpoint(tmp_path / "untrained.tar"), detector=fetch("yunet"))

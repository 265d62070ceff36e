"""Where faces come from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitface.data.face_source import FaceSource
from bitface.data.sources import DISTILLED, REAL
from bitface.data.synthetic import DCGAN
from bitface.errors import BitfaceError
from bitface.graph import passes
from bitface.inputs import faces
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


def test_what_could_not_be_seen_is_said() -> None:
    whole = network(Mixed(), 16)
    folded = replace(whole, graph=passes.fold(whole.graph))
    assert len(faces.unseen(DISTILLED, whole)) == 1
    notes = faces.unseen(DISTILLED, folded)
    assert len(notes) == 2
    assert "no BatchNorm" in notes[0]
    assert faces.unseen(REAL, folded) == []

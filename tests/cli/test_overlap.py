"""A test that shows the faces a model was made with, from the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


def shared(
    bitface: Run, model: Path, pairs: Path, crops: Path, out: Path, *options: object
) -> tuple[dict[str, Any] | None, str]:
    code, _, err = bitface("evaluate", model, "--pairs", pairs, "--root", crops, "--json", out, *options)
    assert code == 0, err
    return json.loads(out.read_text())["overlap"], err


def test_what_lies_beside_the_artifact_is_found(
    bitface: Run, quantized: Path, pairs: Path, crops: Path, tmp_path: Path
) -> None:
    found, err = shared(bitface, quantized / "model.bitface", pairs, crops, tmp_path / "a.json")
    assert found is not None
    assert found["used"] == 30
    assert found["copies"] == len(found["copied"]) > 20
    assert "are among the 30 faces that the model was made with" in err
    exported, _ = shared(bitface, quantized / "model.openvino.onnx", pairs, crops, tmp_path / "c.json")
    assert exported == found
    # Without the file, or with another model's, nothing is known.
    alone = tmp_path / "model.bitface"
    shutil.copy(quantized / "model.bitface", alone)
    assert shared(bitface, alone, pairs, crops, tmp_path / "b.json")[0] is None


def test_a_folder_tells_people_too(bitface: Run, quantized: Path, pairs: Path, crops: Path, tmp_path: Path) -> None:
    found, _ = shared(
        bitface, quantized / "model.bitface", pairs, crops, tmp_path / "a.json", "--used", crops / "p0", "--far", "0.2"
    )
    assert found is not None
    assert found["used"] == 4
    assert found["copies"] >= 4
    assert found["people"] >= 4


def test_used_images_that_can_not_be_read_are_no_silence(
    bitface: Run, quantized: Path, pairs: Path, crops: Path, tmp_path: Path
) -> None:
    used = tmp_path / "used"
    shutil.copytree(crops / "p0", used)
    (used / "broken.png").write_bytes(b"nothing")
    code, _, err = bitface("evaluate", quantized / "model.bitface", "--pairs", pairs, "--root", crops, "--used", used)
    assert (code, err.count("\n")) == (1, 1)
    assert "broken.png" in err


def test_a_folder_that_is_not_there(bitface: Run, quantized: Path, pairs: Path, crops: Path, tmp_path: Path) -> None:
    code, _, err = bitface(
        "evaluate", quantized / "model.bitface", "--pairs", pairs, "--root", crops, "--used", tmp_path / "gone"
    )
    assert (code, err.count("\n")) == (1, 1)
    assert "no such folder" in err


@pytest.mark.parametrize("content", [b"", b"something else"])
def test_a_damaged_file(
    bitface: Run, quantized: Path, pairs: Path, crops: Path, tmp_path: Path, content: bytes
) -> None:
    shutil.copy(quantized / "model.bitface", tmp_path / "model.bitface")
    (tmp_path / "faces.safetensors").write_bytes(content)
    code, _, err = bitface("evaluate", tmp_path / "model.bitface", "--pairs", pairs, "--root", crops)
    assert (code, err.count("\n")) == (1, 1)
    assert "holds no codes of faces" in err

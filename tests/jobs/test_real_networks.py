"""The main job on real networks and real faces (never stored here): does it still recognise people?"""

from pathlib import Path

import pytest

from bitface.artifact import read
from bitface.data.face_source import FaceSource
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.targets.exact import exact

pytestmark = [pytest.mark.data, pytest.mark.slow]


@pytest.mark.parametrize(
    ("file", "preprocess"),
    [("foamliu_mobilefacenet.onnx", "rgb-imagenet"), ("prelu_mobilefacenet.onnx", None)],
)
def test_eight_bits_follow_the_teacher_on_both_engines(
    data_dir: Path, tmp_path: Path, file: str, preprocess: str | None
) -> None:
    out = tmp_path / "out"
    result = quantize_model(
        QuantizeRequest(
            data_dir / "models" / file,
            FaceSource([data_dir / "lfw" / "images"], data_dir / "lfw" / "not_in_pairs.txt", 64),
            out,
            preprocess=preprocess,
        )
    )
    assert result["agreement"][result["engine"]]["mean"] >= 0.995
    for engine in [name for name in ("openvino", "onnxruntime") if exact(name, 8)]:
        assert result["agreement"][engine]["mean"] >= 0.99
    assert result["bytes"]["model.bitface"] <= 1_150_000
    assert read(out / "model.bitface").teacher["embedding_size"] == 128
    assert not result["warnings"]


def test_the_preprocessing_is_found(data_dir: Path, tmp_path: Path) -> None:
    result = quantize_model(
        QuantizeRequest(
            data_dir / "models" / "foamliu_mobilefacenet.onnx",
            FaceSource([data_dir / "lfw" / "images"], data_dir / "lfw" / "not_in_pairs.txt", 64),
            tmp_path / "out",
        )
    )
    assert result["model"]["preprocess"].startswith("rgb-")
    assert any("preprocessing" in note for note in result["notes"])

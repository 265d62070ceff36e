"""The main job on real networks and real faces (never stored here): does it still recognise people?"""

from pathlib import Path

import pytest

from bitface.artifact import read
from bitface.cpu import sums_overflow
from bitface.jobs import QuantizeRequest, quantize_model

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
            [data_dir / "lfw" / "images"],
            out,
            image_list=data_dir / "lfw" / "not_in_pairs.txt",
            max_images=64,
            preprocess=preprocess,
        )
    )
    # OpenVINO's sums saturate on some CPUs, and it is said.
    for engine in ("onnxruntime",) if sums_overflow() else ("openvino", "onnxruntime"):
        assert result["agreement"][engine]["mean"] >= 0.99
    assert result["bytes"]["model.bitface"] <= 1_150_000
    assert read(out / "model.bitface").teacher["embedding_size"] == 128
    assert all("VNNI" in text for text in result["warnings"])


def test_the_preprocessing_is_found(data_dir: Path, tmp_path: Path) -> None:
    result = quantize_model(
        QuantizeRequest(
            data_dir / "models" / "foamliu_mobilefacenet.onnx",
            [data_dir / "lfw" / "images"],
            tmp_path / "out",
            image_list=data_dir / "lfw" / "not_in_pairs.txt",
            max_images=64,
        )
    )
    assert result["model"]["preprocess"].startswith("rgb-")
    assert any("preprocessing" in note for note in result["notes"])

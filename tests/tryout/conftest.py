"""A float network and its artifact as files, and two pictures."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitface import artifact
from bitface.quant import BitPlan, quantize
from bitface.runtime.quantized import artifact_of
from support.quantized import Mixed, faces, network, onnx_file

SIDE = 16
FAR, THRESHOLD = 1e-3, 0.5


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx (which doesn't say its preprocessing), model.bitface with a threshold, bare.bitface without."""
    folder = tmp_path_factory.mktemp("models")
    onnx_file(Mixed(), SIDE, folder / "net.onnx")
    net, plan = network(Mixed(), SIDE), BitPlan.parse("w8a8")
    student, _ = quantize(net, faces(8, SIDE), plan)
    bare = artifact_of(net, student, plan, {}, {})
    stored: list[dict[str, Any]] = [{"far": FAR, "threshold": THRESHOLD, "engine": "c"}, {"far": 0.1, "threshold": 0.2}]
    artifact.write(folder / "bare.bitface", bare)
    artifact.write(folder / "model.bitface", replace(bare, thresholds=stored))
    return folder


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="package")
def pictures() -> list[bytes]:
    """Two crops of the network's size, as PNG files."""
    return [png(image) for image in faces(2, SIDE, seed=3)]

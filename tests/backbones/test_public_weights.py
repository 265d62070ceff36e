"""A public network's own weights and its own ONNX file must agree."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from bitface import backbones


@pytest.mark.data
def test_relu6_mobilefacenet_equals_its_onnx_file(data_dir: Path) -> None:
    weights = data_dir / "models" / "foamliu_mobilefacenet.pt"
    if not weights.is_file():
        pytest.skip(f"{weights} isn't there")
    faces = torch.randn(8, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(weights.with_suffix(".onnx"), providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: faces.numpy()})[0]
    with torch.no_grad():
        embeddings = backbones.load(weights)(faces).numpy()
    assert embeddings.shape == (8, 128)
    assert np.abs(embeddings - expected).max() <= 1e-4 * np.abs(expected).max()

"""A small network, people, and pairs of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bitface as bf
from bitface import backbones

SIDE = 112


@pytest.fixture(scope="session")
def network() -> bf.Network:
    torch.manual_seed(0)
    module = backbones.create("mobilefacenet:0.25", embedding_size=32).train()
    with torch.no_grad():  # statistics, so that embeddings differ from face to face
        module(torch.randn(16, 3, SIDE, SIDE))
    return bf.load_network(module.eval(), preprocess="rgb-127.5-128", name="net")


@pytest.fixture(scope="session")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people of six images."""
    folder = tmp_path_factory.mktemp("crops")
    generator = np.random.default_rng(0)
    for person in range(12):
        (folder / f"p{person:02}").mkdir()
        base = generator.integers(40, 216, (8, 8, 3))
        for shot in range(8):
            small = (base + generator.integers(-30, 30, (8, 8, 3))).clip(0, 255).astype(np.uint8)
            image = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            image.save(folder / f"p{person:02}" / f"{shot}.png")
    return folder


@pytest.fixture(scope="session")
def listed(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "pairs.csv"
    rows = ["a,b,same,fold"]
    for person in range(12):
        for shot in range(5):
            rows.append(f"p{person:02}/{shot}.png,p{person:02}/{shot + 1}.png,1,{shot}")
            rows.append(f"p{person:02}/{shot}.png,p{(person + 1) % 12:02}/{shot}.png,0,{shot}")
    path.write_text("\n".join(rows) + "\n")
    return path

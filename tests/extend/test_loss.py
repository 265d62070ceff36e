"""The losses of `docs/extend/loss.md`: passed as objects, and by name as a package outside bitface."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity

import bitface as bf
from support.extension import PREPROCESS, bitface, blocks, install, write_example

BY_OBJECT, BY_NAME, CENTRED = blocks("loss.md", "python")
pytestmark = pytest.mark.filterwarnings("ignore:under no preset", "ignore:only .* faces", "ignore:.*compiled kernels")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(write_example(tmp_path))
    return tmp_path


def executed(code: str, **names: Any) -> dict[str, Any]:
    exec(code, names)
    return names


def test_an_object_is_enough(example: Path) -> None:
    names = executed(BY_OBJECT)
    assert names["small"].history.steps >= 2
    assert names["small"].history.rows[-1]["agreement"] > 0.5  # a cosine: it keeps the direction
    assert bf.load("small.bitface").embed(["crops/00.png"]).shape == (1, 12)


def test_state_is_kept_and_a_checkpoint_of_another_object_is_refused(example: Path) -> None:
    network = bf.load_network("net.onnx", preprocess=PREPROCESS)
    loss = executed(CENTRED, bf=bf, torch=torch, cosine_similarity=cosine_similarity)["CentredFaces"](12)
    faces = bf.faces("crops/")
    bf.train(network, faces, loss=loss, epochs=1, checkpoint="state.safetensors")
    (centre,) = (value for key, value in load_file("state.safetensors").items() if key.endswith(".centre"))
    assert centre.abs().max() > 0
    assert not loss.centre.any()  # a training has its own copy
    power = executed(BY_NAME)["HardFaces"]
    for other in (power(2.0), power(3.0)):
        with pytest.raises(bf.BitfaceError, match="the checkpoint is of another training"):
            bf.train(network, faces, loss=other, epochs=1, checkpoint="state.safetensors")
    bf.train(network, faces, loss=power(2.0), epochs=1, checkpoint="other.safetensors")
    with pytest.raises(bf.BitfaceError, match="the checkpoint is of another training"):
        bf.train(network, faces, loss=power(3.0), epochs=1, checkpoint="other.safetensors")


@pytest.mark.slow
def test_a_package_adds_one_for_recipes(example: Path) -> None:
    (project,), (recipe,) = blocks("loss.md", "toml"), blocks("loss.md", "yaml")
    site = install(example / "site", BY_NAME, project)
    Path("hard.yaml").write_text(recipe)
    command = "quantize", "net.onnx", "--images", "crops/", "--preprocess", PREPROCESS, "--method", "qat"
    bitface(*command, "--recipe", "hard.yaml", "--out", "out/", site=site)
    result = json.loads(Path("out/result.json").read_text())
    assert result["training"]["settings"]["training"]["loss"] == {"hard-faces": {"power": 3, "weight": 10}}
    assert result["training"]["history"][-1]["agreement"] > 0.5
    for before, after, message in (
        ("hard-faces", "hard-face", "unknown loss 'hard-face'; did you mean 'hard-faces'?"),
        ("power: 3", "power: 9", "hard-faces: 'power' is 9: use 1 to 8"),
        ("power", "pover", "hard-faces has no option 'pover'; did you mean 'power'?"),
    ):
        Path("wrong.yaml").write_text(recipe.replace(before, after))
        assert message in bitface(*command, "--recipe", "wrong.yaml", "--out", "b/", site=site, code=2)
    assert "unknown loss 'hard-faces'" in bitface(*command, "--recipe", "hard.yaml", "--out", "b/", code=2)

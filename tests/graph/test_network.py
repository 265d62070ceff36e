"""The fingerprint tells networks apart, and names the same network everywhere."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import nn

from bitface import backbones
from bitface.graph import Network, from_module, load_network
from support.onnx_models import finished, small_network

SCRIPT = "import sys; from pathlib import Path; from bitface.graph import load_network as load; "
SCRIPT += "print(load(Path(sys.argv[1]), 'rgb-raw').fingerprint())"


class Plus(nn.Module):
    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.value


def network() -> Network:
    torch.manual_seed(3)
    return from_module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(96, 5)), "rgb-raw", size=(8, 6))


def test_the_fingerprint_is_the_same_in_another_process(save: Callable[[onnx.ModelProto], Path]) -> None:
    path = save(finished())
    here = load_network(path, "rgb-raw").fingerprint()
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == here


def test_the_fingerprint_changes_with_what_matters() -> None:
    same, other = network(), network()
    assert same.fingerprint() == other.fingerprint()
    assert same.with_preprocess(other.preprocess).fingerprint() == other.fingerprint()
    seen = {same.fingerprint()}
    for key, tensor in same.graph.state_dict().items():
        tensor.view(-1)[0] += 1e-3
        assert same.fingerprint() not in seen, key
        seen.add(same.fingerprint())
    assert Network(other.graph, "other").fingerprint() not in seen
    narrow, wide = (
        from_module(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten()), size=size) for size in ((4, 6), (6, 4))
    )
    wide.graph.load_state_dict(narrow.graph.state_dict())
    assert narrow.fingerprint() != wide.fingerprint()


def test_a_constant_of_another_shape_is_another_network() -> None:
    shapes = ((4, 1), (1, 4))
    seen = set()
    for shape in shapes:
        convolution = nn.Conv2d(3, 4, 1)
        module = nn.Sequential(convolution, Plus(torch.ones(shape)), nn.Flatten())
        nn.init.ones_(convolution.weight)
        nn.init.ones_(convolution.bias)
        seen.add(from_module(module, size=(4, 4)).fingerprint())
    assert len(seen) == 2


def test_weights_of_a_known_backbone(tmp_path: Path, scramble: Callable[[nn.Module], nn.Module]) -> None:
    module = scramble(backbones.create("mobilefacenet:0.25", 64))
    path = tmp_path / "face.pt"
    torch.save(module.state_dict(), path)
    loaded = load_network(path, "rgb-127.5-127.5")
    assert (loaded.name, loaded.embedding_size, loaded.source_bytes) == ("face", 64, path.stat().st_size)
    assert loaded.fingerprint() == from_module(module, "rgb-127.5-127.5").fingerprint()


def test_the_fingerprint_of_a_fixed_size_stays() -> None:
    """Galleries and artifacts hold it."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(96, 5))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((torch.arange(parameter.numel()) / 128).reshape(parameter.shape))
    known = "ead63393687c0cb14de0e2a9f68b69fabaeb69cb17c090bb39562051065699c9"
    assert from_module(module, "rgb-raw", size=(8, 6)).fingerprint() == known


def test_preprocessing_and_size_of_a_module() -> None:
    assert network().preprocess.name == "rgb-raw"
    assert network().preprocess.size == network().size == (8, 6)
    assert from_module(nn.Sequential(nn.Conv2d(3, 4, 112), nn.Flatten())).preprocess is None


def test_denormal_weights_of_a_module_are_flushed_in_the_copy() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())
    with torch.no_grad():
        module[0].weight[0] = 1e-42
    found = from_module(module, size=(2, 2), name="tiny")
    assert found.notes == ("3 denormal weights flushed to zero",)
    assert (found.graph.get_parameter("0.weight")[0] == 0).all()
    assert (module[0].weight[0] != 0).all()


def test_names_of_weights_in_the_file_do_not_matter(save: Callable[[onnx.ModelProto], Path]) -> None:
    model = finished(small_network())
    renamed = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in renamed.graph.initializer:
        for node in renamed.graph.node:
            node.input[:] = ["w_" + name if name == tensor.name else name for name in node.input]
        tensor.name = "w_" + tensor.name
    assert load_network(save(model)).fingerprint() == load_network(save(renamed)).fingerprint()

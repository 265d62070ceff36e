"""Public networks, imported by us and run by ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bitface.graph import Network, load_network, passes, store, to_onnx
from bitface.preprocess import parse
from support.onnx_models import refused, relative_difference, run_onnx


def faces(network: Network, count: int = 2) -> np.ndarray:
    """Smooth random pictures through the network's own preprocessing."""
    small = np.random.default_rng(1).uniform(0, 255, (count, 14, 14, 3))
    pixels = small.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
    assert network.preprocess is not None
    return network.preprocess(pixels)


def assert_same(network: Network, model: onnx.ModelProto) -> None:
    """Import, fold, storage and export agree with the file, image by image, as its batch may be fixed."""
    images = faces(network)
    expected = np.concatenate([run_onnx(model, image[None]) for image in images])
    folded = passes.fold(network.graph)
    with torch.no_grad():
        for graph in (network.graph, folded, store.load(*store.dump(folded))):
            assert relative_difference(graph(torch.from_numpy(images)), expected) <= 1e-4
    for graph in (network.graph, folded):
        assert relative_difference(run_onnx(to_onnx(graph), images), expected) <= 1e-4


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "preprocess", "found"),
    [("foamliu_mobilefacenet.onnx", "rgb-imagenet", None), ("prelu_mobilefacenet.onnx", None, "rgb-raw")],
)
def test_mobilefacenets(file: str, preprocess: str | None, found: str | None, data_dir: Path) -> None:
    path = data_dir / "models" / file
    if not path.is_file():
        pytest.skip(f"{path} isn't there")
    network = load_network(path, preprocess)
    assert (network.size, network.embedding_size, network.notes) == ((112, 112), 128, ())
    assert load_network(path).preprocess == (parse(found) if found else None)
    assert_same(network, onnx.load(path))


@pytest.mark.assets
def test_sface(asset: Callable[[str], Path]) -> None:
    path = asset("sface")
    network = load_network(path)
    assert (network.size, network.embedding_size, network.preprocess) == ((112, 112), 128, parse("rgb-raw"))
    model = onnx.load(path)
    # ONNX Runtime asks for every input that is listed; what nothing reads, or has a value already, is none.
    read = {name for node in model.graph.node for name in node.input}
    read -= {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name in read]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    assert_same(network, model)


@pytest.mark.assets
def test_a_detector_is_no_face_network(asset: Callable[[str], Path]) -> None:
    refused(asset("yunet"), "no face network: it has 1 inputs and 12 outputs")

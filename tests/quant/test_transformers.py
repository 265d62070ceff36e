"""Transformers in integers: where the quantizers are, what stays in floating point, what is done to students."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from bitface.backbones.edgeface import EdgeFace
from bitface.backbones.vit import VisionTransformer
from bitface.graph import Network, passes, to_onnx
from bitface.graph.integer import IntegerConv2d, IntegerLinear, QuantizeDequantize
from bitface.graph.operators.matmul import MatMul
from bitface.graph.summary import tensor_table
from bitface.quant import BitPlan, Calibration
from bitface.quant.equalize import equalize
from bitface.quant.post_training import begun, quantize
from bitface.quant.reconstruct import Reconstruction
from bitface.quant.units import units_of
from bitface.runtime import Embedder, Model
from bitface.runtime.exact import default_engine, inexact, is_exact, passed_over
from bitface.targets.registry import TARGETS
from bitface.training import Method, Teacher, Training, TrainingFaces, train
from support.quantized import faces, network

SIZE = 36
W8A8 = BitPlan.parse("w8a8")
# Fewer blocks than those of the papers.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: VisionTransformer(32, 1, 16, SIZE),
    "edgeface": lambda: EdgeFace((8, 8, 12, 16), (1, 2, 1, 1), 4, 16, SIZE),
}


def net(name: str) -> Network:
    torch.manual_seed(0)
    return network(NETWORKS[name](), SIZE)


@lru_cache
def quantized(name: str) -> Network:
    return quantize(net(name), faces(16, SIZE), W8A8, Calibration("minmax"))[0]


def cosine(a: Network, b: Network) -> float:
    images = torch.from_numpy(a.preprocess(faces(8, SIZE, 1))) if a.preprocess else torch.zeros(0)
    with torch.no_grad():
        return functional.cosine_similarity(a.graph(images), b.graph(images)).mean().item()


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_and_products_run_in_integers(name: str) -> None:
    float_net, student = net(name), quantized(name)
    assert cosine(float_net, student) > 0.98
    graph = student.graph
    assert not any(isinstance(module, nn.Conv2d | nn.Linear) for module in graph.modules())
    assert all(m.input_scale for m in graph.modules() if isinstance(m, IntegerConv2d | IntegerLinear))
    products = [node for node in graph.graph.nodes if isinstance(passes.module_of(graph, node), MatMul)]
    for scores, mixed in zip(products[::2], products[1::2], strict=True):
        signs = []
        for source in (*scores.all_input_nodes, *mixed.all_input_nodes):
            while not isinstance(quantizer := passes.module_of(graph, source), QuantizeDequantize):
                assert type(quantizer).__name__ in ("Transpose", "Reshape")  # what only moves numbers
                (source,) = source.all_input_nodes
            signs.append(quantizer.signed)
        # The weights of attention are never negative.
        assert signs == [True, True, False, True]


def test_a_stream_that_only_layer_norms_read_is_not_rounded() -> None:
    """Rounded, its few huge numbers would leave a handful of levels to the others."""
    float_net = net("vit")
    with torch.no_grad():
        embedding = float_net.graph.patch_embed.proj
        embedding.bias[3] = 1000
        for norm in (float_net.graph.blocks.get_submodule("0").norm1, float_net.graph.norm):
            norm.weight[3] = 0
    student, layers = quantize(float_net, faces(16, SIZE), W8A8)
    assert cosine(float_net, student) > 0.98
    assert "Add" not in {layer.kind for layer in layers}
    reasons = {row["reason"] for row in tensor_table(student)[1] if row["role"] == "operator"}
    assert "what reads it computes in floating point" in reasons


@pytest.mark.parametrize("name", NETWORKS)
def test_what_stays_in_floating_point_is_listed(name: str) -> None:
    student = quantized(name)
    reasons = {row["name"]: row["reason"] for row in tensor_table(student)[1]}
    for node in student.graph.graph.nodes:
        kind = type(passes.module_of(student.graph, node)).__name__
        if kind == "LayerNorm":
            assert "another one for every token" in reasons[f"{node.target}.weight"]
        if kind in ("Softmax", "Normalize"):
            assert "exponentials" in reasons[node.target] or "every image" in reasons[node.target]
        if kind == "GELU":
            assert "fused into" in reasons[node.target] or "no integer kernel" in reasons[node.target]


@pytest.mark.parametrize("name", NETWORKS)
def test_exported_files_compute_what_is_simulated(name: str, tmp_path: Path) -> None:
    student = quantized(name)
    assert student.preprocess is not None
    images = student.preprocess(faces(4, SIZE, 1))
    expected = student.graph(torch.from_numpy(images)).detach().numpy()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    path = tmp_path / "student.onnx"
    onnx.save(to_onnx(student.graph), path)
    given = onnxruntime.InferenceSession(path, options).run(None, {"image": images})[0]
    # An exponential that another library rounds otherwise may tip a later rounding.
    assert functional.cosine_similarity(torch.from_numpy(given), torch.from_numpy(expected)).min() > 0.999
    for target in ("onnxruntime", "openvino"):
        model = Model(Path("net"), "student", student)
        if not is_exact(model, target):
            continue  # on this CPU: never the default one there, and warned about
        found = Embedder(model, target).embed(faces(4, SIZE, 1))
        assert functional.cosine_similarity(torch.from_numpy(found), torch.from_numpy(expected)).min() > 0.98
    assert {"onnxruntime", "openvino"} <= set(TARGETS)


@pytest.mark.parametrize("name", NETWORKS)
def test_products_of_activations_need_sums_of_8_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of 7 bits help nothing where two activations of 8 are multiplied."""
    monkeypatch.setattr("bitface.targets.exact.exact", lambda engine, bits: engine != "openvino" or bits < 8)
    plan = BitPlan.from_json({"bits": "w7a8", "first": "w7a8", "last": "w7a8"})
    student = quantize(net(name), faces(16, SIZE), plan, Calibration("minmax"))[0]
    model = Model(Path("net"), "artifact", student)
    assert model.weight_bits == 7
    assert not is_exact(model, "openvino")
    monkeypatch.setattr("bitface.targets.c.c_compiler", lambda: None)
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path))
    assert default_engine(model) == "onnxruntime"
    assert (inexact(model, "openvino") or "").endswith("use onnxruntime")
    assert "w7a8" not in (passed_over(model, "onnxruntime") or "w7a8")


class Outliers(nn.Module):
    """A LayerNorm with two loud channels, whose columns in the layers behind it are quiet."""

    def __init__(self, second_reader: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(8, 16)
        self.second_reader = second_reader

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x).flatten(2).transpose(1, 2))
        y = (self.first(x) + self.second(x)).mean(1)
        return torch.cat((y, x.mean(1)), 1) if self.second_reader else y


def loud(second_reader: bool = False) -> Network:
    result = network(Outliers(second_reader), 16)
    with torch.no_grad():
        graph = result.graph
        for side in (graph.norm.weight, graph.norm.bias):
            side[2:4] *= 40
        for layer in (graph.first, graph.second):
            layer.weight[:, 2:4] /= 40
    return result


def test_layer_norms_are_smoothed() -> None:
    original, images = loud(), faces(8, 16)
    assert original.preprocess is not None
    x = torch.from_numpy(original.preprocess(images))
    graph = passes.fold(original.graph)
    peaks = graph.norm(graph.conv(x).flatten(2).transpose(1, 2)).abs().amax((0, 1))
    assert equalize(graph, lambda: iter([x]), 8) == ["norm"]
    torch.testing.assert_close(graph(x), original.graph(x))
    after = graph.norm(graph.conv(x).flatten(2).transpose(1, 2)).abs().amax((0, 1))
    assert after.max() / after.min() < 0.2 * peaks.max() / peaks.min()
    calibrations = [Calibration(equalization=on, bias_correction=False) for on in (False, True)]
    lost = []
    for calibration in calibrations:
        student, _ = quantize(original, images, W8A8, calibration)
        lost.append((student.graph(x) - original.graph(x)).square().mean())
    assert lost[1] < 0.5 * lost[0]


def test_layer_norms_that_others_read_are_left_alone() -> None:
    graph = passes.fold(loud(second_reader=True).graph)
    assert equalize(graph, lambda: iter([torch.zeros(1, 3, 16, 16)]), 1) == []


def test_units_hold_whole_blocks() -> None:
    student, _ = begun(network(VisionTransformer(32, 2, 16, SIZE), SIZE), faces(8, SIZE), W8A8)
    units = units_of(student.graph, 1)
    assert [len(unit.layers) for unit in units] == [1, 2, 2, 2, 2, 1, 1]
    assert units[2].layers == ("blocks.0.mlp.fc1", "blocks.0.mlp.fc2")


def test_reconstruction_and_training() -> None:
    float_net, images = net("vit"), faces(40, SIZE)
    plain, _ = quantize(float_net, images, BitPlan.parse("w3a4"))
    rebuilt = Calibration(reconstruction=Reconstruction(steps=10, tuning=20, batch=16))
    learned, _ = quantize(float_net, images, BitPlan.parse("w3a4"), rebuilt)
    embed = Embedder(Model(Path("net"), "float", float_net), "torch").embed
    training = Training(loss={"feature": {"form": "cosine"}}, epochs=6, batch=16, rate=2e-3, precision="f32")
    trained, _, _ = train(
        float_net, TrainingFaces(images[:32]), images[32:], BitPlan.parse("w3a4"), Method(training), Teacher(embed)
    )
    seen = torch.from_numpy(np.asarray(float_net.preprocess(images[:32]))) if float_net.preprocess else None
    assert seen is not None
    expected = float_net.graph(seen)
    near = [functional.cosine_similarity(one.graph(seen), expected).mean() for one in (plain, learned, trained)]
    assert near[0] < near[1]
    assert near[0] < near[2]

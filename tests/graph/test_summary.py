"""Counts against counting by hand, and the list of what stays in floating point against what a forward pass holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface import backbones
from bitface.graph import Network, from_module, ops
from bitface.graph.integer import INTEGER_LAYERS
from bitface.graph.passes import module_of
from bitface.graph.summary import summarise, tensor_table
from bitface.quant import BitPlan, Calibration, LayerBits, quantize

QUICK = Calibration(observer="minmax", equalization=False, bias_correction=False)
Scramble = Callable[[nn.Module], nn.Module]


class Everything(nn.Module):
    """A normalisation of its own, grouped and padded layers, attention, a norm that can't be folded; 16 x 16."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.act = nn.PReLU(8)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, 1, 1, groups=4, bias=False)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem((x - 127.5) * 0.0078125))
        y = self.grouped(self.norm(x))
        y = y * torch.sigmoid(self.squeeze(y.mean((2, 3), keepdim=True)))
        return self.fc(torch.relu(x + y).mean((2, 3)))


def everything(scramble: Scramble) -> Network:
    torch.manual_seed(0)
    return from_module(scramble(Everything()), "rgb-raw", "everything", (16, 16))


def faces(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def student(network: Network, plan: BitPlan) -> Network:
    return quantize(network, faces(8, network.size[0]), plan, QUICK)[0]


def test_counts_by_hand(scramble: Scramble) -> None:
    summary = summarise(everything(scramble))
    layers = {layer.name: layer for layer in summary.layers}
    macs = {"stem": 8 * 64 * 27, "grouped": 8 * 64 * 2 * 9, "squeeze": 8 * 8, "fc": 8 * 6}
    assert {name: layer.macs for name, layer in layers.items() if layer.macs} == macs
    assert summary.macs == sum(macs.values())
    weights = {"stem": 8 * 27 + 8, "act": 8, "norm": 16, "grouped": 8 * 2 * 9, "squeeze": 8 * 8 + 8, "fc": 8 * 6 + 6}
    assert {name: layer.parameters for name, layer in layers.items()} == weights
    assert summary.parameters == sum(weights.values()) + 2  # and the constants of the normalisation
    assert summary.weight_bytes == 4 * (summary.parameters + 16)  # and the running statistics
    assert summary.operators["Conv"] == 3
    assert sum(summary.operators.values()) == 14
    assert layers["stem"].output_shape == (8, 8, 8)
    assert (summary.input_size, summary.embedding_size) == ((16, 16), 6)
    assert summary.notes == ("normalises the image itself",)
    assert all(layer.weight_bits is None for layer in summary.layers)


def test_matrix_product_of_constants_counts() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2)
            self.register_buffer("matrix", torch.randn(4 * 3 * 3, 5))

        def forward(self, x: Tensor) -> Tensor:
            return torch.flatten(self.conv(x), 1) @ self.matrix

    summary = summarise(from_module(Product(), size=(8, 8)))
    assert summary.macs == 4 * 9 * 27 + 36 * 5
    assert summary.parameters == 4 * 27 + 4 + 36 * 5


@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [
        ("mobilefacenet", 0.2210, 1.003),
        ("iresnet18", 2.610, 24.03),
        pytest.param("iresnet50", 6.309, 43.59, marks=pytest.mark.slow),
    ],
)
def test_published_sizes(name: str, macs: float, parameters: float) -> None:
    summary = summarise(from_module(backbones.create(name)))
    assert summary.macs / 1e9 == pytest.approx(macs, abs=6e-4)
    assert summary.parameters / 1e6 == pytest.approx(parameters, abs=6e-3)
    assert summary.to_json()["layers"][0]["kind"] in ("Conv", "BatchNorm")


@pytest.mark.data
def test_public_mobilefacenet(data_dir: Path) -> None:
    from bitface.graph import load_network

    summary = summarise(load_network(data_dir / "models" / "foamliu_mobilefacenet.onnx"))
    assert summary.macs / 1e9 == pytest.approx(0.2338, abs=1e-4)
    assert summary.parameters == 989_952


def test_integers_count_like_floats(scramble: Scramble) -> None:
    network = everything(scramble)
    summary = summarise(student(network, BitPlan.parse("w4a8")))
    assert summary.macs == summarise(network).macs
    bits = {layer.name: layer.weight_bits for layer in summary.layers if layer.kind.startswith("Integer")}
    assert bits == {"stem": 8, "grouped": 4, "squeeze": 4, "fc": 8}
    # The squeezing convolution sees one pixel, which makes it a linear layer.
    assert (summary.operators["IntegerConv"], summary.operators["IntegerLinear"]) == (2, 2)


def check(network: Network) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """What holds of every table: completeness, and the truth about the inputs of layers and additions.

    Returns:
        The rows of activations by name, and the reasons by name.
    """
    graph = network.graph
    tensors, unquantized = tensor_table(network)
    reasons = {row["name"]: row["reason"] for row in unquantized}
    nodes = [node for node in graph.graph.nodes if node.op != "output"]
    values = {row["name"]: row for row in tensors if row["role"] in ("image", "activation", "constant")}
    assert set(values) == {str(node.target) for node in nodes}
    stored = {name for name in graph.state_dict() if not name.endswith("num_batches_tracked")}
    assert stored <= {row["name"] for row in tensors}
    assert len(tensors) == len(values) + len(stored - set(values))
    for row in tensors:
        integer_bias = row["role"] == "bias" and row["detail"].startswith("int32")
        if row["bits"] == 32 and row["role"] != "scale" and not integer_bias:
            assert row["name"] in reasons, row
    assert all(row["reason"] and row["name"] and row["role"] for row in unquantized)

    held: dict[Node, int] = {}
    results: dict[Node, Tensor] = {}
    assert network.preprocess is not None
    image = torch.from_numpy(network.preprocess(faces(2, network.size[0])))
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            results[node] = image
        elif node.op == "get_attr":
            results[node] = graph.get_buffer(str(node.target))
        elif node.op == "call_module":
            module = module_of(graph, node)
            with torch.no_grad():
                results[node] = module(*(results[source] for source in node.args))
            if isinstance(module, (*INTEGER_LAYERS, ops.Add, ops.Mul)):
                held |= {source: len(results[source].unique()) for source in node.all_input_nodes}
    assert held
    for source, levels in held.items():
        bits = values[str(source.target)]["bits"]
        if bits == 32:
            assert str(source.target) in reasons
        else:
            assert bits != "fused", f"{source.target} is read in floating point"
            assert levels <= 2**bits
    return values, reasons


@pytest.mark.parametrize("name", ["mobilefacenet:0.5", "iresnet18"])
@pytest.mark.parametrize("bits", ["w4a4", "w2a32"])
def test_backbones_are_described_completely(scramble: Scramble, name: str, bits: str) -> None:
    torch.manual_seed(0)
    module = scramble(backbones.create(name, input_size=64))
    network = student(from_module(module, "rgb-127.5-128", size=(64, 64)), BitPlan.parse(bits))
    values, reasons = check(network)
    last = str(network.graph.graph.output_node().all_input_nodes[0].target)
    kinds = {str(node.target): type(module_of(network.graph, node)) for node in network.graph.graph.nodes}
    if bits == "w2a32":
        assert all(row["bits"] == 32 for row in values.values())
        assert all(name in reasons for name, kind in kinds.items() if kind in INTEGER_LAYERS)
        return
    # In a quantized network nothing but the embedding, slopes and the norms that can't be folded is left.
    assert [name for name, row in values.items() if row["bits"] == 32] == [last]
    assert reasons.pop(last) == "the embedding (the network's output)"
    slopes = {name for name in reasons if kinds[name.rpartition(".")[0]] is nn.PReLU}
    affines = {name for name in reasons if kinds[name.rpartition(".")[0]] is ops.ChannelAffine}
    assert set(reasons) == slopes | affines
    assert all("as a float post-operation" in reasons[name] for name in slopes)
    assert all("zero-padded convolution" in reasons[name] for name in affines)
    assert len(slopes) == sum(kind is nn.PReLU for kind in kinds.values())
    assert (len(affines) > 0) == (name == "iresnet18")


def test_reasons_of_everything(scramble: Scramble) -> None:
    values, reasons = check(student(everything(scramble), BitPlan.parse("w8a4")))
    affines = {name: reason for name, reason in reasons.items() if name.endswith((".scale", ".shift"))}
    assert sorted(set(affines.values())) == [
        "BatchNorm before a zero-padded convolution can't be folded into it",
        "normalises the image ahead of its first rounding",
    ]
    assert values["image"]["bits"] == 32
    assert reasons["image"] == "the image ahead of its first rounding"
    assert reasons["act.weight"] == "fused into stem as a float post-operation"
    assert reasons["sigmoid"] == "fused into squeeze as a float post-operation"
    means = [reasons[name] for name in reasons if name.startswith("mean")]
    assert means == ["computes in floating point between roundings", "reads what isn't rounded"]
    assert reasons["fc"] == "the embedding (the network's output)"
    assert values["stem"]["bits"] == values["act"]["bits"] == values["add"]["bits"] == "fused"
    assert reasons["relu"] == "read in floating point by mean_1"


def test_layers_that_the_plan_leaves_in_floating_point(scramble: Scramble) -> None:
    layers = (("grouped", LayerBits(32, 32)), ("squeeze", LayerBits(4, 32)))
    network = student(everything(scramble), BitPlan(layers=layers))
    _, unquantized = tensor_table(network)
    rows = {(row["name"], row["role"]): row["reason"] for row in unquantized}
    assert rows["grouped", "operator"] == "the plan leaves its weights in floating point"
    assert rows["grouped.weight", "weight"] == "the plan leaves the layer in floating point"
    assert rows["squeeze", "operator"] == "the plan leaves its input in floating point"
    assert rows["squeeze.bias", "bias"] == "the plan leaves the layer's input in floating point"
    assert ("squeeze.weight", "weight") not in rows
    read = [reason for (_, role), reason in rows.items() if role == "activation" and "squeeze" in reason]
    assert set(read) == {"read in floating point by squeeze"}
    check(network)


def test_weights_and_activations_in_detail() -> None:
    plan = BitPlan(LayerBits(4, 6), first=None, last=None, weights_symmetric=False, weights_per_channel=False)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Flatten(), nn.Linear(4 * 9, 5))
    tensors, _ = tensor_table(student(from_module(module, "rgb-127.5-127.5", size=(8, 8)), plan))
    rows = {row["name"]: row for row in tensors}
    assert (rows["0.weight"]["bits"], rows["0.weight"]["detail"]) == (4, "asymmetric, per tensor")
    assert rows["0.zero_point"]["bits"] == 8
    assert rows["0.bias"]["detail"] == "int32, [4]"
    assert rows["image_a6"]["bits"] == 6
    assert rows["image_a6"]["detail"].startswith("unsigned, scale ")
    assert rows["0"]["bits"] == "fused"


def test_views_keep_integers_and_pooling_floats_is_named() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 9, 5))
    network = student(from_module(module, "rgb-127.5-127.5", size=(8, 8)), BitPlan.parse("w8a8"))
    values, reasons = check(network)
    assert reasons == {
        "1": "read in floating point by 2",
        "2": "reads what isn't rounded",
        "4": "the embedding (the network's output)",
    }
    assert {name: values[name]["bits"] for name in ("0", "1", "2", "3")} == {
        "0": "fused",
        "1": 32,
        "2": "fused",
        "3": 8,
    }


def test_pooling_integers_keeps_them() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
            self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(36, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.conv(x))
            return self.fc(torch.flatten(self.pool(x), 1) + torch.flatten(self.pool(self.other(x)), 1))

    network = student(from_module(Pooled(), "rgb-127.5-127.5", size=(8, 8)), BitPlan.parse("w8a8"))
    values, reasons = check(network)
    assert values["pool"]["bits"] == 8
    assert values["pool"]["detail"] == "the levels it reads"
    assert "pool" not in reasons

"""What is written, against torch, ONNX Runtime, OpenVINO and an integer engine of our own."""

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from onnx import TensorProto
from PIL import Image
from torch import Tensor, nn

from bitface import backbones
from bitface.graph import Network, from_module, load_network, ops, to_onnx
from bitface.graph.integer import QuantizeDequantize
from bitface.quant import BitPlan, Calibration, LayerBits, quantize
from bitface.targets.exact import exact
from support import integer_oracle
from support.forms import FORMS
from support.quantized import Mixed, PreActivation, faces, network

QUICK = Calibration("minmax", bias_correction=False)
PLANS = {
    "w8a8": BitPlan(),
    "w4a4": BitPlan.parse("w4a4"),
    "w3a8": BitPlan.parse("w3a8"),
    "w1a8": BitPlan.parse("w1a8"),
    "w8a32": BitPlan.parse("w8a32"),
    "one float layer": BitPlan(layers=(("*fc", LayerBits(32, 8)),)),
    "asymmetric": BitPlan(LayerBits(4, 6), weights_symmetric=False, activations="asymmetric"),
    "symmetric": BitPlan(LayerBits(6, 4), activations="symmetric"),
    "per tensor": BitPlan(weights_symmetric=False, weights_per_channel=False),
}
# What ONNX Runtime may do in integers, and what moves data only.
INTEGER = {"QuantizeLinear", "QLinearConv", "QLinearAdd", "QGemm", "Clip", "Transpose", "Reshape", "NhwcMaxPool"}


class Odds(nn.Module):
    """What face networks have now and then: an attention of channels, average pooling, rows, a normalised output."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 8, 3, 2, 1)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.Hardswish(), nn.Conv2d(4, 8, 1))
        self.pool = nn.AvgPool2d(3, 2, 1)
        self.rows = nn.Linear(16, 6)
        self.slope = nn.PReLU()
        self.embedding = nn.Linear(48, 10)
        self.fc = nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.image(x))
        x = self.pool(x * torch.sigmoid(self.squeeze(x)))
        x = self.embedding(torch.flatten(self.slope(self.rows(torch.flatten(x, 2))), 1))
        return nn.functional.normalize(self.fc(nn.functional.leaky_relu(x)))


def small(name: str) -> Network:
    if name in ("mixed", "pre-activation", "odds"):
        module, size = {"mixed": (Mixed, 16), "pre-activation": (PreActivation, 8), "odds": (Odds, 16)}[name]
        return network(module(), size)
    size = 16 if name == "iresnet18" else 32
    name, _, activation = name.partition(" ")
    options: dict[str, Any] = {"activation": activation} if activation else {}
    return network(backbones.create(name, input_size=size, **options), size)


@cache
def quantized(name: str, plan: str) -> tuple[Network, Network]:
    """A network and its integers."""
    net = small(name)
    return net, quantize(net, faces(8, net.size[0]), PLANS[plan])[0]


def inputs(net: Network, count: int, seed: int = 1) -> np.ndarray:
    assert net.preprocess is not None
    return net.preprocess(faces(count, net.size[0], seed))


def simulate(net: Network, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net.graph(torch.from_numpy(images)).numpy()


def run_onnx(model: onnx.ModelProto, images: np.ndarray, optimised: Path | bool = True) -> np.ndarray:
    """ONNX Runtime's output; a path receives the graph that it made of the model, False keeps it from making one."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # The exact kernels on CPUs whose fast ones saturate (AVX2 and AVX-512 without VNNI).
    options.add_session_config_entry("session.x64quantprecision", "1")
    if isinstance(optimised, Path):
        options.optimized_model_filepath = str(optimised)
    elif not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def run_openvino(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return compiled(images)[0]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())


def check_exact(integer: Network, images: np.ndarray, folder: Path) -> Counter[str]:
    """ONNX Runtime gives the oracle's numbers; the operators that it ran."""
    model = to_onnx(integer.graph, FORMS["onnxruntime"])
    found = run_onnx(model, images, folder / "optimised.onnx")
    assert np.abs(found - integer_oracle.run(model, images)).max() == 0
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("word", ["w8a8", "w4a4"])
@pytest.mark.parametrize(
    ("name", "convolutions", "additions"),
    [
        ("mobilefacenet:0.25 relu", 49, 12),
        ("mobilefacenet:0.25 relu6", 49, 12),
        # 33 PReLUs: two more convolutions and two additions in the place of each, as some slopes are negative
        ("mobilefacenet:0.25 prelu", 49 + 2 * 33, 12 + 2 * 33),
        ("mobilenetv2", 52, 10),
    ],
)
def test_onnxruntime_equals_the_integer_oracle(
    tmp_path: Path, name: str, convolutions: int, additions: int, word: str
) -> None:
    net = small(name)
    for module in net.graph.modules():
        if isinstance(module, nn.PReLU):
            module.weight.data[::3] *= -1
    integer, _ = quantize(net, faces(8, 32), BitPlan.parse(word), QUICK)
    operators = check_exact(integer, inputs(net, 3), tmp_path)
    assert set(operators) <= INTEGER
    assert operators["QuantizeLinear"] == 1  # the image
    found = operators["QLinearConv"], operators["QLinearAdd"], operators["QGemm"]
    assert found == (convolutions, additions, 1)


@pytest.mark.parametrize("name", ["resnet18", "iresnet18"])
def test_residual_networks_equal_the_integer_oracle(tmp_path: Path, name: str) -> None:
    net = small(name)
    integer, _ = quantize(net, faces(8, net.size[0]), BitPlan(), QUICK)
    operators = check_exact(integer, inputs(net, 2), tmp_path)
    assert operators["QGemm"] == 1
    # What IResNet leaves in float: the BatchNorm in front of each of 8 blocks, and the PReLU inside of it, whose
    # convolution costs more than it.
    left = {"Mul": 16, "Add": 16, "Min": 8, "Relu": 8} if name == "iresnet18" else {}
    moved = INTEGER | {"DequantizeLinear"} if left else INTEGER
    assert {kind: count for kind, count in operators.items() if kind not in moved} == left


@pytest.mark.parametrize("plan", [name for name in PLANS if name not in ("w8a32", "one float layer")])
@pytest.mark.parametrize("name", ["mixed", "pre-activation"])
def test_every_kind_of_plan_equals_the_integer_oracle(tmp_path: Path, name: str, plan: str) -> None:
    net, integer = quantized(name, plan)
    operators = check_exact(integer, inputs(net, 5), tmp_path)
    assert not {"Conv", "FusedConv", "Gemm", "MatMul"} & set(operators)


@pytest.fixture(scope="module", params=["foamliu", "prelu"])
def public(request: pytest.FixtureRequest, data_dir: Path) -> tuple[Network, Network, np.ndarray]:
    """A trained network, its integers and real faces that it hasn't seen, preprocessed."""
    word = "rgb-imagenet" if request.param == "foamliu" else None
    net = load_network(data_dir / "models" / f"{request.param}_mobilefacenet.onnx", word)
    assert net.preprocess is not None
    files = sorted((data_dir / "att" / "images").rglob("*.*g"))
    images = np.stack([np.array(Image.open(file).convert("RGB")) for file in files[::4]])
    return net, quantize(net, images[:20], BitPlan())[0], net.preprocess(images[20:])


@pytest.mark.data
def test_public_networks_equal_the_integer_oracle(public: tuple[Network, Network, np.ndarray], tmp_path: Path) -> None:
    net, integer, real = public
    for images in (real[:8], inputs(net, 8)):
        operators = check_exact(integer, images, tmp_path)
        # The one affine is the normalisation of the image inside of the network.
        assert set(operators) - INTEGER == ({"Mul", "Add"} if "prelu" in net.name else set())


@pytest.mark.data
def test_openvino_is_near_the_simulation_on_real_faces(public: tuple[Network, Network, np.ndarray]) -> None:
    if not exact("openvino", 8):
        pytest.skip("OpenVINO's integer sums saturate on this CPU")
    _, integer, images = public
    wanted = torch.from_numpy(simulate(integer, images))
    found = torch.from_numpy(run_openvino(to_onnx(integer.graph, FORMS["openvino"]), images))
    agreement = nn.functional.cosine_similarity(wanted, found)
    assert agreement.mean() >= 0.995
    assert agreement.min() >= 0.98


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", ["mixed", "pre-activation"])
def test_integer_files_hold_no_float_weights_and_a_free_batch(name: str, plan: str, form: str) -> None:
    net, integer = quantized(name, plan)
    model = to_onnx(integer.graph, FORMS[form])
    onnx.checker.check_model(model, full_check=True)
    allowed = {TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64}
    for tensor in model.graph.initializer:
        assert tensor.data_type in allowed
        sides = [side for side in tensor.dims if side != 1]
        float_layer = plan == "one float layer" and tensor.name == "fc.weight"
        assert tensor.data_type != TensorProto.FLOAT or len(sides) <= 1 or float_layer, tensor.name
        assert tensor.data_type != TensorProto.INT64 or tensor.name.endswith(".shape")
    three = inputs(net, 3)
    for optimised in (True, False):
        rows = np.concatenate([run_onnx(model, image[None], optimised) for image in three])
        np.testing.assert_allclose(run_onnx(model, three, optimised), rows, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", ["mixed", "pre-activation", "odds"])
def test_integer_files_compute_the_simulation(name: str, plan: str, form: str) -> None:
    net, integer = quantized(name, plan)
    model, images = to_onnx(integer.graph, FORMS[form]), inputs(net, 8)
    assert cosine(run_onnx(model, images, False), simulate(integer, images)) > 0.999
    assert cosine(run_onnx(model, images), simulate(integer, images)) > 0.999


@pytest.mark.parametrize("name", ["mixed", "pre-activation", "odds"])
def test_openvino_runs_its_form(name: str) -> None:
    net, integer = quantized(name, "w8a8")
    images = inputs(net, 16)
    # OpenVINO's sums saturate on some CPUs, where it isn't the default engine.
    least = 0.995 if exact("openvino", 8) else 0.9
    assert cosine(run_openvino(to_onnx(integer.graph, FORMS["openvino"]), images), simulate(integer, images)) >= least


class Branch(nn.Module):
    """The first addition has a branch that nothing else reads, the second one two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.short = nn.Conv2d(3, 32, 3, 2, 1), nn.Conv2d(32, 32, 1)
        self.a, self.b = nn.Conv2d(32, 32, 3, 1, 1), nn.Conv2d(32, 32, 3, 1, 1)
        self.fc = nn.Linear(32 * 8 * 8, 64)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.a(x)
        return self.fc(torch.flatten(self.short(x) + self.b(torch.relu(x)), 1))


@pytest.mark.parametrize("bits", ["w4a2", "w4a3", "w4a4", "w4a6"])
def test_openvino_rounds_what_additions_read(bits: str, tmp_path: Path) -> None:
    """It leaves the rounding of a pair out where a layer's output is read by an addition alone."""
    torch.manual_seed(0)
    net = from_module(Branch(), "rgb-127.5-127.5", "branch", (16, 16))
    images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    integer, _ = quantize(net, images[:16], BitPlan.from_json({"bits": bits, "first": "w7a8", "last": bits}), QUICK)
    assert net.preprocess is not None
    inputs = net.preprocess(images)
    model = to_onnx(integer.graph, FORMS["openvino"])
    found, expected = run_openvino(model, inputs), simulate(integer, inputs)
    # Read back, they are quantizers again.
    onnx.save(model, tmp_path / "model.onnx")
    read = load_network(tmp_path / "model.onnx")
    np.testing.assert_allclose(simulate(read, inputs), expected, rtol=1e-4, atol=1e-4)
    held, kept = (
        Counter((q.bits, q.scale) for q in net.graph.modules() if isinstance(q, QuantizeDequantize))
        for net in (integer, read)
    )
    assert sum(kept.values()) == sum(held.values())
    assert not any(isinstance(module, ops.Round) for module in read.graph.modules())
    # A sum that lies between two levels may go either way, which moves some rows a little and none by much.
    off = np.abs(found - expected).max(1) / np.abs(expected).max()
    assert np.median(off) < 1e-4
    assert off.max() < 0.1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["mixed", "pre-activation", "odds", "mobilefacenet:0.25 relu6"])
def test_float_networks_in_both_forms(name: str, form: str) -> None:
    net = small(name)
    model, images = to_onnx(net.graph, FORMS[form], {"key": "value", "list": [1]}), inputs(net, 3)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"key": "value", "list": "[1]"}
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "embedding"]
    expected = simulate(net, images)
    for found in (run_onnx(model, images), run_openvino(model, images)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


class Sloped(nn.Module):
    """A layer and a PReLU in front of a quantizer: cheap (split), dear (in float), or linear; 4 x 4 pixels."""

    def __init__(self, kind: str, slopes: Tensor) -> None:
        super().__init__()
        self.layer = {"cheap": nn.Conv2d(3, 8, 1), "dear": nn.Conv2d(3, 8, 7, padding=3), "linear": nn.Linear(48, 8)}[
            kind
        ]
        self.act, self.last = nn.PReLU(len(slopes)), nn.Linear(8 if kind == "linear" else 128, 6)
        self.kind, self.slopes = kind, slopes

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(x, 1) if self.kind == "linear" else x
        return self.last(torch.flatten(self.act(self.layer(x)), 1))


SLOPES = {
    "positive": torch.linspace(0.05, 1.5, 8),
    "negative": torch.linspace(-1.2, -0.01, 8),
    "mixed": torch.linspace(-0.9, 0.9, 8),
    "zero": torch.zeros(8),
    "some zero": torch.tensor([0, 0, 0.25, 0.25, 0, -0.5, 0, 1]),
    "one": torch.tensor([0.25]),
    "one negative": torch.tensor([-0.25]),
}


@pytest.mark.parametrize("plan", ["w8a8", "w4a4", "asymmetric", "per tensor"])
@pytest.mark.parametrize("kind", ["cheap", "dear", "linear"])
@pytest.mark.parametrize("slopes", SLOPES)
def test_a_prelu_is_split_exactly(kind: str, slopes: str, plan: str) -> None:
    net = network(Sloped(kind, SLOPES[slopes]), 4)
    with torch.no_grad():
        net.graph.get_submodule("act").weight.copy_(SLOPES[slopes])
    integer, _ = quantize(net, faces(16, 4), PLANS[plan], QUICK)
    quantizer = next(m for name, m in integer.graph.named_modules() if name.startswith("act_a"))
    assert isinstance(quantizer, QuantizeDequantize)
    images = inputs(net, 16, seed=0)  # those of the calibration, so that nothing is cut off
    seen: list[Tensor] = []
    quantizer.register_forward_hook(lambda _, x, __: seen.append(quantizer.integers(x[0])))
    simulate(integer, images)
    model = to_onnx(integer.graph, FORMS["onnxruntime"])
    integers = {node.output[0] for node in model.graph.node if node.op_type in ("QuantizeLinear", "Clip")}
    pairs = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in integers]
    name = pairs[-1].output[0]  # what the last layer reads
    model.graph.output.insert(0, onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    levels = np.rint(run_onnx(model, images, False) / quantizer.scale) + quantizer.zero_point
    differences = np.abs(levels - seen[0].numpy())
    # A float layer of many products may round another way; behind a dear layer there is one more rounding.
    assert differences.max() <= (2 if kind == "dear" else 1)
    assert (differences != 0).mean() < (0.5 if kind == "dear" else 0.005)


@pytest.mark.parametrize("form", FORMS)
def test_layers_named_like_the_input_and_the_output(form: str) -> None:
    net = small("odds")
    assert {"image", "embedding"} <= {name.rstrip("_0123456789") for name, _ in net.graph.named_children()}
    for graph in (net.graph, quantize(net, faces(4, 16), BitPlan())[0].graph):
        onnx.checker.check_model(to_onnx(graph, FORMS[form]), full_check=True)


def test_a_limit_that_the_quantizer_makes_anyway_is_left_out() -> None:
    net = network(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Flatten(), nn.Linear(64, 5)), 4)
    counts: dict[float, int] = {}
    for high in (6.0, 0.01):
        clip = next(module for module in net.graph.modules() if isinstance(module, ops.Clip))
        clip.high = 6.0
        integer, _ = quantize(net, faces(4, 4), BitPlan(), QUICK)
        next(module for module in integer.graph.modules() if isinstance(module, ops.Clip)).high = high
        model, images = to_onnx(integer.graph, FORMS["onnxruntime"]), inputs(net, 3)
        counts[high] = sum(node.op_type == "Clip" for node in model.graph.node)
        np.testing.assert_allclose(run_onnx(model, images, False), simulate(integer, images), atol=1e-3)
    assert counts == {6.0: 0, 0.01: 1}

"""LiteRT: what the file computes, in float and in integers, beside torch; and tflite-micro beside it."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitface import backbones
from bitface.errors import BitfaceError
from bitface.graph import Network, from_module
from bitface.graph.integer import INTEGER_LAYERS, QuantizeDequantize
from bitface.graph.operators.elementwise import Erf
from bitface.graph.passes import module_of
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets import Settings
from bitface.targets.guide import guide
from bitface.targets.litert.emit import emit, emit_for_pixels, tflite
from bitface.targets.litert.engine import start
from bitface.targets.litert.micro import arena_bytes
from bitface.targets.litert.rounding import rounded, runs_in_integers
from bitface.targets.litert.schema import Op
from bitface.targets.plans import for_targets
from support.operator_modules import EXAMPLES, chain, graph_of
from support.quantized import Mixed, PreActivation, faces, network

pytest.importorskip("ai_edge_litert")

QUICK = Calibration("minmax", bias_correction=False)
ONE = Settings(threads=1)


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)


def computed(graph: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return graph(torch.from_numpy(images)).numpy()


def images(net: Network, count: int = 4) -> np.ndarray:
    assert net.preprocess is not None
    return net.preprocess(faces(count, net.size.height, seed=1))


def student_of(net: Network, bits: str) -> Network:
    return quantize(net, faces(8, net.size.height), BitPlan.parse(bits), QUICK)[0]


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "Erf"])
def test_every_operator_in_float(name: str) -> None:
    torch.manual_seed(0)
    for example in EXAMPLES[name]:
        graph = graph_of(*chain(example))
        batch = np.random.default_rng(0).uniform(-1, 1, (3, 4, 6, 6)).astype(np.float32)
        embeddings = start(Network(graph, name), Settings(batch=3, threads=1))(batch)
        np.testing.assert_allclose(embeddings, computed(graph, batch), rtol=1e-4, atol=1e-4)


def test_an_operator_that_it_has_not() -> None:
    with pytest.raises(BitfaceError, match=r"net: can't be written for LiteRT: 'part.0' is a Erf, which LiteRT hasn't"):
        tflite(Network(graph_of(Erf()), "net"))


def halves(x: Tensor) -> Tensor:
    """The max-feature-map of LightCNN."""
    parts = torch.split(x, x.shape[1] // 2, 1)
    return torch.max(parts[0], parts[1])


class Gate(nn.Module):
    """Squeeze and excitation with a sigmoid, and a hard-swish."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(F.relu(self.down(x.mean((2, 3), keepdim=True))))
        return F.hardswish(x * torch.sigmoid(gate))


class Branches(nn.Module):
    """Two branches, joined, shuffled and grouped."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(8, 4, 3, 1, 1), nn.Conv2d(8, 4, 3, 1, 1, dilation=1)
        self.grouped = nn.Conv2d(8, 8, 3, 1, 2, dilation=2, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([F.relu(self.left(x)), F.leaky_relu(self.right(x), 0.2)], 1)
        x = x.reshape(-1, 2, 4, 6, 6).transpose(1, 2).reshape(-1, 8, 6, 6)
        return self.grouped(x)


class Tokens(nn.Module):
    """Linear layers on tokens, normed, and their attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.query, self.out = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        query = self.query(tokens)
        mixed = torch.softmax(query @ tokens.transpose(1, 2), -1) @ tokens
        tokens = tokens + F.gelu(self.out(mixed))
        return tokens.transpose(1, 2).reshape(-1, 8, 6, 6)


class Whole(nn.Module):
    """A stem, a part on 8 channels, and a head; 12 x 12 pixels."""

    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.part = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6()), part
        self.head, self.fc = nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.Linear(8 * 9, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.head(self.part(self.stem(x))), 1))


class Maxout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(8, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(halves(self.wide(x)), 3, 1, 1)


@pytest.mark.parametrize("bits", ["w8a8", "w4a4", "w8a16"])
@pytest.mark.parametrize(
    ("module", "size"),
    [(Mixed(), 16), (PreActivation(), 8), *((Whole(part()), 12) for part in (Gate, Branches, Tokens, Maxout))],
    ids=lambda value: type(getattr(value, "part", value)).__name__,
)
def test_integers_are_those_of_the_simulation(module: nn.Module, size: int, bits: str) -> None:
    net = student_of(network(module, size), bits)
    batch = images(net)
    embeddings = start(net, Settings(batch=4, threads=1))(batch)
    np.testing.assert_allclose(cosines(embeddings, computed(rounded(net.graph), batch)), 1, atol=2e-3)
    assert cosines(embeddings, computed(net.graph, batch)).min() > (0.9 if bits == "w4a4" else 0.995)
    for row, image in zip(embeddings, batch, strict=True):
        np.testing.assert_allclose(start(net, ONE)(image[None])[0], row, atol=1e-5)


def test_layers_between_quantizers_are_in_integers() -> None:
    kinds = tflite(student_of(network(Whole(nn.Identity()), 12), "w8a8")).kinds
    # The padding of a stride of two is written; ReLU6 is part of the layer before it.
    assert kinds == sorted(
        [Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED, Op.RESHAPE, Op.PAD, Op.QUANTIZE, Op.DEQUANTIZE]
    )


def test_layers_before_sums_in_float_are_in_integers() -> None:
    plan, _, _ = for_targets(BitPlan.parse("w8a8"), ["ncnn", "litert"])
    net = network(Mixed(), 16)
    graph = rounded(quantize(net, faces(8, 16), plan, QUICK)[0].graph)
    layers = [node for node in graph.graph.nodes if isinstance(module_of(graph, node), INTEGER_LAYERS)]
    assert [runs_in_integers(graph, node) for node in layers] == [True] * 5


def test_an_embedding_whose_range_is_known_is_rounded() -> None:
    net = student_of(network(Whole(nn.Identity()), 12), "w8a8")
    batch = images(net)
    last = [layer for layer in net.graph.modules() if isinstance(layer, INTEGER_LAYERS)][-1]
    last.output_scale = 0.0
    exact = start(net, Settings(batch=4, threads=1))(batch)
    np.testing.assert_allclose(exact, computed(net.graph, batch), rtol=1e-3, atol=1e-4)
    last.output_scale, last.output_zero_point = 0.05, 128
    embeddings = start(net, Settings(batch=4, threads=1))(batch)
    np.testing.assert_allclose(embeddings / 0.05, np.rint(embeddings / 0.05), atol=1e-3)
    np.testing.assert_allclose(embeddings, exact.clip(-6.4, 6.35), atol=0.026)


def test_sixteen_bits_without_a_zero_point() -> None:
    graph = graph_of(QuantizeDequantize(2 / 65535, 16384, 16, False))
    batch = np.random.default_rng(0).uniform(-0.5, 1.5, (1, 4, 6, 6)).astype(np.float32)
    embeddings = start(Network(graph, "net"), ONE)(batch)
    np.testing.assert_array_equal(embeddings, computed(rounded(graph), batch))
    np.testing.assert_allclose(embeddings, batch, atol=3e-5)


def test_calls_of_many_threads() -> None:
    net = student_of(network(Mixed(), 16), "w8a8")
    run, batch = start(net, Settings(threads=1, streams=4)), images(net, 32)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda image: run(image[None])[0], batch))
    np.testing.assert_array_equal(rows, [run(image[None])[0] for image in batch])


def invoked(path: Path, image: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    assert details["dtype"] == image.dtype
    interpreter.set_tensor(details["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize(
    "word", ["rgb-127.5-128", "rgb-raw", "rgb-0-255", "bgr-104,117,123-1", "rgb-imagenet", "rgb-128-127.5"]
)
def test_a_file_for_pixels(word: str, tmp_path: Path) -> None:
    net = network(Whole(nn.Identity()), 12, word)
    for one in (net, student_of(net, "w8a8")):
        emit_for_pixels(one, {}, tmp_path / "model.tflite")
        pixels = faces(1, 12, seed=2)
        assert one.preprocess is not None
        expected = start(one, ONE)(one.preprocess(pixels))
        np.testing.assert_allclose(invoked(tmp_path / "model.tflite", pixels), expected, rtol=1e-3, atol=1e-4)


def test_pixels_of_which_nobody_knows_what_they_mean(tmp_path: Path) -> None:
    net = network(Whole(nn.Identity()), 12, None)
    with pytest.raises(BitfaceError, match="its preprocessing isn't known"):
        emit_for_pixels(net, {}, tmp_path / "model.tflite")


def test_facts_are_in_the_file(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    emit(network(Whole(nn.Identity()), 12), {"bitface.profile": "litert", "bitface.note": "é"}, tmp_path / "m.tflite")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel((tmp_path / "m.tflite").read_bytes(), 0))
    facts = {one.name.decode(): bytes(model.buffers[one.buffer].data).decode() for one in model.metadata}
    assert facts == {"bitface.profile": "litert", "bitface.note": "é"}


def on_a_microcontroller(path: Path, image: np.ndarray) -> np.ndarray:
    runtime: Any = pytest.importorskip("tflite_micro").runtime
    interpreter = runtime.Interpreter.from_file(str(path), arena_size=1 << 24)
    interpreter.set_input(image, 0)
    interpreter.invoke()
    return interpreter.get_output(0)


@pytest.mark.parametrize("bits", ["w8a8", "w8a16", "float"])
def test_tflite_micro_runs_the_same_file(bits: str, tmp_path: Path) -> None:
    net = network(Mixed(), 16)
    net = net if bits == "float" else student_of(net, bits)
    emit(net, {"bitface.profile": "litert"}, tmp_path / "model.tflite")
    batch = images(net, 1)
    embedding = on_a_microcontroller(tmp_path / "model.tflite", np.ascontiguousarray(batch.transpose(0, 2, 3, 1)))
    assert cosines(embedding, start(net, ONE)(batch)).min() > 0.9995
    arena = arena_bytes((tmp_path / "model.tflite").read_bytes())
    assert arena is not None
    assert 2000 < arena < 60000
    assert arena_bytes(b"no model") is None


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "least"), [("w8a8", 0.97), ("w8a16", 0.99999)])
def test_tflite_micro_runs_a_mobilefacenet(bits: str, least: float, tmp_path: Path) -> None:
    """With 8 bits a level here and there rounds otherwise, and fifty layers with random weights multiply it."""
    torch.manual_seed(0)
    net = student_of(from_module(backbones.create("mobilefacenet").eval(), "rgb-127.5-128"), bits)
    emit(net, {}, tmp_path / "model.tflite")
    batch = images(net, 1)
    embedding = on_a_microcontroller(tmp_path / "model.tflite", np.ascontiguousarray(batch.transpose(0, 2, 3, 1)))
    assert cosines(embedding, start(net, ONE)(batch)).min() > least
    assert (arena_bytes((tmp_path / "model.tflite").read_bytes()) or 0) < 8 << 20


def test_how_it_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = student_of(network(Whole(nn.Identity()), 12, "bgr-127.5-128"), "w8a8")
    text = guide("litert", net)
    for line in (
        "float32 `[1, 12, 12, 3]` (channels last)",
        "MicroMutableOpResolver<7> resolver;",
        "writeFloat(image)",
    ):
        assert line in text
    pixels = guide("litert-uint8", net)
    for line in ("uint8 `[1, 12, 12, 3]`", "Channels: red, green, blue, as they are", "writeInt8(image)"):
        assert line in pixels
    emit(net, {}, tmp_path / "model.tflite")
    monkeypatch.chdir(tmp_path)
    names = {"image": np.ascontiguousarray(images(net, 1).transpose(0, 2, 3, 1))}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], names)
    np.testing.assert_array_equal(names["embedding"], start(net, ONE)(images(net, 1)))

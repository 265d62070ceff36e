"""ncnn's files, held against its own engine: each operator, integers, roundings, and what is refused."""

import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from bitface.errors import BitfaceError
from bitface.graph import Network, ops
from bitface.graph.builder import Builder
from bitface.graph.integer import IntegerConv2d, IntegerLinear, LayerIntegers, QuantizeDequantize, Window
from bitface.graph.operators.resizing import _COORDINATES, _ROUNDINGS, Resize
from bitface.preprocess import parse
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets import TARGETS, Settings
from bitface.targets.exact import exact
from bitface.targets.ncnn.emit import emit
from bitface.targets.ncnn.layers import FUSED
from bitface.targets.ncnn.simulation import simulate
from bitface.targets.ncnn.usage import usage
from bitface.targets.plans import for_targets
from bitface.targets.start import start
from bitface.targets.write import write
from support.operator_modules import EXAMPLES, chain, graph_of
from support.quantized import Mixed, faces, network
from targets.test_zoo_networks import NETWORKS

pytest.importorskip("ncnn")

# Forms of operators that ncnn has no layer for: the example's place among those of its operator.
REFUSED = {
    ("Compare", 0), ("Compare", 1), ("Where", 0), ("MatMul", 0), ("Softplus", 1), ("ThresholdedRelu", 0),
    ("ThresholdedRelu", 1), ("Resize", 1), ("Gather", 1), ("Slice", 1), ("Slice", 3), ("Pad", 4),
}  # fmt: skip
# No network on their own, or with weights that `Holds` refuses.
INTEGER = ("QuantizeDequantize", "IntegerConv", "IntegerLinear")


def run(graph: GraphModule, images: torch.Tensor) -> np.ndarray:
    return start("ncnn", Network(graph, "net"), Settings(threads=1))(images.numpy())


def computed(graph: GraphModule, images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return graph(images).flatten(1).numpy()


def lines(graph: GraphModule, folder: Path) -> list[list[str]]:
    """The words of each layer."""
    emit(Network(graph, "net"), {}, folder)
    return [line.split() for line in (folder / "model.ncnn.param").read_text().splitlines()[2:]]


def conv(inputs: int, outputs: int, side: int = 3, **window: Any) -> IntegerConv2d:
    """With an input of about ±6 and an output of about the same."""
    kernel = (side, side)
    padding = (side // 2, side // 2)
    layer = IntegerConv2d(inputs, outputs, kernel, Window(padding=padding, **window), LayerIntegers(input_scale=0.05))
    return filled(layer)


def filled(layer: Any) -> Any:
    layer.weight.random_(-127, 128)
    layer.scale.uniform_(0.5, 1.5)
    layer.scale *= 1 / (73 * layer.weight[0].numel() ** 0.5)
    if layer.bias is not None:
        layer.bias.random_(-500, 500)
    return layer


def rounded() -> QuantizeDequantize:
    return QuantizeDequantize(0.05, 0, 8, True)


def integers_of(*modules: nn.Module, channels: int = 8) -> GraphModule:
    """A chain on an image of 8 x 8, ending in a linear layer."""
    builder = Builder((channels, 8, 8))
    node = builder.input
    for index, module in enumerate(modules):
        node = builder.add(f"part.{index}", module, node)
    width = int(np.prod(node.meta["shape"][1:]))
    node = builder.add("flat", ops.Reshape((width,)), builder.add("last", rounded(), node))
    return builder.finish(builder.add("fc", filled(IntegerLinear(width, 8, LayerIntegers(input_scale=0.05))), node))


def images(channels: int = 8, count: int = 4) -> torch.Tensor:
    return torch.randn(count, channels, 8, 8) * 2


def assert_alike(rows: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for the last bits of most; the last bit before a rounding may make a level of the few others."""
    assert np.isclose(rows, expected, rtol=1e-5, atol=1e-6).mean() > 0.9
    np.testing.assert_allclose(rows, expected, atol=0.02 * np.abs(expected).max())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("name", "index"),
    [(name, index) for name in EXAMPLES if name not in INTEGER for index in range(len(EXAMPLES[name]))],
)
def test_operators(name: str, index: int) -> None:
    graph = graph_of(*chain(EXAMPLES[name][index]))
    x = torch.randn(2, 4, 6, 6)
    if (name, index) in REFUSED:
        with pytest.raises(BitfaceError, match=r"'part\.[01]' .*, which ncnn has no layer for; export for another"):
            run(graph, x)
        return
    expected = computed(graph, x)
    np.testing.assert_allclose(run(graph, x), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("coordinates", _COORDINATES)
@pytest.mark.parametrize(("mode", "rounding"), [("linear", "floor"), *(("nearest", word) for word in _ROUNDINGS)])
def test_resizes_are_exact_or_refused(mode: str, rounding: str, coordinates: str) -> None:
    fit = 0
    for old, new in ((6, 12), (6, 18), (6, 3), (6, 2), (6, 1), (1, 4), (6, 4), (5, 8), (7, 1), (14, 2)):
        resize = Resize((4, new, new), (1, new / old, new / old), mode, coordinates, rounding)
        graph, x = graph_of(resize, image=(4, old, old)), torch.randn(2, 4, old, old)
        try:
            result = run(graph, x)
        except BitfaceError:
            continue
        fit += 1
        np.testing.assert_allclose(result, computed(graph, x), rtol=1e-4, atol=1e-4)
    # The usual ones are taken: by a half pixel, and torch's own words.
    if mode == "linear":
        assert fit >= {"half_pixel": 10, "align_corners": 10, "pytorch_half_pixel": 8}.get(coordinates, 0)
    elif rounding.startswith("round") and coordinates in ("half_pixel", "pytorch_half_pixel"):
        assert fit >= 3
    elif (coordinates, rounding) == ("asymmetric", "floor"):
        assert fit >= 9


@pytest.mark.parametrize("kind", list(FUSED), ids=lambda kind: kind.__name__)
def test_activations_within_layers(kind: type[nn.Module], tmp_path: Path) -> None:
    activation = kind(-1.0, 2.0) if kind is ops.Clip else kind()
    for layer, sides in ((nn.Conv2d(4, 8, 3), ()), (nn.Linear(6, 5), ()), (conv(4, 8), (rounded(),))):
        graph = graph_of(*sides, layer, activation) if not sides else integers_of(*sides, layer, activation, channels=4)
        x = torch.randn(2, 4, *((6, 6) if not sides else (8, 8)))
        assert not {"Clip", "ReLU", "Sigmoid", "Mish", "HardSwish"} & {words[0] for words in lines(graph, tmp_path)}
        expected = computed(simulate(graph), x)
        np.testing.assert_allclose(run(graph, x), expected, rtol=1e-3, atol=1e-2 * np.abs(expected).max())


def test_it_rounds_half_away_from_zero_and_has_no_minus_128() -> None:
    builder = Builder((1, 1, 8))
    layer = IntegerLinear(8, 8, LayerIntegers(bias=False, input_scale=1.0))
    layer.weight.copy_(torch.eye(8))
    flat = builder.add("flat", ops.Reshape((8,)), builder.add("q", QuantizeDequantize(1.0, 0, 8, True), builder.input))
    graph = builder.finish(builder.add("fc", layer, flat))
    x = torch.tensor([0.5, -0.5, 1.5, 2.5, -2.5, 0.25, 130, -130]).view(1, 1, 1, 8)
    expected = [[1, -1, 2, 3, -3, 0, 127, -127]]
    assert run(graph, x).tolist() == expected
    assert computed(simulate(graph), x).tolist() == expected
    assert computed(graph, x).tolist() != expected


def test_integers_between_convolutions(tmp_path: Path) -> None:
    """The output of a convolution is int8 where integer convolutions of one scale alone read it."""
    layers = [rounded(), conv(8, 16), ops.Clip(0, 6), rounded(), conv(16, 16, 1), nn.ReLU(), rounded(), conv(16, 8)]
    graph = integers_of(*layers)
    terms = {words[1]: [word for word in words if word.startswith("8=")] for words in lines(graph, tmp_path)}
    assert [terms[f"part.{index}"] for index in (1, 4, 7)] == [["8=102"], ["8=102"], ["8=2"]]
    assert terms["fc"] == ["8=2"]
    x = images()
    result, simulated = run(graph, x), computed(simulate(graph), x)
    assert_alike(result, simulated)


def test_sums_that_leave_int32_by_winograd(tmp_path: Path) -> None:
    """They come in 576ths, so that the largest ones would come out with another sign."""
    layer = conv(32, 32)
    layer.weight.fill_(127)
    graph = integers_of(rounded(), layer, channels=32)
    assert lines(graph, tmp_path)[1][-1] == "31=64"
    x = torch.full((1, 32, 8, 8), 9.0)
    np.testing.assert_allclose(run(graph, x), computed(simulate(graph), x), rtol=1e-3)
    assert exact("ncnn", 8)
    assert lines(integers_of(rounded(), conv(8, 8)), tmp_path)[1][-1] == "8=2"


def test_depthwise_layers(tmp_path: Path) -> None:
    """Also the global one; not with ncnn's packing on x86 CPUs, whose scales are right to 12 bits."""
    layers = [rounded(), conv(8, 8, groups=8), nn.PReLU(8), rounded(), conv(8, 8, groups=8, stride=(2, 2)), rounded()]
    whole = filled(IntegerConv2d(8, 8, (4, 4), Window(groups=8), LayerIntegers(input_scale=0.05)))
    graph = integers_of(*layers, whole)
    kinds = [words[0] for words in lines(graph, tmp_path)]
    assert kinds.count("ConvolutionDepthWise") == 3
    x = images()
    result, simulated = run(graph, x), computed(simulate(graph), x)
    assert_alike(result, simulated)


def test_groups_are_computed_in_float(tmp_path: Path) -> None:
    graph = integers_of(rounded(), conv(8, 16, groups=2))
    assert not any(word.startswith("8=") for word in lines(graph, tmp_path)[1])
    x = images()
    result, simulated = run(graph, x), computed(simulate(graph), x)
    np.testing.assert_allclose(result, simulated, atol=0.01 * np.abs(simulated).max())


def test_sums_are_in_float(tmp_path: Path) -> None:
    """The quantizers of an addition are left out, and a value that several read is split."""
    builder = Builder((8, 8, 8))
    image = builder.add("image_q", rounded(), builder.input)
    first = builder.add("first", conv(8, 8), image)
    second = builder.add("second", conv(8, 8), builder.add("first_q", rounded(), first))
    total = builder.add(
        "sum", ops.Add(), builder.add("first_sum", rounded(), first), builder.add("q", rounded(), second)
    )
    flat = builder.add("flat", ops.Reshape((512,)), builder.add("sum_q", rounded(), total))
    graph = builder.finish(builder.add("fc", filled(IntegerLinear(512, 8, LayerIntegers(input_scale=0.05))), flat))
    kinds = [words[0] for words in lines(graph, tmp_path)]
    assert kinds == ["Input", "Convolution", "Split", "Convolution", "BinaryOp", "Reshape", "InnerProduct"]
    simulated = simulate(graph)
    assert not any(isinstance(module, QuantizeDequantize) for module in simulated.modules())
    x = images()
    result, expected = run(graph, x), computed(simulated, x)
    assert_alike(result, expected)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "depth to space"])
def test_networks_of_zoos(name: str) -> None:
    net = network(NETWORKS[name][0](), 16)
    plan = for_targets(BitPlan(), ["ncnn"])[0]
    student = quantize(net, faces(24, 16), plan, Calibration("minmax"))[0]
    assert net.preprocess is not None
    x = torch.from_numpy(net.preprocess(faces(6, 16, seed=1)))
    assert_alike(run(student.graph, x), computed(simulate(student.graph), x))


def test_rows_of_several_axes() -> None:
    """A linear layer on the last axis of a map."""
    graph = graph_of(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    x = torch.randn(2, 4, 6, 6)
    np.testing.assert_allclose(run(graph, x), computed(graph, x), atol=1e-5)


def test_an_embedding_that_is_read_on_the_way_and_names_without_end() -> None:
    builder = Builder((2, 4, 4))
    flat = builder.add("flat." + "long_" * 80, ops.Reshape((32,)), builder.input)
    embedding = builder.add("embedding", nn.Linear(32, 32), flat)
    builder.add("aside", nn.ReLU(), embedding)
    graph = builder.finish(builder.add("total", ops.Add(), embedding, embedding))
    x = torch.randn(2, 2, 4, 4)
    np.testing.assert_allclose(run(graph, x), computed(graph, x), atol=1e-5)


def _in_a_child(call: Callable[[np.ndarray], np.ndarray], x: np.ndarray, queue: Any) -> None:
    queue.put(call(x))


def test_threads_and_forks() -> None:
    graph = integers_of(rounded(), conv(8, 16), nn.PReLU(16), rounded(), conv(16, 8))
    call = start("ncnn", Network(graph, "net"), Settings(threads=2))
    x = images(count=8).numpy()
    expected = call(x)
    rows: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda i=i: rows.update({i: call(x[i : i + 1])})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.concatenate([rows[i] for i in range(8)]), expected)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(call, x, queue))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), expected)
    child.join()


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(BitfaceError, match=r"no ncnn model, model\.ncnn\.param is missing"):
        start("ncnn", tmp_path)
    folder = tmp_path / "net"
    write("ncnn", network(Mixed(), 16), {}, folder)
    numbers = (folder / "model.ncnn.bin").read_bytes()
    (folder / "model.ncnn.bin").write_bytes(numbers[: len(numbers) // 2])
    with pytest.raises(BitfaceError, match="ncnn can't read it"):
        start("ncnn", folder)
    (folder / "model.ncnn.bin").write_bytes(numbers)
    param = folder / "model.ncnn.param"
    param.write_text(param.read_text().replace("embedding", "other"))
    with pytest.raises(BitfaceError, match="doesn't go from a blob 'image' to 'embedding'"):
        start("ncnn", folder)


def test_its_code_has_the_numbers_of_the_network() -> None:
    net = network(Mixed(), 16, "bgr-127.5-128")
    text = usage(net)
    assert "PIXEL_BGR," in text
    assert "float mean[] = {127.5f, 127.5f, 127.5f}, norm[] = {0.0078125f, 0.0078125f, 0.0078125f}" in text
    assert "substract_mean_normalize([127.5, 127.5, 127.5], [0.0078125, 0.0078125, 0.0078125])" in text
    assert "substract" not in usage(net.with_preprocess(parse("rgb-raw", (16, 16))))
    assert "PIXEL_BGR2RGB" in usage(net.with_preprocess(parse("rgb-raw", (16, 16))))


def test_its_python_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(Mixed(), 16, "rgb-imagenet")
    write("ncnn", net, {}, tmp_path / "net")
    code = usage(net).split("```python\n")[1].split("```")[0]
    face = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    monkeypatch.chdir(tmp_path / "net")
    names: dict[str, Any] = {"image": np.ascontiguousarray(face[..., ::-1])}
    exec(code, names)
    assert net.preprocess is not None
    expected = start("torch", net)(net.preprocess(face[None]))[0]
    np.testing.assert_allclose(names["embedding"], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_what_it_holds() -> None:
    holds = TARGETS["ncnn"].holds
    for quantizer, words in (
        (QuantizeDequantize(0.1, 0, 16, True), "16 bits"),
        (QuantizeDequantize(0.1, 0, 4, True), "4 bits"),
        (QuantizeDequantize(0.1, 3, 8, True), "zero point"),
    ):
        assert words in str(holds.obstacle(graph_of(quantizer)))
    layer = IntegerLinear(6, 3, LayerIntegers(input_scale=0.2, asymmetric=True))
    assert "weights with zero points" in str(holds.obstacle(graph_of(layer)))

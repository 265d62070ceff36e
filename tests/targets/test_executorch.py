"""ExecuTorch's files, held against its own engine: operators, integers, threads, and what is said without it."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
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
from bitface.graph.integer import IntegerConv2d, LayerIntegers, QuantizeDequantize, Window
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets import Settings
from bitface.targets.executorch import FACTS, emit, simulate
from bitface.targets.start import start
from bitface.targets.write import write
from support.operator_modules import EXAMPLES, chain, graph_of
from support.quantized import Mixed, PreActivation, faces, network

needs_engine = pytest.mark.skipif(find_spec("executorch") is None, reason="executorch isn't installed")
# No network on their own, or with weights that `Holds` refuses.
REFUSED = "LRN"  # an average over three dimensions, which it lacks
INTEGER = ("QuantizeDequantize", "IntegerConv", "IntegerLinear")


def run(graph: GraphModule, images: torch.Tensor) -> np.ndarray:
    return start("executorch", Network(graph, "net"), Settings(batch=len(images), threads=1))(images.numpy())


def computed(graph: GraphModule, images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return graph(images).numpy()


def student(module: nn.Module, size: int, bits: str) -> tuple[Network, np.ndarray]:
    net = network(module, size)
    plan = BitPlan.from_json({"bits": bits, "first": "w8a8", "last": bits})
    assert net.preprocess is not None
    return (
        quantize(net, faces(16, size), plan, Calibration("minmax", bias_correction=False))[0],
        net.preprocess(faces(4, size, seed=1)),
    )


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)


def rounded(scale: float = 0.05, zero_point: int = 0, bits: int = 8, signed: bool = True) -> QuantizeDequantize:
    return QuantizeDequantize(scale, zero_point, bits, signed)


def conv(inputs: int, outputs: int, side: int = 3, input_scale: float = 0.05, **window: Any) -> IntegerConv2d:
    """With inputs of some ±6 and outputs of about the same."""
    sides = Window(padding=(side // 2, side // 2), **window)
    layer = IntegerConv2d(inputs, outputs, (side, side), sides, LayerIntegers(input_scale=input_scale))
    layer.weight.random_(-127, 128)
    layer.scale.uniform_(0.5, 1.5).mul_(1 / (73 * layer.weight[0].numel() ** 0.5))
    assert layer.bias is not None
    layer.bias.random_(-500, 500)
    return layer


def compare(graph: GraphModule) -> None:
    """What the engine computes, with what its simulation does; a number in a thousand may fall to the next level."""
    images = torch.randn(2, 8, 8, 8) * 2
    expected = computed(simulate(graph), images)
    wrong = np.abs(run(graph, images) - expected) > 1e-4 * np.abs(expected).max()
    assert wrong.mean() < 2e-3


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@needs_engine
@pytest.mark.slow  # all of them
@pytest.mark.parametrize(
    ("name", "index"),
    [(name, index) for name in EXAMPLES if name not in INTEGER for index in range(len(EXAMPLES[name]))],
)
def test_operators(name: str, index: int) -> None:
    graph = graph_of(*chain(EXAMPLES[name][index]))
    images = torch.randn(2, 4, 6, 6)
    if name == REFUSED:
        with pytest.raises(BitfaceError, match="net: executorch can't load it: "):
            run(graph, images)
        return
    expected = computed(graph, images)
    np.testing.assert_allclose(run(graph, images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@needs_engine
@pytest.mark.parametrize("module", [Mixed, PreActivation])
@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w8a6", "w2a4"])
def test_it_computes_its_simulation(module: type[nn.Module], bits: str) -> None:
    net, images = student(module(), 16 if module is Mixed else 8, bits)
    expected = start("torch", dataclasses.replace(net, graph=simulate(net.graph)))(images)
    rows = start("executorch", net, Settings(batch=4, threads=1))(images)
    assert cosines(rows, expected).min() > 0.9999
    assert cosines(rows, start("torch", net)(images)).min() > (0.995 if bits.endswith("a8") else 0.9)


@needs_engine
@pytest.mark.parametrize(
    "layers",
    [
        [conv(8, 8, groups=8), nn.ReLU(), rounded(signed=False)],
        [conv(8, 16, groups=8), ops.Clip(0, 2), rounded(0.02, 0, 7, signed=False)],
        [conv(8, 8, 1, stride=(2, 1)), ops.Clip(-1, ops.UNBOUNDED), rounded(zero_point=-20)],
        [conv(8, 6, dilation=(2, 2), groups=2), rounded(0.4, 3, 4, signed=False)],
        [conv(8, 8), nn.ReLU(), rounded(0.3, 0, 4), conv(8, 8, input_scale=0.3), rounded()],
        [conv(8, 8), nn.MaxPool2d(2), nn.Hardswish(), rounded()],
    ],
    ids=str,
)
def test_layers_of_integers(layers: list[nn.Module]) -> None:
    builder = Builder((8, 8, 8))
    node = builder.input
    for index, module in enumerate([rounded(), *layers]):
        node = builder.add(f"part.{index}", module, node)
    compare(builder.finish(node))


@needs_engine
def test_operators_between_integers_of_different_scales() -> None:
    """XNNPACK has integer concatenations and pools of one scale alone, and doesn't look."""
    for operator in (ops.Add(), ops.Sub(), ops.Mul(), ops.Concat(1)):
        builder = Builder((8, 8, 8))
        image = builder.add("image_rounded", rounded(), builder.input)
        parts = [
            builder.add(f"part{index}", rounded(scale, zero_point), builder.add(f"conv{index}", conv(8, 8), image))
            for index, (scale, zero_point) in enumerate([(0.02, 10), (0.07, -3)])
        ]
        both = builder.add("both", operator, *parts)
        compare(builder.finish(builder.add("last", rounded(0.11, 5), both)))


@needs_engine
def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    from executorch.runtime import Runtime

    net, images = student(Mixed(), 16, "w8a8")
    write("executorch", net, {"bitface.preprocess": "größer"}, tmp_path / "net.pte")
    program = Runtime.get().load_program(tmp_path / "net.pte")
    method = program.load_method(FACTS)
    assert method is not None
    assert json.loads(method.execute([])[0]) == {"bitface.preprocess": "größer"}
    rows = start("executorch", tmp_path / "net.pte", Settings(threads=1))(images)
    np.testing.assert_array_equal(rows, start("executorch", net, Settings(threads=1))(images))


@needs_engine
def test_threads_and_forks(tmp_path: Path) -> None:
    """Of runs with different numbers of threads, called from several threads and in a forked process."""
    net, images = student(Mixed(), 16, "w8a8")
    write("executorch", net, {}, tmp_path / "net.pte")
    runs = [start("executorch", tmp_path / "net.pte", Settings(threads=count)) for count in (1, 2, 1)]
    expected = runs[0](images)
    wrong: list[int] = []

    def several(place: int) -> None:
        for index in range(20):
            if (runs[(place + index) % 3](images[index % 4][None]) != expected[index % 4]).any():
                wrong.append(index)

    threads = [threading.Thread(target=several, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    child = os.fork()
    if child == 0:
        os._exit(int((runs[1](images) != expected).any()))
    for thread in threads:
        thread.join()
    assert not wrong
    assert os.waitpid(child, 0)[1] == 0


@needs_engine
def test_what_the_engine_refuses(tmp_path: Path) -> None:
    (tmp_path / "net.pte").write_bytes(b"no network")
    with pytest.raises(BitfaceError, match=r"net.pte: executorch can't load it: ") as caught:
        start("executorch", tmp_path / "net.pte")
    assert "\n" not in str(caught.value)


@needs_engine
@pytest.mark.slow
def test_its_noise_stays_its_own() -> None:
    program = (
        "from test_executorch import *; net, images = student(Mixed(), 16, 'w8a8'); "
        "start('executorch', net, Settings(threads=1))(images)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitface.targets.executorch.find_spec", lambda name: None)
    net, _ = student(Mixed(), 16, "w8a8")
    with pytest.raises(BitfaceError, match=r"^ExecuTorch isn't installed: pip install 'bitface\[executorch\]'"):
        emit(net, {}, tmp_path / "net.pte")

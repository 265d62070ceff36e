"""The C of a network, held bit for bit against the arithmetic that is written down (`support.c_oracle`)."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network, ops
from bitface.preprocess import Preprocess, parse
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets import TARGETS, Settings
from bitface.targets.c.emit import c_source, emit
from bitface.targets.c.engine import FLAGS, Compiled
from bitface.targets.c.memory import Buffer, place
from bitface.targets.start import start, substitute
from bitface.targets.write import write
from support.c_oracle import run as oracle
from support.integers import NETWORKS, Integers, everything, images, mixed_floats, prelu
from support.quantized import Mixed, PreActivation, faces, network

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
KERNELS = [0, 1, 2, 3]
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]


def assert_same_bits(rows: np.ndarray, others: np.ndarray) -> None:
    np.testing.assert_array_equal(rows.view(np.int32), others.view(np.int32))


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("level", ["-O0", "-O3"])
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kernel_gives_the_same_bits(
    name: str, kernels: int, level: str, compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strictly compiled, and where the compiler may fuse multiplications and additions."""
    monkeypatch.setenv("CC", compiler)
    net = NETWORKS[name]()
    text, x = c_source(net), images(net)
    flags = [flag for flag in FLAGS if not flag.startswith("-O") and flag != "-ffp-contract=off"]
    strict = Compiled(text.code, text.header, (*flags, *STRICT, level, f"-DFACE_NET_KERNELS={kernels}"))
    assert_same_bits(strict(x), oracle(net.graph, x))


@pytest.mark.skipif("fma" not in Path("/proc/cpuinfo").read_text(), reason="a CPU without fused operations")
def test_no_operations_are_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = mixed_floats()
    text, x = c_source(net), images(net)
    fusing = ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast", *FLAGS[2:4], FLAGS[-1])
    for kernels in (0, 3):
        run = Compiled(text.code, text.header, (*fusing, f"-DFACE_NET_KERNELS={kernels}"))
        assert_same_bits(run(x), oracle(net.graph, x))


@pytest.mark.parametrize("bits", ["w8a8", "w6a6", "w4a8", "w4a4"])
def test_quantized_networks(bits: str) -> None:
    for module, size in ((Mixed(), 16), (PreActivation(), 8)):
        net = network(module, size)
        plan = BitPlan.parse(bits)
        student = quantize(net, faces(8, size), plan, Calibration("minmax", bias_correction=False))[0]
        x = images(student)
        rows = start("c", student)(x)
        assert_same_bits(rows, oracle(student.graph, x))
        assert_same_bits(rows, start("torch", student)(x))


@pytest.mark.parametrize("word", ["rgb-127.5-128", "bgr-104,117,123-1.7", "grey-0-255"])
def test_the_folder_is_a_program(word: str, tmp_path: Path) -> None:
    """Built as its guide says, it computes what the engine computes of preprocessed images, on any name."""
    net = Integers(1 if word.startswith("grey") else 3, 10, 7)
    x = net.rounded(net.builder.input, 0.5)
    flat = net.add(ops.Reshape((5 * 10 * 7,)), net.rounded(net.layer(x, 5, (3, 3), padding=(1, 1))))
    preprocess: Preprocess = parse(word, (10, 7))
    written = Network(net.builder.finish(net.layer(flat, 6)), "net", preprocess)
    emit(written, {"bitface.name": "lock_net"}, tmp_path)
    command = ["cc", *STRICT, "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "example.c"]
    subprocess.run([*command, "lock_net.c", "-lm", "-o", "example"], cwd=tmp_path, check=True)
    crops = np.random.default_rng(0).integers(0, 256, (2, 10, 7, 3), dtype=np.uint8)
    for crop in crops:
        (tmp_path / "crop").write_bytes(crop.tobytes())
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
        output = subprocess.run(["./example", "crop"], cwd=tmp_path, check=True, capture_output=True, env=environment)
        rows = np.array([output.stdout.split()], np.float64).astype(np.float32)
        assert_same_bits(rows, oracle(written.graph, preprocess(crop[None])))


@pytest.mark.slow
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", ["everything", "wide"])
def test_sanitizers_find_nothing(name: str, kernels: int, tmp_path: Path) -> None:
    net = NETWORKS[name]()
    emit(net, {}, tmp_path)
    command = ["cc", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "example.c"]
    complete = [*command, f"-DFACE_NET_KERNELS={kernels}", "face_net.c", "-lm", "-o", "example"]
    subprocess.run(complete, cwd=tmp_path, check=True)
    (tmp_path / "crop").write_bytes(bytes(range(256))[: net.size.height * net.size.width] * 3)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    subprocess.run(["./example", "crop"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, env=environment)


def test_lists_keep_their_order() -> None:
    """Maps lie with their channels last, the lists that they become too, until something reads them otherwise."""
    net = Integers(3, 4, 5)
    x = net.layer(net.rounded(net.builder.input), 6, (3, 3))
    flat = net.listed(net.add(prelu(6), x))
    y = net.add(ops.Reshape((36, 1, 1)), net.add(ops.Mul(), flat, net.add(nn.Hardswish(), flat)))
    z = net.add(ops.ReduceMean((2, 3), False), y)
    whole = net.network(net.add(ops.Concat(1), z, net.add(ops.Reshape((36,)), y)))
    assert_same_bits(start("c", whole)(images(whole)), oracle(whole.graph, images(whole)))
    mixed = Integers(3, 4, 5)
    x = mixed.layer(mixed.rounded(mixed.builder.input), 6, (3, 3))
    linear = mixed.add(nn.Linear(36, 36), mixed.listed(x))
    joined = mixed.network(mixed.add(ops.Add(), mixed.listed(x), linear))
    with pytest.raises(BitfaceError, match=r"joins \[36\] to \[36\]"):
        c_source(joined)


def test_threads_have_a_scratch_of_their_own() -> None:
    net = everything()
    run, x = start("c", net, Settings(threads=1)), images(net, 40)
    expected = run(x)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(lambda _: run(x), range(20)):
            assert_same_bits(rows, expected)


@pytest.mark.parametrize("count", [1, 3, 8, 11])
def test_threads_share_the_images_of_a_call(count: int) -> None:
    net = everything()
    one, many, x = start("c", net, Settings(threads=1)), start("c", net, Settings(threads=8)), images(net, count)
    expected = one(x)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(lambda _: many(x), range(20)):
            assert_same_bits(rows, expected)


def test_integers_of_the_largest_sums() -> None:
    """A bias that leaves no room for the products is limited, as the arithmetic says."""
    net = Integers()
    sums = net.layer(net.rounded(net.builder.input, 0.001), 4, (1, 1))
    graph = net.builder.finish(net.add(ops.Reshape((4,)), net.add(ops.ReduceMean((2, 3)), sums)))
    layer: Any = graph.get_submodule(str(sums.target))
    layer.bias.copy_(torch.tensor([2**31 - 1, -(2**31), 5, 0]))
    whole = Network(graph, "net")
    assert_same_bits(start("c", whole)(images(whole)), oracle(graph, images(whole)))


def test_memory_is_shared() -> None:
    buffers = [Buffer(100, 0, 1), Buffer(300, 1, 2), Buffer(50, 2, 3), Buffer(200, 3, 4)]
    assert place(buffers) == 448
    for one in buffers:
        for other in buffers:
            if one is not other and one.first <= other.last and other.first <= one.last:
                assert one.end <= other.offset or other.end <= one.offset
    assert all(one.offset % 64 == 0 for one in buffers)


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Integers()
    softmax = net.network(net.add(ops.Reshape((297,)), net.add(nn.Softmax(1), net.builder.input)))
    with pytest.raises(BitfaceError, match="'n0' is a Softmax, which there is no C for; export for another"):
        write("c", softmax, {}, tmp_path / "net")
    net = Integers(2)
    unknown = net.network(net.add(ops.Reshape((198,)), net.builder.input))
    with pytest.raises(BitfaceError, match="preprocessing isn't known"):
        write("c", unknown, {}, tmp_path / "net")
    with pytest.raises(UsageError, match="'2nets' is no name for a C function"):
        write("c", everything(), {"bitface.name": "2nets"}, tmp_path / "net")
    with pytest.raises(UsageError, match="'example' is the name of another file"):
        write("c", everything(), {"bitface.name": "example"}, tmp_path / "net")
    with pytest.raises(UsageError, match="'bitface' is the name of another file"):
        write("c", everything(), {"bitface.name": "bitface"}, tmp_path / "net")
    with pytest.raises(BitfaceError, match="is no folder with the C of a network"):
        start("c", tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(BitfaceError, match="the C compiler no-such-compiler doesn't make it"):
        start("c", unknown)


def test_its_import_is_light() -> None:
    assert TARGETS["c"].emit
    program = "import sys; from bitface.targets.registry import DEFAULTS; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})


@pytest.mark.slow
def test_ten_thousand_images() -> None:
    net = everything()
    text, x = c_source(net), images(net, 10_000)
    expected = np.concatenate([oracle(net.graph, part) for part in np.array_split(x, 20)])
    for kernels in KERNELS:
        run = Compiled(text.code, text.header, (*FLAGS, f"-DFACE_NET_KERNELS={kernels}"))
        assert_same_bits(run(x), expected)


def test_without_a_compiler_the_simulation_computes_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(Mixed(), 16)
    student = quantize(net, faces(8, 16), BitPlan(), Calibration("minmax", bias_correction=False))[0]
    assert net.preprocess is not None
    image = net.preprocess(faces(1, 16))
    expected = start("torch", student)(image)
    monkeypatch.setattr("bitface.targets.c.c_compiler", lambda: None)
    np.testing.assert_array_equal(start("c", student)(image), expected)
    assert substitute("c", lambda: student) == [
        "C doesn't run here: its simulation in torch computed; the engine itself runs after installing what C needs"
    ]

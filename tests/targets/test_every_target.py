"""What every target keeps to, whichever there are."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network, passes
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets import DEFAULTS, TARGETS, Settings, Target, runs_here, title_of, written
from bitface.targets.exact import FITTING_BITS, exact
from bitface.targets.registry import emitted, every, listed, started
from bitface.targets.start import start
from bitface.targets.write import GUIDE, write
from support.quantized import Mixed, faces, network

SEVEN = BitPlan.from_json({"bits": "w7a8", "first": "w7a8", "last": "w7a8"})
# Results of bitface 0.1.0 don't say their engine.
OLD_RESULTS = 'engine: str = "openvino"'
DOCS = Path(__file__).parents[2] / "docs" / "targets.md"


@pytest.fixture(scope="module")
def net() -> Network:
    return network(Mixed(), 16)


@pytest.fixture(scope="module")
def student(net: Network) -> Network:
    return quantize(net, faces(16, 16), SEVEN, Calibration("minmax", bias_correction=False))[0]


def inputs(net: Network, count: int = 6) -> np.ndarray:
    assert net.preprocess is not None
    return net.preprocess(faces(count, 16, seed=1))


def simulated(net: Network) -> np.ndarray:
    return start("torch", net)(inputs(net))


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)


@pytest.mark.parametrize("name", list(TARGETS))
class TestEveryTarget:
    def test_it_says_what_it_is(self, name: str) -> None:
        target = TARGETS[name]
        assert isinstance(target, Target)
        assert target.title == title_of(name)
        assert target.emit or target.start, "neither written nor run"
        assert target.precisions[0] == "f32"
        assert target.suffix == "" or target.suffix.startswith(".")

    def test_its_page(self, name: str) -> None:
        text, target = DOCS.read_text(encoding="utf-8"), TARGETS[name]
        table = text[text.index("\n| | ") :].split("\n\n")[0]
        column = [row.split("|")[1:-1] for row in table.splitlines() if row.startswith("| ")]
        place = next(index for index, cell in enumerate(column[0]) if cell.strip() == f"`{name}`")
        facts = {row[0].strip(): row[place].strip() for row in column if len(row) == len(column[0])}
        assert facts["title"] == target.title
        assert facts["runs here"] == ("yes" if target.start else "no")
        bits = f"{target.holds.weight_bits}, {target.holds.activation_bits} bits"
        assert facts["widest weights, activations"] == bits
        assert facts["precisions of the rest"] == ", ".join(target.precisions)
        assert facts["PReLU"] == target.holds.prelu
        operators = ", ".join(sorted(target.holds.operators))
        assert facts["computed in integers"].startswith(operators or "none")
        assert target.rounds is None or f"- `{name}`: {target.rounds}" in text

    def test_it_computes_the_simulation(self, name: str, student: Network) -> None:
        if not runs_here(name):
            pytest.skip("it doesn't run here")
        rows = start(name, student, Settings(batch=len(inputs(student)), threads=1))(inputs(student))
        assert rows.dtype == np.float32
        assert cosines(rows, simulated(student)).min() > 0.995
        assert exact(name, FITTING_BITS)

    def test_it_computes_a_float_network(self, name: str, net: Network) -> None:
        if not runs_here(name):
            pytest.skip("it doesn't run here")
        expected = simulated(net)
        folded = dataclasses.replace(net, graph=passes.fold(net.graph))
        for one in (net, folded):
            rows = start(name, one, Settings(batch=len(expected), threads=1))(inputs(net))
            np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

    def test_what_it_writes_runs(self, name: str, student: Network, tmp_path: Path) -> None:
        target = TARGETS[name]
        if not target.emit:
            with pytest.raises(UsageError, match=f"'{name}' isn't written as a file; use one of .*openvino"):
                emitted(name)
            return
        if name == "executorch" and not runs_here(name):
            pytest.skip("only its package writes it")
        path = tmp_path / f"model.{name}{target.suffix}"
        size = write(name, student, {"bitface.profile": name}, path)
        assert path.is_file() == bool(target.suffix)
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file() and one.name != GUIDE]
        assert size == sum(file.stat().st_size for file in files) > 0
        assert list(tmp_path.iterdir()) == [path]
        if not target.start:
            return
        settings = Settings(batch=len(inputs(student)), threads=1)
        first, second = (start(name, source, settings)(inputs(student)) for source in (student, path))
        np.testing.assert_array_equal(first, second)


def test_the_default_ones_are_known_and_run_here() -> None:
    assert all(map(runs_here, DEFAULTS))
    assert written() == ("openvino", "onnxruntime")
    assert set(DEFAULTS) <= set(every())


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="unknown engine 'openvno'; did you mean 'openvino'"):
        started("openvno")
    with pytest.raises(UsageError, match="unknown target 'onnxrntime'; did you mean 'onnxruntime'"):
        listed("openvino,onnxrntime")
    assert listed("onnxruntime, openvino,onnxruntime") == ("onnxruntime", "openvino")
    assert listed(None) == written()
    # Of a file from elsewhere.
    assert not runs_here("abacus")
    assert title_of("abacus") == "abacus"


def test_no_room_knows_their_names() -> None:
    source = Path(__file__).parents[2] / "src" / "bitface"
    named = [
        f"{file.relative_to(source)}: {line.strip()}"
        for file in source.rglob("*.py")
        if file.parent.name != "targets"
        for line in file.read_text(encoding="utf-8").splitlines()
        if any(f'"{name}"' in line for name in written()) and line.strip() != OLD_RESULTS
    ]
    assert not named


def test_what_an_engine_refuses_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no network")
    for name in written():
        with pytest.raises(BitfaceError, match=f"model.onnx: {name} can't load it: ") as caught:
            start(name, tmp_path / "model.onnx")
        assert "\n" not in str(caught.value)


def test_their_names_alone_import_nothing_heavy() -> None:
    program = (
        "import sys; from bitface.targets.registry import DEFAULTS; "
        "assert not {'torch', 'numpy', 'onnx', 'openvino', 'onnxruntime'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)

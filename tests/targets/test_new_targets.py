"""Targets unlike those of today: of several files, of one batch, that hold less, that don't run here."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitface.data.face_source import FaceSource
from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network
from bitface.graph.onnx_form import OnnxForm
from bitface.graph.store import dump
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.jobs.export import export_model
from bitface.quant import BitPlan, Calibration, quantize
from bitface.results.folder import check_files
from bitface.runtime import Model
from bitface.runtime.bench import bench
from bitface.targets import TARGETS, Holds, Run, Settings, Target
from bitface.targets.exact import exact
from bitface.targets.onnx_file import emitter
from bitface.targets.start import start
from bitface.targets.write import write
from support.quantized import Mixed, faces, network, onnx_file

Register = Callable[[str, Target], None]
QUICK = Calibration("minmax", bias_correction=False)


def emit(network: Network, facts: Mapping[str, str], path: Path) -> None:
    """A format of two files: the graph as words, and the numbers."""
    description, tensors = dump(network.graph)
    (path / "graph.json").write_text(json.dumps({"graph": description, **facts}))
    arrays: dict[str, Any] = {name: value.numpy() for name, value in tensors.items()}
    np.savez(path / "numbers.npz", **arrays)


def simulate(source: Network | Path, settings: Settings) -> Run:
    return TARGETS["torch"].start(source, settings)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Register]:
    """Adds a target for a test."""
    assert "torch" in TARGETS  # ours come first

    def add(name: str, target: Target) -> None:
        monkeypatch.setitem(TARGETS._things, name, target)

    yield add
    exact.cache_clear()


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    for index, image in enumerate(faces(12, 16)):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def student(bits: str, **keys: object) -> Network:
    plan = BitPlan.from_json({"bits": bits, **keys})
    return quantize(network(Mixed(), 16), faces(16, 16), plan, QUICK)[0]


def test_a_format_of_several_files_that_does_not_run_here(register: Register, crops: Path, tmp_path: Path) -> None:
    register("folder", Target(title="Folder", emit=emit))
    out = tmp_path / "out"
    request = QuantizeRequest(
        onnx_file(Mixed(), 16, tmp_path / "net.onnx"), FaceSource([crops]), out, preprocess="rgb-127.5-127.5",
        targets=("folder", "onnxruntime"), force=True,
    )  # fmt: skip
    for _ in range(2):  # a folder of an earlier result is replaced
        result = quantize_model(request)
        assert list(result["bytes"]) == ["model.bitface", "model.folder", "model.onnxruntime.onnx"]
        files = {file.name: file.stat().st_size for file in (out / "model.folder").iterdir()}
        assert set(files) == {"graph.json", "numbers.npz", "README.md"}
        assert result["bytes"]["model.folder"] == files["graph.json"] + files["numbers.npz"]
        assert "folder" not in result["agreement"]
        assert result["engine"] in result["agreement"]
    check_files(out / "result.json", result)
    assert json.loads((out / "model.folder" / "graph.json").read_text())["bitface.profile"] == "folder"

    (out / "model.folder" / "graph.json").write_text("{}")
    with pytest.raises(BitfaceError, match=r"model\.folder beside it isn't the file"):
        check_files(out / "result.json", result)
    with pytest.raises(BitfaceError, match="can't be written"):  # somebody put something into it
        quantize_model(request)
    assert (out / "model.folder" / "graph.json").read_text() == "{}"

    made = export_model(out / "model.bitface", tmp_path / "exported", "folder")
    assert made["bytes"] == files["graph.json"] + files["numbers.npz"]
    with pytest.raises(BitfaceError, match="is there already, and folder is written as a folder"):
        export_model(out / "model.bitface", tmp_path / "exported", "folder")
    with pytest.raises(UsageError, match="'folder' doesn't run here"):
        start("folder", student("w8a8"))


def test_what_fails_to_be_written_leaves_nothing(register: Register, tmp_path: Path) -> None:
    def broken(network: Network, facts: Mapping[str, str], path: Path) -> None:
        (path / "half" if path.is_dir() else path).write_bytes(b"half")
        raise BitfaceError("no more")

    for suffix in ("", ".x"):
        register("broken", Target(title="Broken", emit=broken, suffix=suffix))
        with pytest.raises(BitfaceError, match="no more"):
            write("broken", student("w8a8"), {}, tmp_path / "broken")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("holds", "plan", "message"),
    [
        (Holds(signed=False), {}, "gives signed integers"),
        (Holds(zero_points=False), {"activations": "asymmetric"}, "has a zero point"),
        (Holds(unsigned=False, zero_points=False), {"activations": "asymmetric"}, "gives unsigned integers"),
        (Holds(fewer_bits=False), {"bits": "w4a4"}, "rounds to 4 bits, it has activations of 8 alone"),
        (Holds(weight_zero_points=False), {"weights": {"symmetric": False}}, "weights with zero points"),
        (Holds(weight_bits=4), {}, "weights of 8 bits, the widest are 4"),
        (Holds(activation_bits=4), {}, "rounds to 8 bits, the widest are 4"),
    ],
)
def test_what_a_target_cannot_hold_is_refused(
    register: Register, tmp_path: Path, holds: Holds, plan: dict[str, Any], message: str
) -> None:
    register("less", Target(title="Less", holds=holds, emit=emit, start=simulate))
    integer = student(**{"bits": "w8a8", **plan})
    with pytest.raises(BitfaceError, match=f"can't be written for Less: '.*{message}"):
        write("less", integer, {}, tmp_path / "less")
    with pytest.raises(BitfaceError, match=f"less can't run it: '.*{message}"):
        start("less", integer)
    write("less", network(Mixed(), 16), {}, tmp_path / "float")  # which has no integers


def test_the_trial_is_of_what_a_target_holds(register: Register) -> None:
    for holds in (Holds(unsigned=False), Holds(signed=False), Holds()):
        exact.cache_clear()
        register("less", Target(title="Less", holds=holds, start=simulate))
        assert exact("less", 8)


def test_a_file_of_one_batch(register: Register) -> None:
    register("one", Target(title="One", start=simulate, fixed_batch=1))
    integer = student("w8a8")
    start("one", integer, Settings(batch=1))
    with pytest.raises(BitfaceError, match="one runs 1 at once, not 8"):
        start("one", integer, Settings(batch=8))


def test_a_file_is_measured_on_its_own_target(register: Register, tmp_path: Path) -> None:
    register("one", Target(title="One", suffix=".onnx", emit=emitter(OnnxForm()), start=simulate))
    net, integer = network(Mixed(), 16), student("w8a8")
    path = tmp_path / "model.onnx"
    Model(tmp_path / "model.bitface", "artifact", integer).export("one", path)
    models = [Model(Path("net.onnx"), "float", net), Model(path, "exported", integer, "one")]
    result = bench(models, rounds=1, seconds=0.01)
    assert [row.engine for row in result.rows if row.model == "model.onnx"] == ["one"]
    with pytest.raises(UsageError, match=r"bench needs models, engines of .*openvino.*, and"):
        bench(models, engines=["torch"])

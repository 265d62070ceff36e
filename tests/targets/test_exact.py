"""Sums that don't fit into the 16 bits of x86 CPUs without VNNI: which engines are exact, and which one runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bitface.artifact import Artifact
from bitface.artifact import write as write_artifact
from bitface.errors import BitfaceError
from bitface.graph import Network, from_module
from bitface.quant import BitPlan, quantize
from bitface.runtime import Embedder, Model, load
from bitface.runtime.exact import default_engine, inexact, passed_over, trusted
from bitface.runtime.model import open_model
from bitface.targets import DEFAULTS
from bitface.targets.exact import exact

SIDE = 16
SEVEN = {"bits": "w7a8", "first": "w7a8", "last": "w7a8"}


class Bright(nn.Module):
    """Every weight is the largest there is, so that bright images give the largest sums there are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16 * (SIDE // 2) ** 2, 8)
        nn.init.constant_(self.stem.weight, 0.1)
        nn.init.constant_(self.fc.weight, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.flatten(torch.relu(self.stem(x)), 1))


def faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(200, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def net() -> Network:
    return from_module(Bright(), "rgb-127.5-127.5", "bright", (SIDE, SIDE))


def made(plan: BitPlan) -> Model:
    student, _ = quantize(net(), faces(8), plan)
    return Model(Path("bright.bitface"), "artifact", student, details=Artifact(student, plan.to_json(), {"name": "b"}))


def off(model: Model, engine: str | None) -> float:
    """The largest difference to the simulation, as a share of the largest number."""
    simulated = Embedder(model, "torch").embed(faces(4))
    embedder = Embedder(model) if engine is None else Embedder(model, engine)
    return float(np.abs(embedder.embed(faces(4)) - simulated).max() / np.abs(simulated).max())


@pytest.mark.parametrize(
    ("plan", "engine"),
    [("w8a8", "onnxruntime"), ("w8a8", None), ("w7a8", "onnxruntime"), ("w7a8", "openvino"), ("w7a8", None)],
)
def test_the_largest_sums_are_exact(plan: str, engine: str | None) -> None:
    model = made(BitPlan.parse("w8a8") if plan == "w8a8" else BitPlan.from_json(SEVEN))
    assert off(model, engine) <= 0.02


def test_the_trial_says_what_a_network_shows() -> None:
    for engine in ("openvino", "onnxruntime"):
        assert exact(engine, 7)
        for model in (made(BitPlan.parse("w8a8")), made(BitPlan.parse("w4a8"))):  # whose edges have 8 bits
            assert (off(model, engine) <= 0.02) == exact(engine, 8) == (inexact(model, engine) is None)


def test_a_float_network_and_the_simulation_are_exact_everywhere() -> None:
    model = Model(Path("bright.onnx"), "float", net())
    assert [inexact(model, engine) for engine in DEFAULTS] == [None] * 3
    assert default_engine(model) == "openvino"
    assert inexact(made(BitPlan.parse("w8a8")), "torch") is None


def without_vnni(program: str, *arguments: Path) -> dict[str, Any]:
    """What a program prints as JSON where OpenVINO takes the CPU for one without VNNI, and there is no C compiler."""
    alone = {"PATH": "", "BITFACE_CACHE": str(arguments[0].parent / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment = {**os.environ, **alone, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_openvino_is_passed_over_where_it_saturates(tmp_path: Path) -> None:
    """Also on CPUs that have VNNI: its own switch makes OpenVINO do without."""
    details = made(BitPlan.parse("w8a8")).details
    assert details is not None
    write_artifact(tmp_path / "model.bitface", details)
    open_model(tmp_path / "model.bitface").export("openvino", tmp_path / "model.openvino.onnx")
    told = without_vnni(
        "import json, sys; from pathlib import Path\n"
        "from bitface.runtime import Embedder, open_model, load\n"
        "from bitface.runtime.exact import *\n"
        "from bitface.targets.exact import exact\n"
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always'); load(sys.argv[2])\n"
        "model, exported = (open_model(Path(path)) for path in sys.argv[1:])\n"
        "print(json.dumps({'exact': exact('openvino', 8), 'seven': exact('openvino', 7), "
        "'load': load(sys.argv[1]).engine,"
        "'trusted': trusted(model, 'openvino'), 'why': inexact(model, 'openvino'), "
        "'warned': [str(one.message) for one in caught], 'exported': Embedder(exported).engine,"
        "'file': inexact(exported, 'openvino'), 'note': passed_over(model, 'onnxruntime')}))",
        tmp_path / "model.bitface",
        tmp_path / "model.openvino.onnx",
    )
    if told["exact"]:
        pytest.skip("OpenVINO is exact on this CPU whatever it may use")
    assert (told["seven"], told["load"], told["trusted"]) == (True, "onnxruntime", "onnxruntime")
    assert "use onnxruntime, or make the model with bits='w7a8' first='w7a8' last='w7a8'" in told["why"]
    # Whoever names the file names the engine, and is warned.
    assert told["exported"] == "openvino"
    assert "saturate" in told["file"]
    assert sum("saturate" in text for text in told["warned"]) == 1
    assert "OpenVINO is faster" in told["note"]


@pytest.mark.parametrize(("smallest", "bits"), [(-64, 7), (-65, 8), (-8, 4)])
def test_the_bits_of_an_exported_file_are_those_of_its_weights(tmp_path: Path, smallest: int, bits: int) -> None:
    model = made(BitPlan.from_json({"bits": "w4a8", "first": "w4a8", "last": "w4a8"}))
    assert model.details is not None
    assert model.weight_bits == 4
    model.export("openvino", tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1:
            values = onnx.numpy_helper.to_array(tensor).copy()
            values.flat[0] = smallest
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
            break
    onnx.save(proto, tmp_path / "model.onnx")
    assert open_model(tmp_path / "model.onnx").weight_bits == bits


def test_what_was_made_on_an_engine_is_used_on_it() -> None:
    model = made(BitPlan.from_json(SEVEN))
    assert [trusted(model, engine) for engine in DEFAULTS] == list(DEFAULTS)
    assert trusted(model, None) == trusted(model, default_engine(model)) == default_engine(model)
    assert passed_over(model, default_engine(model)) is None


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    details = made(BitPlan.from_json(SEVEN)).details
    assert details is not None
    write_artifact(tmp_path / "model.bitface", details)
    with pytest.raises(BitfaceError, match="unknown engine 'abacus'"):
        load(tmp_path / "model.bitface", "abacus")

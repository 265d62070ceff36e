"""Networks that are quantized already, where a float network is wanted: ours are refused, others' said."""

import json
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitface.errors import BitfaceError
from bitface.graph import load_network
from bitface.jobs import prune
from bitface.runtime import open_float

from .test_bad_input import ends_in_one_line

Run = Callable[..., tuple[int, str, str]]
FILES = ("model.bitface", "model.openvino.onnx", "model.onnxruntime.onnx")
PREPROCESS = ("--preprocess", "rgb-127.5-128")


def foreign(path: Path, weights_only: bool = False) -> Path:
    """What another program's quantization leaves: pairs around a convolution, or integer weights alone."""
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "w": rng.integers(-127, 128, (16, 3, 7, 7), np.int8), "ws": np.full(16, 2e-3, np.float32),
        "wz": np.zeros(16, np.int8), "xs": np.float32(1.0), "xz": np.uint8(0),
        "fc": rng.normal(0, 0.1, (32, 16 * 16)).astype(np.float32),
    }  # fmt: skip
    nodes = [] if weights_only else [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
    ]  # fmt: skip
    nodes += [
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["x" if weights_only else "xd", "wd"], ["c"], strides=[28, 28]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "fc"], ["y"], transB=1),
    ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 32])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items() if name in used],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "command",
    [
        ("quantize", "MODEL", "--images", "CROPS"),
        ("quantize", "MODEL", "--images", "CROPS", "--method", "qat"),
        ("run", "best-w8a8", "MODEL", "--images", "CROPS"),
        ("prune", "MODEL", "--ratio", "0.2", "--images", "CROPS"),
        ("distill", "MODEL", "--student", "mobilefacenet:0.25", "--images", "CROPS"),
        ("sensitivity", "MODEL", "--images", "CROPS"),
        ("search", "MODEL", "--images", "CROPS", "--budget", "400KB"),
        ("synth", "none:4", "--model", "MODEL"),
        ("analyse", "MODEL", "MODEL", "--images", "CROPS"),
    ],
    ids=lambda command: " ".join(word for word in command[:1] + command[4:]),
)
def test_ours_are_refused(
    bitface: Run, quantized: Path, crops: Path, tmp_path: Path, command: tuple[str, ...], name: str
) -> None:
    places = {"MODEL": quantized / name, "CROPS": crops}
    outcome = bitface(*(places.get(word, word) for word in command), "--out", tmp_path / "out")
    ends_in_one_line(
        outcome, 1, f"{name}: is a network that bitface has quantized (made from 'net'); a float network is wanted here"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FILES)
def test_ours_are_no_teacher_of_a_calibration(bitface: Run, quantized: Path, crops: Path, name: str) -> None:
    before = (quantized / "model.bitface").read_bytes()
    command = ("calibrate", quantized / "model.bitface", "--images", crops, "--far", "0.05", "--teacher")
    ends_in_one_line(bitface(*command, quantized / name), 1, f"{name}: is a network that bitface has quantized")
    assert (quantized / "model.bitface").read_bytes() == before


@pytest.mark.parametrize("name", FILES)
def test_ours_are_not_compared_with_versions_of_themselves(
    bitface: Run, quantized: Path, crops: Path, pairs: Path, tmp_path: Path, name: str
) -> None:
    listed = tmp_path / "candidates.yaml"
    listed.write_text(
        f"model: {quantized / name}\nimages: {crops}\nprotocol: {{pairs: {pairs}, root: {crops}}}\n"
        "candidates: {w8: {quantize: {bits: w8a8}}}\n"
    )
    outcome = bitface("compare", listed, "--out", tmp_path / "out")
    ends_in_one_line(outcome, 1, f"{name}: is a network that bitface has quantized")
    assert not (tmp_path / "out").exists()


def test_an_exported_file_that_lost_what_it_says_of_itself_counts_as_anothers(quantized: Path, tmp_path: Path) -> None:
    model = onnx.load(quantized / "model.openvino.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "stripped.onnx")
    (warning,) = open_float(tmp_path / "stripped.onnx", "rgb-127.5-128").warnings
    assert "was quantized before (weights and activations, by " in warning


def test_a_teacher_that_cant_be_read_from_the_metadata_has_no_name(quantized: Path, tmp_path: Path) -> None:
    model = onnx.load(quantized / "model.openvino.onnx")
    for entry in model.metadata_props:
        if entry.key == "bitface.teacher":
            entry.value = "[damaged"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(BitfaceError, match="has quantized; a float network is wanted"):
        open_float(tmp_path / "odd.onnx")


@pytest.mark.parametrize(
    ("weights_only", "kind", "words"),
    [
        (
            False,
            "warning",
            "was quantized before (weights and activations, by 1 QuantizeLinear, 2 DequantizeLinear); agreement with "
            "it is agreement with its rounded numbers",
        ),
        (True, "note", "its weights are stored in integers (1 DequantizeLinear), and agreement is agreement with"),
    ],
)
def test_others_are_taken_with_a_word(
    bitface: Run, crops: Path, tmp_path: Path, weights_only: bool, kind: str, words: str
) -> None:
    """A warning where the float network is lost, a note where its weights alone were rounded."""
    path, out = foreign(tmp_path / "theirs.onnx", weights_only), tmp_path / "out"
    code, _, err = bitface("quantize", path, "--images", crops, *PREPROCESS, "--out", out)
    assert code == 0, err
    assert f"{kind}: {path}: {words}" in err
    result = json.loads((out / "result.json").read_text())
    assert any(text.startswith(f"{path}: {words}") for text in result[f"{kind}s"])
    assert words in unescape((out / "report.html").read_text())
    assert f"{kind}: {path}: {words}" in bitface("inspect", path)[2]


@pytest.mark.slow
def test_every_job_says_it(
    bitface: Run, quantized: Path, crops: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "RECOVERY", replace(prune.RECOVERY, batch=8))
    path, words = foreign(tmp_path / "theirs.onnx"), "theirs.onnx: was quantized before"
    commands: list[tuple[object, ...]] = [
        ("sensitivity", path, "--images", crops, "--bits", 8, "--held-out", 16, "--max-images", 16, "--out",
         tmp_path / "s"),
        ("prune", path, "--ratio", 0.3, "--round-to", 1, "--images", crops, "--epochs", 0.1, "--max-images", 30,
         "--out", tmp_path / "p"),
        ("synth", "none:4", "--model", path, "--out", tmp_path / "n"),
        ("evaluate", path, "--pairs", pairs, "--root", crops),
        ("calibrate", quantized / "model.bitface", "--images", crops, "--far", 0.05, "--teacher", path, "--out",
         tmp_path / "c.bitface"),
        ("analyse", path, quantized / "model.bitface", "--images", crops, "--out", tmp_path / "a"),
    ]  # fmt: skip
    for command in commands:
        code, _, err = bitface(*command, *PREPROCESS)
        assert code == 0, err
        assert words in err, command[0]
    assert words in json.loads((tmp_path / "s" / "sensitivity.json").read_text())["warnings"][0]
    assert words in json.loads((tmp_path / "p" / "result.json").read_text())["warnings"][0]


def test_a_float_network_has_no_warning(net: Path) -> None:
    assert load_network(net, "rgb-127.5-128").warnings == ()

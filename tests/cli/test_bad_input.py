"""Whatever is wrong with the input ends in one line, the right exit code, and nothing half-written."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bitface.artifact import read

from .conftest import Run


def ends_in_one_line(outcome: tuple[int, str, str], code: int, *words: str) -> None:
    assert outcome[0] == code, outcome
    lines = [line for line in outcome[2].splitlines() if line.strip()]
    assert "Traceback" not in outcome[2]
    for word in words:
        assert word in outcome[2], outcome[2]
    assert sum(line.startswith("error:") for line in lines) == 1 or code == 2


@pytest.mark.parametrize("bits", ["w9a8", "w0a4", "x", "", "w8", "w8a15", "plan.yaml"])
def test_unknown_bits(net: Path, crops: Path, tmp_path: Path, bitface: Run, bits: str) -> None:
    out = tmp_path / "out"
    outcome = bitface("quantize", net, "--images", crops, "--bits", bits, "--out", out)
    ends_in_one_line(outcome, 2, bits)
    assert not out.exists()


def model_file(path: Path, nodes: list[Any], weights: dict[str, Any], output: list[Any]) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def bad_models(folder: Path) -> dict[str, tuple[Path, str]]:
    """name → (file, a word of the message)"""
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    weight = np.ones((4, 3, 3, 3), np.float32)
    broken = weight.copy()
    broken[0] = np.nan
    flat = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["p"]),
            helper.make_node("Flatten", ["p"], ["y"])]  # fmt: skip
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("not a model")
    (folder / "net.txt").write_text("not a model")
    (folder / "bad.bitface").write_bytes(b"bitface")
    return {
        "missing": (folder / "none.onnx", "no such file"),
        "empty": (folder / "empty.onnx", "ONNX"),
        "text": (folder / "text.onnx", "ONNX"),
        "unknown kind": (folder / "net.txt", "unknown kind"),
        "folder": (folder, "no such file"),
        "no vector": (model_file(folder / "map.onnx", [conv], {"w": weight}, ["N", 4, 110, 110]), "no face network"),
        "NaN": (model_file(folder / "nan.onnx", flat, {"w": broken}, ["N", 4]), "NaN"),
        "operator": (
            model_file(folder / "op.onnx", [helper.make_node("Einsum", ["x"], ["y"], equation="nchw->nc", name="e1")],
                       {}, ["N", 3]), "Einsum"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["missing", "empty", "text", "unknown kind", "folder", "no vector", "NaN", "operator"])
def test_bad_models(crops: Path, tmp_path: Path, bitface: Run, name: str) -> None:
    path, word = bad_models(tmp_path)[name]
    out = tmp_path / "out"
    ends_in_one_line(bitface("quantize", path, "--images", crops, "--out", out), 1, word, path.name)
    assert not out.exists()
    ends_in_one_line(bitface("inspect", path), 1, word)


def test_a_broken_artifact(crops: Path, pairs: Path, tmp_path: Path, bitface: Run) -> None:
    path = tmp_path / "bad.bitface"
    path.write_bytes(b"bitface")
    for command in (("inspect", path), ("bench", path), ("evaluate", path, "--pairs", pairs, "--root", crops)):
        ends_in_one_line(bitface(*command), 1, "bad.bitface")


def test_a_folder_without_images(net: Path, tmp_path: Path, bitface: Run) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        out = tmp_path / "out"
        ends_in_one_line(bitface("quantize", net, "--images", folder, "--out", out), 1, folder.name)
        assert not out.exists()


def mixed_folder(folder: Path, crops: Path, good: int) -> Path:
    """Good crops beside every kind of bad one."""
    folder.mkdir()
    for index, path in enumerate(sorted(crops.rglob("*.png"))[:good]):
        (folder / f"good{index}.png").write_bytes(path.read_bytes())
    sample = Image.open(sorted(crops.rglob("*.png"))[0])
    sample.convert("CMYK").save(folder / "ok_cmyk.jpg")
    sample.convert("L").save(folder / "ok_grey.png")
    sample.convert("RGBA").save(folder / "ok_rgba.png")
    Image.fromarray(np.asarray(sample.convert("L")).astype(np.uint16) * 257).save(folder / "ok_16bit.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    sample.rotate(90).save(folder / "ok_rotated.jpg", exif=exif)
    (folder / "bad_empty.jpg").write_bytes(b"")
    (folder / "bad_text.png").write_text("hello")
    sample.convert("RGB").save(folder / "whole.jpg", quality=95)
    (folder / "bad_truncated.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    Image.new("RGB", (1, 1)).save(folder / "bad_tiny.png")
    Image.new("RGB", (300, 120)).save(folder / "bad_wide.png")
    return folder


def test_bad_images_are_counted_and_stop_the_run(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    folder = mixed_folder(tmp_path / "mixed", crops, 30)
    out = tmp_path / "out"
    arguments = ("quantize", net, "--images", folder, "--preprocess", "rgb-raw", "--out", out)
    ends_in_one_line(bitface(*arguments), 1, "--allow-skipped")
    assert not (out / "model.bitface").exists()
    code, _, err = bitface(*arguments, "--allow-skipped")
    assert code == 0, err
    lines = (out / "skipped.csv").read_text().splitlines()
    assert len(lines) == 6
    assert all("bad_" in line for line in lines[1:])
    assert read(out / "model.bitface").data["images"] > 20


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--method", "magic"), "magic"),
        (("--preprocess", "rgb"), "rgb"),
        (("--observer", "median"), "median"),
        (("--max-images", "0"), "max-images"),
        (("--image-list", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_wrong_options(
    net: Path, crops: Path, tmp_path: Path, bitface: Run, arguments: tuple[str, str], word: str
) -> None:
    out = tmp_path / "out"
    code, _, err = bitface("quantize", net, "--images", crops, "--out", out, *arguments)
    assert code in (1, 2)
    assert word in err
    assert "Traceback" not in err
    assert not out.exists()


def test_an_unwritable_place(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        outcome = bitface(
            "quantize", net, "--images", crops, "--preprocess", "rgb-raw", "--max-images", 8, "--out", out
        )
        ends_in_one_line(outcome, 1)


def test_a_preprocessing_that_contradicts_the_artifact(quantized: Path, pairs: Path, crops: Path, bitface: Run) -> None:
    outcome = bitface(
        "evaluate", quantized / "model.bitface", "--pairs", pairs, "--root", crops, "--preprocess", "bgr-raw"
    )
    ends_in_one_line(outcome, 1, "rgb-127.5-128")


def test_bad_pair_lists(quantized: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    for text in ("", "a,b\n", "a,b,same,fold\nx.png,y.png,1,0\n", "a,b,same,fold\n../x.png,p0/0.png,1,0\n"):
        (tmp_path / "pairs.csv").write_text(text)
        outcome = bitface("evaluate", quantized / "model.bitface", "--pairs", tmp_path / "pairs.csv", "--root", crops)
        ends_in_one_line(outcome, 1)


@pytest.mark.parametrize("far", ["x", "0", "2", "1e-3,"])
def test_bad_fars(quantized: Path, pairs: Path, crops: Path, bitface: Run, far: str) -> None:
    code, _, err = bitface("evaluate", quantized / "model.bitface", "--pairs", pairs, "--root", crops, "--far", far)
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 3000])
def test_names_that_no_file_can_have(bitface: Run, crops: Path, tmp_path: Path, name: str) -> None:
    for command in (("embed", name, "--model", name, "--out", tmp_path / "a.npz"), ("inspect", name),
                    ("embed", crops, "--model", name, "--out", name), ("evaluate", "--suite", name)):  # fmt: skip
        code, _, err = bitface(*command)
        assert code in (1, 2)
        assert "unexpected" not in err
        assert len([line for line in err.splitlines() if line.startswith("error:")]) == 1

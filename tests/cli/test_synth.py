"""Faces that are made, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bitface.analysis.variety import Variety
from bitface.data import distilled, sources
from bitface.jobs import judge

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small batches, few steps, and a cache of one's own."""
    monkeypatch.setattr(distilled, "BATCH", 12)
    monkeypatch.setattr(distilled, "STEPS", 2)
    monkeypatch.setattr(distilled, "_ALIKE", 1.1)  # two steps don't tell random networks' images apart
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("few")
def test_images_from_a_network_alone(bitface: Run, net: Path, tmp_path: Path) -> None:
    out = tmp_path / "images"
    arguments = ["synth", "none:20", "--model", net, "--preprocess", "rgb-127.5-128", "--out", out]
    code, said, _ = bitface(*arguments)
    assert code == 0
    assert "none (images distilled from the teacher): 20 kept" in said
    assert len(list(out.glob("*.png"))) == 20
    assert json.loads((out / "manifest.json").read_text())["seed"] == 0
    assert Image.open(tmp_path / "images.sheet.png").width > 1000
    code, _, err = bitface(*arguments)
    assert (code, err.count("\n")) == (1, 1)
    assert "isn't an empty folder" in err


@pytest.mark.usefixtures("few")
def test_quantize_without_a_face(bitface: Run, net: Path, tmp_path: Path) -> None:
    common = ["quantize", net, "--images", "none:24", "--preprocess", "rgb-127.5-128"]
    code, _, err = bitface(*common, "--out", tmp_path / "out")
    assert code == 0, err
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["faces"]["kind"] == sources.DISTILLED
    assert any("not on faces" in note for note in result["notes"])
    code, *_ = bitface("inspect", tmp_path / "out" / "model.bitface", "--json", tmp_path / "facts.json")
    data = json.loads((tmp_path / "facts.json").read_text())["data"]
    assert (code, data["kind"]) == (0, sources.DISTILLED)
    assert data["privacy"] == "no image and no name is stored"


def flat_generator(path: Path) -> Path:
    """Grey images, whatever the latents."""
    grey = numpy_helper.from_array(np.full((1, 3, 64, 64), 0.5, np.float32), "grey")
    nodes = [
        helper.make_node("ReduceMean", ["z0"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Reshape", ["mean", "shape"], ["column"]),
        helper.make_node("Mul", ["column", "zero"], ["nothing"]),
        helper.make_node("Add", ["grey", "nothing"], ["image"]),
    ]
    constants = [
        grey,
        numpy_helper.from_array(np.array([-1, 1, 1, 1]), "shape"),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
    ]
    graph = helper.make_graph(
        nodes,
        "generator",
        [helper.make_tensor_value_info("z0", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.assets
def test_a_generator_without_faces(bitface: Run, asset: Callable[[str], Path], tmp_path: Path) -> None:
    asset("yunet")
    file = flat_generator(tmp_path / "grey.onnx")
    code, _, err = bitface("synth", f"generator:{file}:5", "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (1, 1)
    assert "only 0 of 5 synthetic faces" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crops"], "has nothing to be made"),
        (["none:5"], "name it with --model"),
        (["spread:5"], "'spread' makes images from a teacher: name it with --model"),
        (["spread:5", "--model", "net.onnx", "--truncation", "0.5"], "leave it out of 'spread'"),
        (["none:0", "--model", "net.onnx"], "asks for no faces"),
        (["none:5", "--model", "gone.onnx"], "gone.onnx: no such file"),
        (["generator:gone.onnx:5"], "gone.onnx: no such file"),
    ],
)
def test_what_can_not_be_made(bitface: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    code, _, err = bitface("synth", *arguments, "--out", tmp_path / "out")
    assert code in (1, 2)
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 smooth pictures."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("faces") / "made"
    folder.mkdir()
    for number in range(100):
        coarse = random.uniform(0, 255, (7, 7, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((112, 112), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def test_faces_are_judged_beside_others(bitface: Run, net: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("synth", faces, "--judge", "--model", net, "--preprocess", "rgb-127.5-128")
    code, said, err = bitface(*given, "--like", faces, "--bits", "w4a4s8")
    assert code == 0, err
    assert "too few" not in err
    assert "(100% of real)" in said
    result = json.loads(faces.with_name("made.judgement.json").read_text())
    assert result["made"] == result["real"]
    assert result["made"]["faces"] == 100
    faces.with_name("made.judgement.json").unlink()
    code, said, err = bitface(*given, "--dry-run")
    assert code == 0, err
    assert "'judging faces' would come next" in said
    assert not faces.with_name("made.judgement.json").exists()
    code, said, err = bitface(*given, "--bits", "w4a4", "--json", "-")
    assert code == 0, err
    assert json.loads(said.partition("\n}\n")[0] + "}")["judgement"]["real"] is None
    assert "nothing is known of real faces in this network" in err
    monkeypatch.setitem(judge.KNOWN, result["model"], Variety(1000, 10.0, 0.2, 4 * result["made"]["dimensions"]))
    for bits, warned in (("w4a4s8", True), ("w8a8", False)):
        code, said, err = bitface(*given, "--bits", bits)
        assert code == 0, err
        assert ("these faces fill 25% of the dimensions that real ones do, too few for w4a4s8" in err) == warned
        assert "(25% of real)" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crops", "--judge"], "name it with --model"),
        (["synthetic:5"], "name the folder to write to with --out"),
        (["synthetic:5", "--out", "faces", "--bits", "w4a4"], "go with --judge"),
        (["gone", "--judge", "--model", "NET"], "gone"),
        (["CROPS", "--judge", "--model", "NET"], "48 faces are too few to judge; give 100 or more"),
    ],
)
def test_what_can_not_be_judged(bitface: Run, net: Path, crops: Path, arguments: list[str], message: str) -> None:
    words = {"NET": str(net), "CROPS": str(crops)}
    code, _, err = bitface("synth", *(words.get(word, word) for word in arguments))
    assert code in (1, 2)
    assert message in err
    assert err.count("\n") == 1

"""Networks whose files leave height and width free: the size is asked for, learned from the crops, or assumed."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitface import load
from bitface.data.face_source import FaceSource
from bitface.graph import load_network
from bitface.jobs import distill as distill_command
from bitface.jobs import prune as prune_command
from bitface.runtime import open_model
from support.free_size import free_size_file

from .test_bad_input import ends_in_one_line

Run = Callable[..., tuple[int, str, str]]
WORD = ("--preprocess", "rgb-127.5-128")
QUICK = ("--max-images", 16, "--epochs", 1)
ASSUMED = "112x112 is taken, which is assumed; --size names another"
LEARNED = "160x160 is taken, the size of the crops"
RESIZED = "aren't of the network's 96x96 and are resized, all of them from 160x160"
RECIPE = (
    "bits: w6a6\npreprocess: rgb-127.5-128\n"
    "training: {loss: {feature: {form: cosine}}, epochs: 1, batch: 8, rate: 1.0e-4, precision: f32}\n"
)


@pytest.fixture(scope="module")
def large(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crops at 160x160."""
    folder = tmp_path_factory.mktemp("large")
    for path in crops.glob("*/*.png"):
        (folder / path.parent.name).mkdir(exist_ok=True)
        Image.open(path).resize((160, 160)).save(folder / path.parent.name / path.name)
    return folder


@pytest.fixture(scope="module")
def free(large: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose embeddings of the crops lie around zero, as those of a trained one."""
    path = free_size_file(tmp_path_factory.mktemp("free") / "net.onnx")
    crops = sorted(str(crop) for crop in large.glob("*/*.png"))
    embeddings = load(path, size=160, preprocess=WORD[1]).embed(crops)
    return free_size_file(path, bias=-embeddings.mean(0))


@pytest.fixture(scope="module")
def made(free: Path, large: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The integer network of 160x160."""
    from bitface.jobs import QuantizeRequest, quantize_model

    out = tmp_path_factory.mktemp("made") / "out"
    quantize_model(QuantizeRequest(free, FaceSource([large], max_images=30), out, preprocess=WORD[1]))
    return out / "model.bitface"


@pytest.fixture(autouse=True)
def quick(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(prune_command, "RECOVERY", replace(prune_command.RECOVERY, batch=8))
    monkeypatch.setattr(distill_command, "SCHOOLING", replace(distill_command.SCHOOLING, batch=8))


def commands(free: Path, large: Path, pairs: Path, folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything that opens a float network and reads crops."""
    (folder / "recipe.yaml").write_text(RECIPE)
    out, listed = folder / "out", ("--pairs", pairs, "--root", large)
    images = ("--images", large, *WORD)
    few = ("--held-out", 16, "--max-images", 16)
    return {
        "inspect": ("inspect", free, *images, "--json", out / "x.json"),
        "quantize": ("quantize", free, *images, "--out", out),
        "run": ("run", folder / "recipe.yaml", free, "--images", large, "--out", out),
        "prune": ("prune", free, "--ratio", 0.3, "--round-to", 1, *images, *QUICK, "--out", out),
        "distill": ("distill", free, "--student", "mobilefacenet:0.125", *images, *QUICK, "--out", out),
        "sensitivity": ("sensitivity", free, *images, *few, "--bits", 4, "--out", out),
        "search": ("search", free, *images, *few, "--budget", "6bits", "--bits", "8,4", "--tries", 1, "--points", 2,
                   "--out", out),
        "evaluate": ("evaluate", free, *listed, *WORD),
        "enroll": ("enroll", free, *images, "--out", out / "gallery.safetensors"),
    }  # fmt: skip


NAMES = ("inspect", "quantize", "run", "prune", "distill", "sensitivity", "search", "evaluate", "enroll")


@pytest.mark.parametrize("name", NAMES)
def test_every_command_says_which_size_it_takes(
    name: str, free: Path, large: Path, pairs: Path, tmp_path: Path, bitface: Run
) -> None:
    """Asked for another size than the crops have: not learned, and the crops are said to be resized."""
    command = commands(free, large, pairs, tmp_path)[name]
    (tmp_path / "out").mkdir()
    code, _, err = bitface(*command, "--size", 96)
    assert code == 0, err
    words = " ".join(err.split())
    assert RESIZED in words
    assert "is taken" not in words
    for path in [*(tmp_path / "out").glob("model.*"), *(tmp_path / "out").glob("*.onnx")]:
        assert open_model(path).network.size == (96, 96)
    outcome = bitface(*command, "--size", "wide")
    ends_in_one_line(outcome, 2, "'wide' is no image size", "HEIGHTxWIDTH")


@pytest.mark.parametrize("name", ["inspect", "quantize", "prune", "sensitivity", "evaluate", "enroll"])
def test_crops_of_one_size_decide(
    name: str, free: Path, large: Path, pairs: Path, tmp_path: Path, bitface: Run
) -> None:
    (tmp_path / "out").mkdir()
    code, _, err = bitface(*commands(free, large, pairs, tmp_path)[name])
    assert code == 0, err
    words = " ".join(err.split())
    assert LEARNED in words
    assert "resized" not in words
    for path in [*(tmp_path / "out").glob("model.*"), *(tmp_path / "out").glob("*.onnx")]:
        assert open_model(path).network.size == (160, 160)


@pytest.mark.slow
def test_without_crops_or_where_they_disagree_a_size_is_assumed(
    free: Path, crops: Path, large: Path, tmp_path: Path, bitface: Run
) -> None:
    for images in ((), ("--images", crops, "--images", large)):
        code, out, err = bitface("inspect", free, *images)
        assert code == 0, err
        assert ASSUMED in " ".join(err.split())
        assert "112 x 112" in out
    code, _, err = bitface("export", free, "--out", tmp_path / "net.onnx")
    assert (code, ASSUMED in " ".join(err.split())) == (0, True)
    assert bitface("export", free, "--size", 160, "--out", tmp_path / "net.onnx")[2] == ""
    assert load_network(tmp_path / "net.onnx").size == (160, 160)
    code, _, err = bitface("synth", "none:8", "--model", free, *WORD, "--size", "64x48", "--out", tmp_path / "images")
    assert code == 0, err
    assert Image.open(next((tmp_path / "images").glob("*.png"))).size == (48, 64)
    code, _, err = bitface("synth", "none:8", "--model", free, *WORD, "--out", tmp_path / "more")
    assert ASSUMED in " ".join(err.split())


def test_a_size_that_a_file_fixes_can_be_said_but_not_changed(
    net: Path, made: Path, free: Path, tmp_path: Path, bitface: Run
) -> None:
    exported = made.with_name("model.openvino.onnx")
    for path, size, other in ((net, 112, 160), (made, 160, 112), (exported, 160, 112)):
        assert bitface("inspect", path, "--size", size)[0] == 0
        outcome = bitface("inspect", path, "--size", other)
        ends_in_one_line(outcome, 1, f"takes images of {size}x{size}", f"--size {other}x{other} can't be")
    flat = free_size_file(tmp_path / "flat.onnx", flattened=(20, 20))
    outcome = bitface("export", flat, "--out", tmp_path / "x.onnx")
    ends_in_one_line(outcome, 1, "doesn't work with images of 112x112, which is assumed", "--size")
    assert not (tmp_path / "x.onnx").exists()
    assert bitface("export", flat, "--size", "160x160", "--out", tmp_path / "x.onnx")[0] == 0


@pytest.mark.slow
def test_a_teacher_has_the_size_of_its_student(
    free: Path, crops: Path, large: Path, made: Path, pairs: Path, tmp_path: Path, bitface: Run
) -> None:
    """On crops of 112x112 the float network would be another than the one that the artifact was made from."""
    beside = "160x160 is taken, the size of the"
    artifact = tmp_path / "model.bitface"
    artifact.write_bytes(made.read_bytes())
    listed = ("--pairs", pairs, "--root", crops, *WORD)
    runs = {
        "model beside it": ("evaluate", artifact, *listed, "--against", free),
        "student": ("analyse", free, artifact, "--images", crops, "--labels", "folder", *WORD, "--out", tmp_path / "a"),
        "artifact": ("bench", free, artifact, *WORD, "--json", tmp_path / "bench.json"),
    }
    for whose, command in runs.items():
        code, _, err = bitface(*command)
        assert code == 0, err
        assert f"{beside} {whose}" in " ".join(err.split())
    content = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert not [text for text in content["warnings"] if "another network" in text or "each is given its own" in text]
    assert content["layers"]
    assert "--size 160x160" in content["diagnosis"]["command"] or "evaluate" in content["diagnosis"]["command"]
    assert "which it wasn't made from" not in (tmp_path / "bench.json").read_text()
    code, _, err = bitface(*runs["student"][:-1], tmp_path / "b", "--size", 112)
    assert code == 0, err
    assert "the teacher reads rgb-127.5-128 images of 112x112" in " ".join(err.split())
    code, _, err = bitface("calibrate", artifact, *listed, "--teacher", free, "--far", "0.2")
    assert code == 0, err
    assert f"{beside} artifact" in " ".join(err.split())


def test_a_gallery_knows_the_size(free: Path, large: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    gallery, probe = tmp_path / "gallery.safetensors", large / "p3" / "1.png"
    assert bitface("enroll", free, "--images", large, *WORD, "--out", gallery)[0] == 0
    search = ("identify", probe, "--gallery", gallery, "--model", free, *WORD)
    code, out, err = bitface(*search)
    assert code == 0, err
    assert out.startswith(f"{probe}: p3 1.0000")
    assert "160x160 is taken, the size of the gallery" in " ".join(err.split())
    code, _, err = bitface(*search, "--size", 160)
    assert code == 0
    assert "160x160" not in err
    ends_in_one_line(bitface(*search, "--size", 112), 2, "the gallery was enrolled by model")


@pytest.mark.slow
def test_a_suite_and_a_comparison_name_sizes(
    free: Path, large: Path, crops: Path, pairs: Path, tmp_path: Path, bitface: Run
) -> None:
    suite = tmp_path / "suite.yaml"
    text = (
        "models:\n  float: {path: %s, preprocess: rgb-127.5-128%s}\nprotocols:\n"
        f"  large: {{pairs: {pairs}, root: {large}}}\n  small: {{pairs: {pairs}, root: {crops}}}\nfars: [0.2]\n"
    )
    suite.write_text(text % (free, ", size: 96"))
    code, _, err = bitface("evaluate", "--suite", suite, "--out", tmp_path / "results")
    assert code == 0, err
    words = " ".join(err.split())
    assert re.search(f"large, float: [0-9]+ of [0-9]+ crops looked at {RESIZED}", words)
    assert "is taken" not in words
    # Crops of two sizes: one size for the model all the same.
    suite.write_text(text % (free, ""))
    code, _, err = bitface("evaluate", "--suite", suite, "--out", tmp_path / "results")
    assert code == 0, err
    assert " ".join(err.split()).count(ASSUMED) == 2
    suite.write_text(text % (free, ", size: 0"))
    ends_in_one_line(bitface("evaluate", "--suite", suite, "--out", tmp_path / "r"), 2, "suite.yaml", "'0' is no image")
    outcome = bitface("evaluate", "--suite", suite, "--out", tmp_path / "r", "--size", 160)
    ends_in_one_line(outcome, 2, "--size", "beside each model's path")
    comparison = tmp_path / "candidates.yaml"
    text = (
        f"model: {free}\npreprocess: rgb-127.5-128\nimages: {large}\nmax_images: 16\n"
        f"protocol: {{pairs: {pairs}, root: {crops}}}\nfars: [0.2]\n"
        "candidates: {w8a8: {quantize: {bits: w8a8}}}\n"
    )
    for line, options, side, note in (("", (), 160, LEARNED), ("size: 64\n", ("--size", 96), 96, "original: ")):
        comparison.write_text(text + line)
        code, _, err = bitface("compare", comparison, "--out", tmp_path / "compared", *options)
        assert code == 0, err
        assert note in " ".join(err.split())
        sizes = {path: open_model(path).network.size for path in (tmp_path / "compared").glob("steps/*/model.bitface")}
        assert (side, side) in sizes.values()
    # The original of another size is another one, and is evaluated again.
    assert len(list((tmp_path / "compared" / "evaluations").iterdir())) == 4
    comparison.write_text(text + "size: [1]\n")
    ends_in_one_line(
        bitface("compare", comparison, "--out", tmp_path / "c"), 2, "'size' of the comparison can't be [1]"
    )


def test_recipes_name_sizes(free: Path, large: Path, tmp_path: Path, bitface: Run) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(f"{RECIPE}size: 96\n")
    code, _, err = bitface("run", recipe, free, "--images", large, "--max-images", 16, "--out", out)
    assert code == 0, err
    assert RESIZED in " ".join(err.split())
    assert open_model(out / "model.bitface").network.size == (96, 96)
    again = ("quantize", free, "--images", large, "--method", "qat", "--recipe", recipe, "--max-images", 16)
    assert bitface(*again, "--size", 64, "--out", tmp_path / "other")[0] == 0
    assert open_model(tmp_path / "other" / "model.bitface").network.size == (64, 64)
    recipe.write_text(f"{RECIPE}size: large\n")
    outcome = bitface("run", recipe, free, "--images", large, "--out", tmp_path / "x")
    ends_in_one_line(outcome, 2, "recipe.yaml", "'large' is no image size")


def test_a_teacher_from_scratch_has_a_size(large: Path, tmp_path: Path, bitface: Run) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(
        "backbone: mobilefacenet:0.125\nembedding_size: 8\nsize: 64\n"
        "stages: [{loss: {softmax: {}}, epochs: 1, batch: 8, rate: 1.0e-3, precision: f32, mix: 0}]\n"
    )
    code, _, err = bitface("run", recipe, "--images", large, "--max-images", 40, "--out", out)
    assert code == 0, err
    assert "network's 64x64 and are resized, all of them from 160x160" in " ".join(err.split())
    assert load_network(out / "model.onnx").size == load_network(out / "model.safetensors").size == (64, 64)


def test_exactly_as_onnx_runtime(free: Path, large: Path, tmp_path: Path, bitface: Run) -> None:
    """What the crops' size makes of a free network is what ONNX Runtime makes of the file itself."""
    import onnxruntime

    from bitface.evaluation.gallery_file import read_gallery

    gallery = tmp_path / "gallery.safetensors"
    assert bitface("enroll", free, "--images", large, *WORD, "--out", gallery)[0] == 0
    files = sorted(large.glob("*/*.png"), key=lambda path: path.relative_to(large).as_posix())
    images = np.stack([np.array(Image.open(path)) for path in files]).astype(np.float32)
    inputs = ((images - 127.5) / 128).transpose(0, 3, 1, 2)
    expected = onnxruntime.InferenceSession(free).run(None, {"image": np.ascontiguousarray(inputs)})[0]
    found = read_gallery(gallery)
    cosines = (found.embeddings * expected).sum(1)
    cosines /= np.linalg.norm(found.embeddings, axis=1) * np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    assert found.image_size == (160, 160)

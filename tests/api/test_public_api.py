"""`import bitface as bf`: cheap to import, and enough for the way of the README."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import bitface as bf
from bitface.api import students
from bitface.quant import Calibration
from bitface.quant.reconstruct import effort

SIDE = 112


@pytest.mark.parametrize("code", ["import bitface", "import bitface.cli"])
def test_nothing_heavy_is_imported(code: str) -> None:
    heavy = "torch", "onnx", "onnxruntime", "openvino", "scipy", "sklearn", "cv2", "pydantic"
    command = f"{code}, sys; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented() -> None:
    for name in bf.__all__:
        value = getattr(bf, name)
        assert name.startswith("__") or value.__doc__, name
    assert not hasattr(bf, "no_such_name")
    # What is a function here must not be hidden by a room of the same name.
    for name in ("train", "quantize", "evaluate", "faces", "pairs", "protocol", "load"):
        assert callable(getattr(bf, name))


class Mine(bf.Loss):
    def forward(self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return 1 - torch.nn.functional.cosine_similarity(student, teacher).mean()


@pytest.mark.filterwarnings("ignore:under no preset", "ignore:only .* faces calibrate", "ignore:.*compiled kernels")
def test_the_way_of_the_readme(network: bf.Network, crops: Path, listed: Path, tmp_path: Path) -> None:
    faces = bf.faces(crops, size=network.size, seed=0, max_images=64)
    small = bf.quantize(network, faces, bits="w8a8")
    assert small.bits == "w8a8"
    smaller = bf.train(network, faces, bits="w4a4", loss=Mine(), epochs=1)
    assert smaller.weight_bytes < small.weight_bytes
    assert smaller.history is not None
    assert smaller.history.steps >= 1
    figures = bf.evaluate(small, bf.pairs(listed, root=crops), baseline=network, fars=[0.2])
    accuracy = figures["accuracy"]
    assert accuracy.interval is not None
    assert accuracy.value is not None
    assert accuracy.interval.low <= accuracy.value <= accuracy.interval.high
    assert f"{100 * accuracy.value:.2f}" in str(figures)
    assert "baseline" in str(figures)
    with pytest.raises(bf.UsageError, match=r"did you mean 'TAR@FAR 2e-1'"):
        figures["TAR@FAR 0.1"]
    written = small.save(tmp_path / "m.bitface")
    assert written == (tmp_path / "m.bitface").stat().st_size
    assert small.export(tmp_path / "m.onnx", target="openvino") == (tmp_path / "m.onnx").stat().st_size
    images = [crops / "p00" / "0.png", crops / "p01" / "0.png"]
    expected = small.embed(images)
    for source in (tmp_path / "m.bitface", small, small.model):
        np.testing.assert_array_equal(bf.load(source).embed(images), expected)
    exported = bf.load(tmp_path / "m.onnx").embed(images)
    np.testing.assert_array_equal(bf.load(tmp_path / "m.bitface", "openvino").embed(images), exported)
    assert bf.evaluate(tmp_path / "m.bitface", bf.pairs(listed, root=crops), fars=[0.2])["accuracy"] == accuracy


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:under no preset", "ignore:only .* faces calibrate")
def test_what_is_in_memory_is_what_the_command_writes(network: bf.Network, crops: Path, tmp_path: Path) -> None:
    """`bf.quantize` and `bitface quantize` choose the same faces and find the same numbers."""
    import onnx

    from bitface.graph import to_onnx

    onnx.save(to_onnx(network.graph), tmp_path / "net.onnx")
    loaded = bf.load_network(tmp_path / "net.onnx", preprocess="rgb-127.5-128")
    small = bf.quantize(loaded, bf.faces(crops))
    request = bf.QuantizeRequest(
        tmp_path / "net.onnx", bf.FaceSource([crops]), tmp_path / "out", preprocess="rgb-127.5-128"
    )
    bf.quantize_model(request)
    written = bf.load(tmp_path / "out" / "model.bitface")
    assert written.fingerprint == small.fingerprint


def test_networks_in_memory_embed(network: bf.Network) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(bf.load(network).embed(images), bf.Embedder(network).embed(images))
    simulated = bf.load(network, engine="torch").embed(images)
    np.testing.assert_allclose(bf.load(network).embed(images), simulated, rtol=0, atol=1e-3 * np.abs(simulated).max())


@pytest.mark.filterwarnings("ignore:under no preset", "ignore:only .* faces calibrate")
def test_faces_in_memory(network: bf.Network) -> None:
    images = np.random.default_rng(2).integers(0, 256, (20, SIDE, SIDE, 3), dtype=np.uint8)
    small = bf.quantize(network, bf.faces(images, seed=3))
    again = bf.quantize(network, bf.faces(images, seed=3))
    assert small.fingerprint == again.fingerprint
    assert small.content.data["images"] == 16  # a fifth is held out
    wrong = bf.faces(images[:, :96])
    with pytest.raises(bf.BitfaceError, match="of 96x112, net reads images of 112x112"):
        bf.quantize(network, wrong)


def test_the_seed_of_the_faces_is_that_of_what_learns(network: bf.Network, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(2).integers(0, 256, (20, SIDE, SIDE, 3), dtype=np.uint8)
    seeds: list[int] = []

    def seen(*given: object, **named: object) -> None:
        calibration = next(one for one in given if isinstance(one, Calibration))
        assert calibration.reconstruction
        seeds.append(calibration.reconstruction.seed)
        raise InterruptedError

    monkeypatch.setattr(students, "learned", seen)
    for seed in (0, 7):
        with pytest.raises(InterruptedError), pytest.warns(bf.BitfaceWarning):
            bf.quantize(network, bf.faces(images, seed=seed), "w4a4", Calibration(reconstruction=effort("max")))
    assert seeds == [0, 7]


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), {}, "uint8 RGB"),
        (np.zeros((2, 8, 8), np.uint8), {}, "uint8 RGB"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"labels": ["a"]}, "one name for each of its 2 faces"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"labels": "folder"}, "one name for each of its 2 faces"),
        ("crops", {"labels": ["a", "b"]}, "'folder', or a CSV file"),
    ],
)
def test_faces_that_make_no_sense(images: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(bf.UsageError, match=message):
        bf.faces(images, **options)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:under no preset", "ignore:only .* faces calibrate")
def test_a_recipe_says_what_nobody_else_does(network: bf.Network, crops: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    training = "{loss: {softmax: 1}, epochs: 1, batch: 16, views: none}"
    recipe.write_text(f"bits: w6a6\nlabels: folder\nmax_images: 64\nshare: 0.5\ntraining: {training}\n")
    small = bf.train(network, bf.faces(crops), recipe=recipe)
    assert small.bits == "w6a6"
    assert small.content.data["images"] == 32
    assert small.history is not None
    assert small.history.steps == 2
    assert bf.train(network, bf.faces(crops), bits="w4a4", epochs=2, recipe=recipe).history.steps == 4
    (tmp_path / "ptq.yaml").write_text("post_training: true\n")
    for name in (tmp_path / "ptq.yaml", "scratch-mobilefacenet"):
        with pytest.raises(bf.UsageError, match="it is for `bitface run`"):
            bf.train(network, bf.faces(crops), recipe=name)


@pytest.mark.filterwarnings("ignore:under no preset", "ignore:only .* faces calibrate")
def test_losses_in_words_and_of_pairs(network: bf.Network, crops: Path) -> None:
    faces = bf.faces(crops, max_images=64, labels="folder")
    words = bf.train(network, faces, loss="feature,relational=0.5", epochs=1)  # takes two images of each person
    assert words.history is not None
    with pytest.raises(bf.UsageError, match="did you mean 'feature'"):
        bf.train(network, faces, loss="featur", epochs=1)


@pytest.mark.filterwarnings("ignore:under no preset", "ignore:only .* faces calibrate")
def test_without_compiled_kernels_it_is_said(network: bf.Network, crops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bitface.inputs import training

    monkeypatch.setattr(training, "missing", lambda: "there is no C++ compiler")
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler"):
        bf.train(network, bf.faces(crops, max_images=64), epochs=1)


@pytest.mark.filterwarnings("ignore")
def test_wrong_uses_end_in_one_line(network: bf.Network, crops: Path, tmp_path: Path) -> None:
    small = bf.quantize(network, str(crops))  # what `bf.faces` takes is taken, too
    for quantized in (small, small.content.network):
        with pytest.raises(bf.UsageError, match="is quantized already; give the float network"):
            bf.quantize(quantized, crops)  # type: ignore[arg-type]
    with pytest.raises(bf.UsageError, match=r"is evaluated on bf\.pairs"):
        bf.evaluate(small, "pairs.csv")  # type: ignore[arg-type]
    missing = str(tmp_path / "missing.onnx")
    for call in (
        lambda: bf.bench_models([missing]),  # type: ignore[list-item]
        lambda: bf.export_model(missing, str(tmp_path / "a.onnx")),  # type: ignore[arg-type]
        lambda: bf.inspect_model(missing),  # type: ignore[arg-type]
        lambda: bf.quantize_model(bf.QuantizeRequest(missing, bf.FaceSource([crops]), str(tmp_path / "out"))),  # type: ignore[arg-type]
        lambda: bf.make_report(bf.ReportRequest(missing)),  # type: ignore[arg-type]
        lambda: bf.calibrate_model(bf.CalibrateRequest(missing, source=bf.FaceSource([crops]))),  # type: ignore[arg-type]
        lambda: bf.analyse_student(
            bf.AnalyseRequest(missing, missing, bf.FaceSource([crops]), str(tmp_path / "analysis"))  # type: ignore[arg-type]
        ),
    ):
        with pytest.raises(bf.BitfaceError, match="missing"):
            call()


@pytest.mark.parametrize(("engine", "precision"), [("onnxruntime", "bf16"), ("torch", "bf16"), ("openvino", "f16")])
def test_a_precision_that_an_engine_lacks_is_refused(network: bf.Network, engine: str, precision: str) -> None:
    with pytest.raises(bf.UsageError, match=f"{engine} has no precision '{precision}' for floats; use f32"):
        bf.Embedder(network, engine, precision=precision)

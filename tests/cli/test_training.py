"""Training from the command line, as a person would do it, and what goes wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import bitface as library
from bitface.data.faces import find_images
from bitface.quant import Reconstruction
from bitface.quant.kernels import native
from bitface.quant.reconstruct import EFFORTS

from .conftest import FILES, Run, interrupt
from .test_bad_input import ends_in_one_line

PREPROCESS = ("--preprocess", "rgb-127.5-128")
TINY = "bits: w6a6\ntraining: {loss: {feature: {form: cosine}}, epochs: 1, batch: 8, rate: 1.0e-4, precision: f32}\n"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_quantize_trains(net: Path, crops: Path, tmp_path: Path, bitface: Run, tiny: Path) -> None:
    out = tmp_path / "out"
    run = bitface(
        "quantize", net, "--images", crops, *PREPROCESS, "--bits", "w6a6", "--method", "qat", "--recipe", tiny,
        "--max-images", 32, "--out", out,
    )  # fmt: skip
    assert run[0] == 0, run
    assert {path.name for path in out.iterdir()} == FILES | {"training.safetensors"}
    result = json.loads((out / "result.json").read_text())
    assert result["method"] == "qat"
    assert result["bits"] == "w6a6"
    assert result["training"]["steps"] == 4
    assert result["training"]["precision"] in ("f32", "bf16")  # as it was decided, not "auto"
    assert result["training"]["history"][-1]["agreement"] > 0.8
    assert result["kernels"] == ("compiled" if native.compiled() else "torch")
    assert library.load(out / "model.bitface").embed([crops / "p0" / "0.png"]).shape == (1, 32)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["training", "reconstruction", "calibration"])
def test_without_compiled_kernels_it_is_said_before_and_after(
    net: Path, crops: Path, tmp_path: Path, bitface: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setitem(EFFORTS, "balanced", Reconstruction(steps=2, batch=4, tuning=2))
    chosen = {"training": ("--method", "qat", "--recipe", tiny), "reconstruction": ("--effort", "balanced")}
    learns, out = how in chosen, tmp_path / "out"
    monkeypatch.setenv("BITFACE_KERNELS", "0")
    native._loaded.cache_clear()
    try:
        code, _, err = bitface(
            "quantize", net, "--images", crops, *PREPROCESS, *chosen.get(how, ()), "--max-images", 36, "--out", out
        )
    finally:
        native._loaded.cache_clear()
    assert code == 0, err
    words = (
        "the compiled kernels of training don't run here, so a step takes about ten times as long: BITFACE_KERNELS=0"
    )
    result = json.loads((out / "result.json").read_text())
    assert result["kernels"] == ("torch" if learns else None)
    assert [text.startswith(words) for text in result["warnings"]].count(True) == learns
    assert ("the compiled kernels of training" in (out / "report.html").read_text()) == learns
    assert err.splitlines()[0].startswith(f"warning: {words}") == learns
    assert err.count(words) == 2 * learns


def test_run_takes_model_and_faces_from_the_recipe(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    recipe, out = tmp_path / "whole.yaml", tmp_path / "out"
    recipe.write_text(TINY + f"model: {net}\nimages: {crops}\nout: {out}\npreprocess: rgb-127.5-128\nmax_images: 16\n")
    run = bitface("run", recipe)
    assert run[0] == 0, run
    assert json.loads((out / "result.json").read_text())["training"]["steps"] == 2
    ends_in_one_line(bitface("run", "best-w6a6", net, "--images", crops), 2, "'out'")


def test_a_teacher_from_scratch(crops: Path, tmp_path: Path, bitface: Run) -> None:
    recipe, out = tmp_path / "scratch.yaml", tmp_path / "teacher"
    stage = "epochs: 0.5, batch: 16, optimizer: sgd, rate: 0.01"
    recipe.write_text(
        "backbone: mobilefacenet:0.25\nembedding_size: 32\n"
        f"stages: [{{loss: {{softmax: 1}}, {stage}}}, {{loss: {{arcface: 1}}, {stage}}}]\n"
    )
    run = bitface("run", recipe, "--images", crops, "--out", out)
    assert run[0] == 0, run
    assert {path.name for path in out.iterdir()} == {"model.onnx", "model.safetensors", "result.json"}
    result = json.loads((out / "result.json").read_text())
    assert result["faces"]["identities"] == 12
    assert [list(stage["settings"]["loss"]) for stage in result["stages"]] == [["softmax"], ["arcface"]]
    assert all(stage["steps"] >= 1 and stage["precision"] in ("f32", "bf16") for stage in result["stages"])
    first, second = (
        library.load(out / name, preprocess=None if name.endswith("onnx") else "rgb-127.5-128").embed(
            [crops / "p0" / "0.png"]
        )
        for name in ("model.onnx", "model.safetensors")
    )
    assert first == pytest.approx(second, rel=1e-3, abs=1e-3)
    ends_in_one_line(bitface("run", recipe, "--images", crops, "--out", out, "--epochs", 2), 2, "--epochs")


@pytest.mark.slow
def test_a_teacher_goes_on_between_its_stages(crops: Path, tmp_path: Path, bitface: Run) -> None:
    """The first stage is done, the second has begun nothing: what it draws must not depend on the first one's draws."""
    recipe = tmp_path / "scratch.yaml"
    stage = "epochs: 0.5, batch: 16, optimizer: sgd, rate: 0.01, precision: f32"
    recipe.write_text(
        "backbone: mobilefacenet:0.25\nembedding_size: 32\n"
        f"stages: [{{loss: {{softmax: 1}}, {stage}}}, {{loss: {{arcface: 1}}, {stage}}}]\n"
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert bitface("run", recipe, "--images", crops, "--out", whole)[0] == 0
    arguments = ["run", str(recipe), "--images", str(crops), "--out", str(parts)]
    stopped = subprocess.run(
        [sys.executable, "-c", interrupt("self.steps"), *arguments], capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 130, stopped.stderr
    assert {path.name for path in parts.iterdir()} == {"checkpoint-1.safetensors"}
    assert bitface(*arguments, "--resume")[0] == 0
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_interrupted_and_resumed(net: Path, crops: Path, tmp_path: Path, bitface: Run, tiny: Path) -> None:
    out, long = tmp_path / "out", tmp_path / "long.yaml"
    long.write_text(TINY.replace("epochs: 1,", "epochs: 3,"))
    arguments = ["quantize", net, "--images", crops, *PREPROCESS, "--bits", "w6a6", "--method", "qat", "--out", out]
    command = [sys.executable, "-c", interrupt(3), *map(str, arguments), "--recipe", str(long)]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert stopped.returncode == 130, stopped.stderr
    assert "stopped after step 3" in stopped.stderr
    assert "--resume" in stopped.stderr
    assert {path.name for path in out.iterdir()} == {"checkpoint.safetensors"}
    ends_in_one_line(bitface(*arguments, "--recipe", long), 1, "unfinished", "--resume")
    ends_in_one_line(bitface(*arguments, "--recipe", tiny, "--resume"), 1, "another training", "settings")
    assert {path.name for path in out.iterdir()} == {"checkpoint.safetensors"}
    resumed = bitface(*arguments, "--recipe", long, "--resume")
    assert resumed[0] == 0, resumed
    assert {path.name for path in out.iterdir()} == FILES | {"training.safetensors"}


@pytest.mark.parametrize(
    ("recipe", "options", "code", "words"),
    [
        ("labels: folder\ntraining: {loss: {arcface: 1}, batch: 64}", [], 2, ["'batch' is 64"]),
        ("training: {loss: {arcface: 1}, batch: 8}", [], 2, ["arcface", "labelled"]),
        ("training: {loss: {ekd: 1}, batch: 8}", [], 2, ["per_identity"]),
        ("training: {batch: 8}", ["--labels", "nowhere.csv"], 1, ["nowhere.csv", "label file"]),
        ("training: {batch: 8, rate: 10, clip: 0, optimizer: sgd, epochs: 20, loss: {feature: {form: mimic}}}",
         [], 1, ["the loss is", "step", "'rate'"]),
        ("trainin: {batch: 8}", [], 2, ["did you mean 'training'"]),
    ],
)  # fmt: skip
def test_what_cannot_be_trained(
    net: Path, crops: Path, tmp_path: Path, bitface: Run, recipe: str, options: list[str], code: int, words: list[str]
) -> None:
    path, out = tmp_path / "mine.yaml", tmp_path / "out"
    path.write_text(recipe)
    outcome = bitface(
        "quantize", net, "--images", crops, *PREPROCESS, "--method", "qat", "--recipe", path, *options, "--out", out,
        "--max-images", 32,
    )  # fmt: skip
    ends_in_one_line(outcome, code, *words)
    assert not out.exists() or not FILES & {file.name for file in out.iterdir()}


@pytest.mark.parametrize("option", ["--recipe", "--epochs", "--minutes", "--labels"])
def test_training_options_without_training(net: Path, crops: Path, tmp_path: Path, bitface: Run, option: str) -> None:
    value = "best-w4a4" if option == "--recipe" else "folder" if option == "--labels" else "1"
    outcome = bitface("quantize", net, "--images", crops, option, value, "--out", tmp_path / "out")
    ends_in_one_line(outcome, 2, option, "qat")


@pytest.mark.parametrize(
    ("option", "name"),
    [
        (["--observer", "minmax"], "--observer"),
        (["--no-equalization"], "--equalization"),
        (["--no-bias-correction"], "--bias-correction"),
    ],
)
def test_options_of_calibration_with_training(
    net: Path, crops: Path, tmp_path: Path, bitface: Run, option: list[str], name: str
) -> None:
    outcome = bitface("quantize", net, "--images", crops, "--method", "qat", *option, "--out", tmp_path / "out")
    ends_in_one_line(outcome, 2, name, "ptq")


def test_a_recipe_of_post_training_is_no_training(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    recipe = tmp_path / "plain.yaml"
    recipe.write_text("{bits: w4a8, post_training: true, calibration: {observer: minmax}}")
    outcome = bitface(
        "quantize", net, "--images", crops, "--method", "qat", "--recipe", recipe, "--out", tmp_path / "out"
    )
    ends_in_one_line(outcome, 2, "post-training", "bitface run")


@pytest.mark.parametrize(
    "option",
    [("--epochs", 3), ("--minutes", 7), ("--batch", 8), ("--labels", "folder"), ("--log", "jsonl"), ("--resume",)],
)
def test_a_recipe_of_post_training_takes_no_option_of_trainings(
    net: Path, crops: Path, tmp_path: Path, bitface: Run, option: tuple[object, ...]
) -> None:
    recipe = tmp_path / "plain.yaml"
    recipe.write_text("{bits: w4a8, post_training: true}")
    outcome = bitface("run", recipe, net, "--images", crops, "--out", tmp_path / "out", *option)
    ends_in_one_line(outcome, 2, f"plain trains nothing, so {option[0]} has no place in it")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [("quantize", "--method", "qat"), ("distill", "--student", "mobilefacenet:0.25"), ("prune", "--ratio", 0.3)],
)
def test_a_training_has_one_length(
    net: Path, crops: Path, tmp_path: Path, bitface: Run, command: tuple[object, ...]
) -> None:
    name, *options = command
    lengths = ("--epochs", 3, "--minutes", 7, "--out", tmp_path / "out")
    outcome = bitface(name, net, "--images", crops, *options, *lengths)
    ends_in_one_line(outcome, 2, "--epochs and --minutes both say how long the training lasts")


@pytest.mark.slow
def test_what_a_recipe_says_and_the_command_does_not(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    recipe, out = tmp_path / "mine.yaml", tmp_path / "out"
    recipe.write_text("{bits: w4a8, max_images: 24, training: {epochs: 1, batch: 8, seed: 7, teacher: live}}")
    command = ["quantize", net, "--images", crops, *PREPROCESS, "--method", "qat", "--recipe", recipe]
    assert bitface(*command, "--out", out)[0] == 0
    result = json.loads((out / "result.json").read_text())
    assert (result["bits"], result["seed"], result["training"]["settings"]["training"]["seed"]) == ("w4a8", 7, 7)
    assert result["faces"]["calibration"] == 24
    # It is done: what would "going on" mean?
    ends_in_one_line(bitface(*command, "--resume", "--out", out), 1, "done", "--force")
    assert bitface(*command, "--bits", "w8a8", "--seed", "0", "--out", tmp_path / "other")[0] == 0
    result = json.loads((tmp_path / "other" / "result.json").read_text())
    assert (result["bits"], result["seed"]) == ("w8a8", 0)


def test_images_of_one_person_each(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    labels, recipe = tmp_path / "labels.csv", tmp_path / "ekd.yaml"
    names = [file.relative for file in find_images([crops])]
    labels.write_text("path,label\n" + "".join(f"{name},{name}\n" for name in names))
    recipe.write_text("training: {loss: {ekd: 1}, batch: 8, per_identity: 2}")
    outcome = bitface(
        "quantize", net, "--images", crops, *PREPROCESS, "--method", "qat", "--recipe", recipe, "--labels", labels,
        "--out", tmp_path / "out",
    )  # fmt: skip
    ends_in_one_line(outcome, 2, "every person has one image")

"""What scripts rely on: JSON on standard output, silence, names that options had, and runs that change nothing."""

import inspect
import json
import re
from pathlib import Path

import pytest
import typer

import bitface as bitface_package
from bitface.cli import app
from bitface.progress import voice

from .conftest import Run
from .test_bad_input import ends_in_one_line

PREPROCESS = ("--preprocess", "rgb-127.5-128")


def test_every_command_takes_the_same_names() -> None:
    """`--json` of all, `--dry-run` of all that take minutes, and no option that another command calls otherwise."""
    quick = {"inspect", "verify", "identify", "report", "export", "assets", "cache", "try", "gallery", "key"}
    for command in app.COMMANDS:
        name = command.__name__.rstrip("_")
        options = set(inspect.signature(command).parameters)
        assert "json" in options, name
        assert ("dry_run" in options) == (name not in quick), name
        assert not options & {"pairs_root", "calibration_faces", "int8_gallery"}, name


@pytest.mark.parametrize(
    "command",
    ["verify", "identify", "enroll", "embed", "evaluate", "calibrate", "analyse", "try", "compare", "bench"],
)
def test_whatever_runs_models_says_in_what(command: str) -> None:
    parameters = typer.main.get_command(app.app).commands[command].params  # type: ignore[attr-defined]
    names = [set(parameter.opts) for parameter in parameters]
    assert any({"--engine", "--target"} <= own for own in names)


def test_json_alone_of_commands_that_make_files(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> None:
    model = quantized / "model.bitface"
    for *command, key in (
        ("enroll", model, "--images", crops, "--out", tmp_path / "g.safetensors", "people"),
        ("export", model, "--target", "onnxruntime", "--out", tmp_path / "m.onnx", "bytes"),
        ("embed", crops / "p1", "--model", model, "--out", tmp_path / "v.npy", "rows"),
        ("report", quantized, "--out", tmp_path / "r.html", "models"),
        ("cache", "models", "models"),
    ):
        code, out, err = bitface(*command, "--json", "-")
        assert code == 0, err
        assert key in json.loads(out)
    (first, *_) = json.loads(bitface("assets", "--list", "--json", "-")[1])
    assert first["name"] == "sface"


def test_quiet_leaves_warnings_and_answers(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "g.safetensors"
    assert bitface("enroll", quantized / "model.bitface", "--images", crops, "--out", gallery)[0] == 0
    command = ("identify", crops / "p1" / "0.png", "--gallery", gallery, "--model", quantized / "model.bitface")
    loud, quiet, before = bitface(*command), bitface(*command, "-q"), bitface("-q", *command)
    assert "note: " in loud[2]
    assert (quiet, before) == ((0, loud[1], ""), (0, loud[1], ""))
    assert bitface(*command)[2] == loud[2]


def test_verbose_tells_each_step(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> None:
    command = ("enroll", quantized / "model.bitface", "--images", crops, "--out", tmp_path / "g.safetensors")
    assert "embedding" not in bitface(*command)[2]
    err = bitface(*command, "-v")[2]
    assert "embedding ...\nembedding: 48 in " in err
    assert "Traceback" in bitface("enroll", tmp_path / "none.bitface", *command[2:], "-v")[2]
    assert not bitface("cache")[2]
    assert not voice.verbose


def test_a_dry_run_of_a_quantization(bitface: Run, net: Path, crops: Path, tmp_path: Path) -> None:
    command = ("quantize", net, "--images", crops, "--bits", "w4a8", "--out", tmp_path / "out")
    code, out, err = bitface(*command, *PREPROCESS, "--dry-run")
    assert code == 0, err
    assert "all that is given can be used; 48 faces were read; 'calibrating' would come next" in out
    assert not (tmp_path / "out").exists()
    ends_in_one_line(bitface(*command, "--preprocess", "rgb-raw", "--bits", "w9a9", "--dry-run"), 2, "w9a9")


def test_dry_runs_write_nothing(
    bitface: Run, net: Path, quantized: Path, crops: Path, pairs: Path, tmp_path: Path
) -> None:
    model, out = quantized / "model.bitface", tmp_path / "out"
    before = {path.name: path.read_bytes() for path in quantized.iterdir()}
    listed = ("--pairs", pairs, "--root", crops)
    for command in (
        ("prune", net, "--ratio", 0.2, "--images", crops, *PREPROCESS, "--out", out),
        ("distill", net, "--student", "mobilefacenet:0.125", "--images", crops, *PREPROCESS, "--out", out),
        ("search", net, "--images", crops, *PREPROCESS, "--max-images", 12, "--held-out", 16, "--budget", "5bits",
         "--out", out),
        ("sensitivity", net, "--images", crops, *PREPROCESS, "--max-images", 12, "--held-out", 16, "--out", out),
        ("analyse", net, model, "--images", crops, "--out", out),
        ("calibrate", model, *listed),
        ("evaluate", model, *listed),
        ("bench", model),
        ("enroll", model, "--images", crops, "--out", out),
        ("embed", crops, "--model", model, "--out", tmp_path / "out.npy"),
        ("align", crops, "--out", out),
    ):  # fmt: skip
        code, said, err = bitface(*command, "--dry-run")
        assert code == 0, (command, err)
        assert "would come next" in said
    assert not list(tmp_path.iterdir())
    assert {path.name: path.read_bytes() for path in quantized.iterdir()} == before
    again = ("quantize", net, "--images", crops, *PREPROCESS, "--out", quantized, "--dry-run")
    ends_in_one_line(bitface(*again), 1, "--force")


def test_names_that_options_had(bitface: Run, net: Path, crops: Path, tmp_path: Path) -> None:
    old = ("--calibration-faces=12", "--faces", 16)
    command = ("sensitivity", net, "--images", crops, *PREPROCESS, "--out", tmp_path / "out", "--dry-run")
    code, _, err = bitface(*command, *old)
    assert code == 0, err
    assert "note: --calibration-faces is called --max-images now" in err
    assert "note: --faces is called --held-out now" in err
    assert app.today(["report", "a/", "--faces"]) == ["report", "a/", "--faces"]
    assert app.today(["-q", "search", "--faces", "8"]) == ["-q", "search", "--held-out", "8"]


@pytest.mark.parametrize("command", sorted(command.__name__.rstrip("_") for command in app.COMMANDS))
def test_help_cuts_no_name(bitface: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = bitface(command, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out.replace("…)", "").replace(", …", "").replace("NAME,…", "").replace("bgr-…", "")
    options = typer.main.get_command(app.app).commands[command].params  # type: ignore[attr-defined]
    for name in (name for option in options for name in option.opts if name.startswith("--")):
        assert name in out


def test_every_environment_variable_is_documented() -> None:
    source = Path(bitface_package.__file__).parent
    names = {
        name
        for path in source.rglob("*.py")
        for name in re.findall(r"environ(?:\.get\(|\[)[\"'](\w+)[\"']", path.read_text(encoding="utf-8"))
    }
    text = (source.parents[1] / "docs" / "outputs.md").read_text(encoding="utf-8")
    ranks = {"LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"}  # torchrun's own
    assert names >= {"BITFACE_CACHE", "BITFACE_DEBUG"}
    assert not [name for name in names - ranks if name not in text]

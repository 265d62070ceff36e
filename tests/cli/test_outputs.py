"""What commands write, and what they leave alone: results of other runs, other holders' folders, links, devices."""

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitface.artifact import read
from bitface.data.face_source import FaceSource
from bitface.data.synthetic import SyntheticFaces
from bitface.errors import BitfaceError
from bitface.inputs.embeddings import embed as embed_images
from bitface.jobs import QuantizeRequest, calibrate, demo, quantize_model
from bitface.jobs.calibrate import CalibrateRequest, calibrate_model
from bitface.results import locks
from bitface.results.locks import holding, locked

from .conftest import Run
from .test_bad_input import ends_in_one_line

PREPROCESS = ("--preprocess", "rgb-127.5-128")


@pytest.fixture
def made(quantized: Path, tmp_path: Path) -> Path:
    """A copy of a quantized network's folder."""
    return Path(shutil.copytree(quantized, tmp_path / "made"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_finished_result_is_written_over_only_when_asked(net: Path, crops: Path, made: Path, bitface: Run) -> None:
    before = content(made)
    command = ("quantize", net, "--images", crops, *PREPROCESS, "--bits", "w4a8", "--max-images", 12, "--out", made)
    run = bitface(*command)
    ends_in_one_line(run, 1, "result.json", "bits w8a8", "seed 0", "made 20", "--force", "another --out")
    trained = ("--method", "qat", "--seed", 2)
    ends_in_one_line(bitface(*command, *trained), 1, "bits w8a8", "--force")
    ends_in_one_line(bitface(*command, *trained, "--resume"), 1, "done", "--force")
    for other in (
        ("prune", net, "--ratio", 0.3, "--images", crops, *PREPROCESS, "--out", made),
        ("distill", net, "--student", "mobilefacenet:0.125", "--images", crops, *PREPROCESS, "--out", made),
        ("search", net, "--images", crops, *PREPROCESS, "--budget", "5bits", "--out", made),
        ("run", "best-w6a6", net, "--images", crops, "--seed", 2, "--out", made),
    ):
        ends_in_one_line(bitface(*other), 1, "bits w8a8", "--force")
    assert content(made) == before
    assert bitface(*command, "--force")[0] == 0
    after = content(made)
    assert after.keys() == before.keys()
    assert json.loads(after["result.json"])["bits"] == "w4a8"
    assert all(after[name] != before[name] for name in before if name != "README.md")


def test_files_of_somebody_else_stay(
    net: Path, crops: Path, pairs: Path, tmp_path: Path, bitface: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every command that writes a folder, before anything is computed; with --force, too."""
    monkeypatch.chdir(tmp_path)
    protocol = f"{{pairs: {pairs}, root: {crops}}}"
    Path("suite.yaml").write_text(f"models: {{a: {net}}}\nprotocols: {{p: {protocol}}}\n")
    Path("candidates.yaml").write_text(
        f"model: {net}\nimages: {crops}\nprotocol: {protocol}\ncandidates: {{a: {{quantize: {{bits: w8a8}}}}}}\n"
    )
    faces = ("--images", crops, *PREPROCESS)
    for number, (name, *command) in enumerate((
        ("README.md", "quantize", net, *faces),
        ("model.openvino.onnx", "quantize", net, *faces, "--method", "qat", "--force"),
        ("model.onnx", "prune", net, "--ratio", 0.3, *faces),
        ("model.onnx", "distill", net, "--student", "mobilefacenet:0.125", *faces, "--force"),
        ("model.safetensors", "run", "scratch-mobilefacenet", "--images", crops),
        ("analysis.html", "analyse", net, net, *faces),
        ("sensitivity.html", "sensitivity", net, *faces),
        ("report.html", "search", net, *faces, "--budget", "5bits"),
        ("comparison.md", "compare", "candidates.yaml"),
        ("results.md", "evaluate", "--suite", "suite.yaml"),
        ("report.html", "demo", "--quick"),
        ("table.md", "reproduce", "rcm", "4", "--small"),
        ("seeds.md", "run", "best-w6a6", net, "--images", crops, "--seeds", "0,1"),
    )):  # fmt: skip
        out = tmp_path / str(number)
        out.mkdir()
        (out / name).write_text("mine")
        run = bitface(*command, "--out", out)
        ends_in_one_line(run, 1, f"{out / name}: is there, and no result of bitface lists it", "another --out")
        assert content(out) == {name: b"mine"}


def test_a_network_is_not_replaced_by_what_is_made_of_it(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    model = Path(shutil.copy(net, tmp_path / "model.onnx"))
    (tmp_path / "result.json").write_text('{"files": {"model.onnx": ""}}')
    before = content(tmp_path)
    for command in (("quantize",), ("prune", "--ratio", 0.3), ("search", "--budget", "5bits")):
        run = bitface(*command, model, "--images", crops, *PREPROCESS, "--out", tmp_path, "--force")
        ends_in_one_line(run, 1, f"{model}: is read", "another --out")
    assert content(tmp_path) == before


def test_tables_and_analyses_too(net: Path, crops: Path, made: Path, tmp_path: Path, bitface: Run) -> None:
    (tmp_path / "sensitivity.json").write_text('{"model": {"name": "net"}, "settings": {"seed": 3}}')
    (tmp_path / "analysis.json").write_text('{"title": "this beside that"}')
    swept = bitface("sensitivity", net, "--images", crops, *PREPROCESS, "--out", tmp_path)
    ends_in_one_line(swept, 1, "sensitivity.json", "net, seed 3", "--force")
    analysed = bitface("analyse", net, made / "model.bitface", "--images", crops, "--out", tmp_path)
    ends_in_one_line(analysed, 1, "analysis.json", "this beside that", "--force")
    # Another kind of result in the same folder is in nobody's way.
    assert bitface("analyse", net, made / "model.bitface", "--images", crops, "--out", made)[0] == 0
    assert bitface("report", made, "--out", tmp_path / "report.html")[0] == 0


def test_a_second_command_waits_for_nobody(
    net: Path, crops: Path, pairs: Path, made: Path, tmp_path: Path, bitface: Run
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"models: {{a: {made / 'model.bitface'}}}\nprotocols: {{p: {{pairs: {pairs}, root: {crops}}}}}\n")
    comparison = tmp_path / "candidates.yaml"
    comparison.write_text(
        f"model: {net}\nimages: {crops}\nprotocol: {{pairs: {pairs}, root: {crops}}}\n"
        "candidates: {a: {quantize: {bits: w8a8}}}\n"
    )
    before = content(made)
    with holding(made, "demo"):
        for command in (
            ("quantize", net, "--images", crops, *PREPROCESS, "--force"),
            ("quantize", net, "--images", crops, *PREPROCESS, "--method", "qat", "--force"),
            ("prune", net, "--ratio", 0.3, "--images", crops, *PREPROCESS, "--force"),
            ("distill", net, "--student", "mobilefacenet:0.125", "--images", crops, *PREPROCESS, "--force"),
            ("run", "scratch-mobilefacenet", "--images", crops, "--force"),
            ("analyse", net, made / "model.bitface", "--images", crops),
            ("sensitivity", net, "--images", crops, *PREPROCESS),
            ("search", net, "--images", crops, *PREPROCESS, "--budget", "5bits", "--force"),
            ("compare", comparison),
            ("evaluate", "--suite", suite),
            ("demo", "--quick"),
        ):
            run = bitface(*command, "--out", made)
            ends_in_one_line(run, 1, f"{made}: bitface demo (process {os.getpid()} on ", "wait for its end")
    assert content(made) == before


def test_made_faces_have_one_maker(net: Path, tmp_path: Path, bitface: Run) -> None:
    out = tmp_path / "faces"
    with locked(tmp_path / ".faces.lock", out, "synth"):
        run = bitface("synth", "none:2", "--model", net, *PREPROCESS, "--out", out)
        ends_in_one_line(run, 1, f"{out}: bitface synth (process {os.getpid()} on ", "wait for its end")
    assert not list(tmp_path.iterdir())


def test_two_threads_in_one_folder(net: Path, crops: Path, tmp_path: Path) -> None:
    request = QuantizeRequest(net, FaceSource([crops], max_images=12), tmp_path / "out", preprocess="rgb-127.5-128")
    errors: list[str] = []

    def second() -> None:
        try:
            quantize_model(request)
        except BitfaceError as error:
            errors.append(str(error))

    def steps(name: str) -> Callable[..., None]:
        if name == "checking held-out faces":
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()
        return lambda done, total, words="": None

    result = quantize_model(request, steps)
    assert len(errors) == 1
    assert f"bitface quantize (process {os.getpid()} on " in errors[0]
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result


def test_calibrate_writes_over_what_it_read_and_nothing_else(
    net: Path, crops: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made / "model.bitface"
    request = CalibrateRequest(model, source=FaceSource([crops]), fars=(0.1,))
    before = content(made)
    calibrate_model(request)
    assert len(read(model).thresholds) == 1
    assert {name for name, data in content(made).items() if data != before[name]} == {"model.bitface"}
    embed = embed_images

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        force = QuantizeRequest(net, FaceSource([crops], max_images=12), made, preprocess="rgb-127.5-128", force=True)
        quantize_model(force)
        return embed(*arguments, **options)

    monkeypatch.setattr(calibrate, "embed", meanwhile)
    with pytest.raises(BitfaceError, match="another command wrote to it meanwhile, so nothing was written"):
        calibrate_model(request)
    assert read(model).thresholds == []
    assert read(model).data["images"] == 12


def test_calibrate_waits_for_no_long_command(crops: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_PATIENCE", 0.1)
    before = content(made)
    with holding(made, "quantize"), pytest.raises(BitfaceError, match="bitface quantize"):
        calibrate_model(CalibrateRequest(made / "model.bitface", source=FaceSource([crops]), fars=(0.1,)))
    assert content(made) == before


@pytest.mark.slow
def test_calibrated_folders_are_still_whole(crops: Path, pairs: Path, made: Path, tmp_path: Path, bitface: Run) -> None:
    link = tmp_path / "latest.bitface"
    link.symlink_to(made / "model.bitface")
    assert bitface("calibrate", link, "--images", crops, "--far", "0.1")[0] == 0
    assert link.is_symlink()
    assert len(read(made / "model.bitface").thresholds) == 1
    run = bitface("report", made, "--out", made / "report.html")
    assert run[0] == 0, run
    assert bitface("report", made, "--out", tmp_path / "report.html")[0] == 0
    evaluation = made / "evaluation.json"
    for model in ("model.bitface", "model.onnxruntime.onnx"):
        assert bitface("evaluate", made / model, "--pairs", pairs, "--root", crops, "--json", evaluation)[0] == 0
        assert bitface("report", made, "--out", tmp_path / "report.html")[0] == 0
        models = json.loads((tmp_path / "report.json").read_text())["models"]
        assert len(models) == 1
        assert models[0]["evaluation"]


@pytest.mark.slow
def test_faces_and_evaluations_of_another_run(
    net: Path, crops: Path, pairs: Path, made: Path, tmp_path: Path, bitface: Run
) -> None:
    evaluation = made / "evaluation.json"
    command = ("evaluate", made / "model.openvino.onnx", "--pairs", pairs, "--root", crops)
    assert bitface(*command, "--json", evaluation)[0] == 0
    quantize = ("quantize", net, "--images", crops, *PREPROCESS, "--max-images", 12, "--bits", "w4a8", "--force")
    assert bitface(*quantize, "--out", made)[0] == 0
    # The evaluation is still there, and of a file that isn't any more: of no model of the folder.
    assert bitface("report", made, "--out", tmp_path / "report.html")[0] == 0
    assert len(json.loads((tmp_path / "report.json").read_text())["models"]) == 2
    other = tmp_path / "other"
    assert bitface(*quantize, "--seed", 5, "--out", other)[0] == 0
    shutil.copy(other / "faces.safetensors", made)
    ends_in_one_line(bitface(*command), 1, "faces.safetensors", "mixes two runs", "make it again")
    ends_in_one_line(bitface("report", made, "--out", tmp_path / "b.html"), 1, "faces.safetensors", "make it again")


@pytest.mark.slow
def test_json_alone_on_standard_output(
    crops: Path, pairs: Path, made: Path, tmp_path: Path, bitface: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = made / "model.bitface"
    gallery = tmp_path / "gallery.safetensors"
    assert bitface("enroll", model, "--images", crops, "--out", gallery)[0] == 0
    before = {path.name for path in tmp_path.iterdir()}
    face = crops / "p0" / "0.png"
    for *command, told in (
        ("calibrate", model, "--images", crops, "--far", "0.1", "--json", "-", "threshold"),
        ("inspect", model, "--json", "/dev/stdout", "parameters"),
        ("evaluate", model, "--pairs", pairs, "--root", crops, "--json", "-", "accuracy"),
        ("verify", face, face, "--model", model, "--far", "0.1", "--json", "-", "same"),
        ("identify", face, "--gallery", gallery, "--model", model, "--json", "-", "p0"),
    ):
        code, out, err = bitface(*command)
        assert code == 0, err
        assert json.loads(out)
        assert told in err
    assert {path.name for path in tmp_path.iterdir()} == before
    code, out, _ = bitface("inspect", model)
    assert code == 0
    assert "parameters" in out, "the next call prints as ever"


def test_json_to_a_link_a_pipe_and_where_it_can_not_go(made: Path, tmp_path: Path, bitface: Run) -> None:
    model, target = made / "model.bitface", tmp_path / "target.json"
    target.touch(0o600)
    (tmp_path / "link").symlink_to(target)
    assert bitface("inspect", model, "--json", tmp_path / "link")[0] == 0
    assert json.loads(target.read_text())["kind"] == "artifact"
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("gone")
    for name, words in (("made", "is a folder"), ("loop", "symbolic links"), ("dangling", "symbolic link to gone")):
        ends_in_one_line(bitface("inspect", tmp_path / "none.onnx", "--json", tmp_path / name), 1, name, words)
        for command in (("export", model), ("calibrate", model, "--images", made), ("enroll", model, "--images", made)):
            ends_in_one_line(bitface(*command, "--out", tmp_path / name), 1, name, words)
    assert not (tmp_path / "gone").exists()
    for command in (("export", model), ("calibrate", model), ("enroll", model, "--images", made), ("report", made)):
        ends_in_one_line(bitface(*command, "--out", "-"), 2, "--out names a file")
    for other in (("synth", "synthetic:2"), ("demo",), ("analyse", model, model, "--images", made)):
        ends_in_one_line(bitface(*other, "--out", "-"), 2, "--out names a folder")


def test_a_full_standard_output_is_one_line(made: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    try:
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        sink = os.open(full, os.O_WRONLY)
    except OSError as error:
        pytest.skip(f"no devices can be made here: {error}")
    command = [sys.executable, "-m", "bitface", "inspect", str(made / "model.bitface"), "--json", "-"]
    run = subprocess.run(command, stdout=sink, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 1, run.stderr
    assert run.stderr.splitlines() == [
        "error: standard output can't be written (No space left on device); make room, or write elsewhere"
    ]


def test_a_demo_writes_over_its_own_faces_alone(tmp_path: Path) -> None:
    def made(seed: int) -> SyntheticFaces:
        return SyntheticFaces(np.full((2, 112, 112, 3), seed, np.uint8), {"kind": "synthetic", "seed": seed, "kept": 2})

    folder = tmp_path / "faces"
    demo.write_demo_faces(folder, made(0), earlier=False)
    before = content(folder)
    stamp = (folder / "000000.png").stat().st_mtime_ns
    demo.write_demo_faces(folder, made(0), earlier=False)  # of a demo that was stopped
    assert (folder / "000000.png").stat().st_mtime_ns == stamp
    with pytest.raises(BitfaceError, match="isn't an empty folder"):
        demo.write_demo_faces(folder, made(1), earlier=False)
    assert content(folder) == before
    demo.write_demo_faces(folder, made(1), earlier=True)
    assert content(folder).keys() == before.keys()
    assert content(folder) != before
    (folder / "manifest.json").unlink()  # somebody else's, whatever lies beside it
    with pytest.raises(BitfaceError, match="isn't an empty folder"):
        demo.write_demo_faces(folder, made(0), earlier=True)

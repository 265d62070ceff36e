"""A folder holds one result: wherever the move of its files is cut off, nothing that mixes two runs is believed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bitface import backbones
from bitface.artifact import Artifact
from bitface.artifact import write as write_artifact
from bitface.errors import BitfaceError
from bitface.graph import from_module
from bitface.quant import BitPlan, quantize
from bitface.results.documents import of_kind, read_runs
from bitface.results.folder import CHECKPOINT, RESULT, check_beside, check_free, finished, staging, write_result
from bitface.results.locks import LOCK, holding
from bitface.results.quantization import QuantizationRecord

NAMES = ("faces.safetensors", "model.onnxruntime.onnx", "model.openvino.onnx", "report.html")
EXAMPLE = json.loads((Path(__file__).parent / "v0.1.0" / "quantization.json").read_text())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two integer networks of other weights."""
    folder, paths = tmp_path_factory.mktemp("models"), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = from_module(backbones.create("mobilefacenet:0.125", embedding_size=8).eval(), "rgb-127.5-128")
        faces = torch.randint(0, 256, (4, 112, 112, 3), dtype=torch.uint8).numpy()
        student, _ = quantize(network, faces, BitPlan.parse("w8a8"))
        paths.append(folder / f"{seed}.bitface")
        write_artifact(paths[-1], Artifact(student, {}, {"name": "net"}))
    return paths


def write(out: Path, seed: int, model: Path) -> None:
    """Puts the result of a run into a folder."""
    with staging(out) as folder:
        shutil.copy(model, folder / "model.bitface")
        for name in NAMES:
            (folder / name).write_text(f"{name} of {seed}")
        write_result(folder, QuantizationRecord.from_json({**EXAMPLE, "seed": seed}))


# Is killed before the n-th change of a name in the folder, for every n, each in a process of its own.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from results.test_folder import write
before, model, places = map(Path, sys.argv[2:5])
for number in range(1, 1000):
    place = places / str(number)
    shutil.copytree(before, place)
    process = os.fork()
    if process == 0:
        left = number
        def watch(event, arguments):
            global left
            if event in ("os.rename", "os.remove", "os.rmdir"):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(watch)
        write(place, 1, model)
        os._exit(0)
    if os.waitpid(process, 0)[1] == 0:
        break
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_killed_at_every_change_of_a_name(models: list[Path], tmp_path: Path) -> None:
    before, places = tmp_path / "before", tmp_path / "places"
    write(before, 0, models[0])
    places.mkdir()
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parents[1]), str(before), str(models[1]), str(places)]
    subprocess.run(command, check=True, timeout=300)
    seen = []
    for place in sorted(places.iterdir(), key=lambda one: int(one.name)):
        text = {name: (place / name).read_text().split()[-1] for name in NAMES if (place / name).is_file()}
        if (place / "model.bitface").is_file():
            bits = (place / "model.bitface").read_bytes()
            text["model.bitface"] = str([model.read_bytes() for model in models].index(bits))
        whose = set(text.values())
        assert len(whose) <= 1, f"cut off before change {place.name}, two runs are mixed: {text}"
        if not (place / RESULT).is_file():
            with pytest.raises(BitfaceError, match="holds no result"):
                read_runs([place])
            seen.append("refused")
            continue
        (document,) = of_kind(read_runs([place]), QuantizationRecord)
        assert whose == {str(document.result.seed)}
        assert len(text) == len(NAMES) + 1, f"cut off before change {place.name}, files are missing: {sorted(text)}"
        seen.append(str(document.result.seed))
    assert list(dict.fromkeys(seen)) == ["0", "refused", "1"]
    assert seen.count("refused") >= 10  # the old files go, the new ones come
    last = max(places.iterdir(), key=lambda one: int(one.name))
    assert {one.name for one in last.iterdir()} == {*NAMES, "model.bitface", RESULT}
    # What was cut off, wherever, is made again in the same folder, and nothing is left of it.
    for place in places.iterdir():
        check_free(place, (place / RESULT).is_file(), files=("model.bitface", *NAMES))
        write(place, 1, models[1])
        assert {one.name for one in place.iterdir()} == {*NAMES, "model.bitface", RESULT}


def test_files_of_another_run(models: list[Path], tmp_path: Path) -> None:
    for name in ("model.bitface", "faces.safetensors", "model.openvino.onnx"):
        ours, theirs = tmp_path / f"ours {name}", tmp_path / f"theirs {name}"
        write(ours, 0, models[0])
        write(theirs, 1, models[1])
        read_runs([ours])
        shutil.copy(theirs / name, ours / name)
        with pytest.raises(BitfaceError, match=f"{name} beside it isn't the file that it was written with"):
            read_runs([ours])
        with pytest.raises(BitfaceError, match="make it again"):
            check_beside(ours / "model.openvino.onnx")
    # Somebody else's model in the same folder, a page, and files that were taken away are no mixture.
    write(ours, 0, models[0])
    shutil.copy(models[1], ours / "another.bitface")
    check_beside(ours / "another.bitface")
    (ours / "report.html").write_text("a page of bitface report")
    (ours / "faces.safetensors").unlink()
    read_runs([ours])


def test_results_of_the_first_version_are_read(models: list[Path], tmp_path: Path) -> None:
    write(tmp_path / "out", 0, models[0])
    path = tmp_path / "out" / RESULT
    content = json.loads(path.read_text())
    del content["files"]
    path.write_text(json.dumps(content))
    (tmp_path / "out" / "faces.safetensors").write_text("whatever")
    assert read_runs([tmp_path / "out"])


def test_names_in_a_result_stay_in_its_folder(models: list[Path], tmp_path: Path) -> None:
    """Written over, a result takes its files with it; a result that was tampered with takes nobody else's."""
    (tmp_path / "precious").write_text("x")
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.onnx").write_text("x")
    named = {"../precious": "", str(tmp_path / "precious"): "", "..": "", ".": "", "": "", "model.onnx": ""}
    (out / RESULT).write_text(json.dumps({"files": named}))
    write(out, 0, models[0])
    assert (tmp_path / "precious").is_file()
    assert not (out / "model.onnx").exists()


def test_a_folder_in_the_way_costs_nothing(models: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, 0, models[0])
    (out / "report.html").unlink()
    (out / "report.html").mkdir()
    with pytest.raises(BitfaceError, match=r"report.html is a folder.*the new files are in .*unfinished"):
        write(out, 1, models[1])
    assert json.loads((out / RESULT).read_text())["seed"] == 0
    assert (out / "model.bitface").read_bytes() == models[0].read_bytes()
    (left,) = out.glob(".unfinished.*")
    assert json.loads((left / RESULT).read_text())["seed"] == 1


def test_a_file_of_somebody_else_stays(models: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("mine")
    (out / "other.json").write_text('{"files": ["report.html"], "name": "of a program"}')
    for force in (False, True):
        with pytest.raises(BitfaceError, match=r"report.html: is there, and no result of bitface lists it"):
            check_free(out, force, files=NAMES)
    check_free(out, False, files=("model.bitface",))
    # Where the names aren't known before, nothing moves, and what was made is kept, however often.
    for _ in range(2):
        with pytest.raises(BitfaceError, match=r"report.html is there, and no result lists it.*the new files are in"):
            write(out, 0, models[0])
        with pytest.raises(BitfaceError, match="no result of bitface lists it"):
            check_free(out, True, files=NAMES)
    assert (out / "report.html").read_text() == "mine"
    assert not (out / RESULT).exists()
    assert not (out / "model.bitface").exists()
    assert len([*out.glob(".unfinished.*/model.bitface")]) == 2
    (out / "report.html").rename(out / "mine.html")
    write(out, 0, models[0])
    assert {one.name for one in out.iterdir()} == {*NAMES, "model.bitface", RESULT, "mine.html", "other.json"}
    # Its own files are written over, also by a result that lists others, and beside one of the first version.
    check_free(out, True, files=NAMES)
    write(out, 1, models[1])
    content = json.loads((out / RESULT).read_text())
    del content["files"]
    (out / RESULT).write_text(json.dumps(content))
    check_free(out, True, files=NAMES)
    write(out, 0, models[0])


def test_what_is_read_stays(models: list[Path], tmp_path: Path) -> None:
    """A network that is made smaller in the folder that it lies in would go with the result that it came with."""
    out = tmp_path / "out"
    write(out, 0, models[0])
    (tmp_path / "link").symlink_to(out / "model.onnxruntime.onnx")
    with pytest.raises(BitfaceError, match=r"model.onnxruntime.onnx: is read"):
        check_free(out, True, reads=[tmp_path / "link"])
    check_free(out, True, files=NAMES, reads=[models[0], tmp_path / "absent"])


def test_what_a_step_left_that_was_killed_at_its_end_goes(tmp_path: Path) -> None:
    assert not finished(tmp_path, "compare")
    (tmp_path / RESULT).write_text("{}")
    (tmp_path / LOCK).write_text("{}")
    (tmp_path / ".unfinished.1").mkdir()
    (tmp_path / ".unfinished.1" / "file").touch()
    with holding(tmp_path, "quantize"), pytest.raises(BitfaceError, match=r"bitface quantize .* is writing there"):
        finished(tmp_path, "compare")
    assert finished(tmp_path, "compare")
    assert [file.name for file in tmp_path.iterdir()] == [RESULT]
    (tmp_path / CHECKPOINT).touch()
    assert not finished(tmp_path, "compare")

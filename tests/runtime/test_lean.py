"""`bitface[run]`: an exported network where there is neither torch nor anything else that makes networks."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import onnx
import pytest

from bitface.data.face_source import FaceSource
from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.gallery import Origin, enrolled
from bitface.evaluation.gallery_file import read_gallery, write_gallery
from bitface.jobs.people.enroll import EnrollRequest, enroll
from bitface.jobs.people.identify import identify_images
from bitface.runtime import load
from bitface.runtime.model import Model, open_model
from bitface.targets.base import FACTS_KEY
from support.door import write_door

HEAVY = ("torch", "torchgen", "functorch", "onnx", "openvino", "scipy", "sklearn", "jinja2", "flatbuffers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported artifact with a threshold, two crops, and a site of packages without the heavy ones."""
    folder = tmp_path_factory.mktemp("lean")
    write_door(folder)
    for name in "ab":
        (folder / "people" / name).mkdir(parents=True)
        shutil.copy(folder / f"{name}.png", folder / "people" / name)
    (folder / "site").mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name.partition("-")[0].lower() not in HEAVY and "bitface" not in package.name:
            (folder / "site" / package.name).symlink_to(package)
    return folder


def ran(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python where there is no torch, with a cache that whoever has torch has filled."""
    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{folder / 'site'}"}
    command = [sys.executable, "-S", *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


def python(folder: Path, *arguments: object) -> str:
    process = ran(folder, *arguments)
    assert process.returncode in (0, 1), process.stderr  # one person, or another
    assert "error" not in process.stderr, process.stderr
    return process.stdout


def test_an_exported_network_embeds(folder: Path) -> None:
    program = (
        "import importlib.util, json, bitface\n"
        "assert importlib.util.find_spec('torch') is None\n"
        "model = bitface.load('door.onnx')\n"
        "print(json.dumps([model.engine, model.embed(['a.png', 'b.png']).tolist()]))"
    )
    engine, rows = json.loads(python(folder, "-W", "error", "-c", program))
    assert engine == "onnxruntime"
    expected = load(folder / "door.onnx").embed([folder / "a.png", folder / "b.png"])
    np.testing.assert_array_equal(np.float32(rows), expected)


def test_and_verifies(folder: Path) -> None:
    said = python(folder, "-m", "bitface", "verify", "a.png", "b.png", "--model", "door.onnx", "--far", "0.01")
    assert "threshold 0.5" in " ".join(said.split())


def test_it_is_the_same_model_where_there_is_torch(folder: Path) -> None:
    program = (
        "import json\n"
        "from pathlib import Path\n"
        "from bitface.runtime import open_model\n"
        "model = open_model(Path('door.onnx'))\n"
        "print(json.dumps([model.fingerprint, model.thresholds, model.teacher]))"
    )
    here = open_model(folder / "door.onnx")
    assert json.loads(python(folder, "-c", program)) == [here.fingerprint, here.thresholds, here.teacher]
    assert here.fingerprint == open_model(folder / "model.bitface").fingerprint
    assert here.details is None


@pytest.mark.parametrize("model", ["door.onnx", "model.bitface"])
def test_a_gallery_goes_where_there_is_torch_and_comes_from_there(
    folder: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = "onnxruntime" if model == "door.onnx" else "c"
    options = ["--engine", engine]
    if engine == "c":
        if not shutil.which("cc"):
            pytest.skip("no C compiler")
        # Torch is needed once to compile it, on this machine.
        monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
        load(folder / model, engine)
    lean, full = tmp_path / "lean.safetensors", tmp_path / "full.safetensors"
    python(folder, "-m", "bitface", "enroll", model, "--images", "people", "--out", lean, *options)
    enroll(EnrollRequest(folder / model, FaceSource([folder / "people"]), full, engine=engine))
    np.testing.assert_array_equal(read_gallery(lean).embeddings, read_gallery(full).embeddings)
    for other in ("door.onnx", "model.bitface"):
        assert identify_images([folder / "b.png"], lean, folder / other)[0]["people"][0]["id"] == "b"
    command = ["-m", "bitface", "identify", "b.png", "--gallery", full, "--model", model, "--json", "-", *options]
    assert json.loads(python(folder, *command))[0]["people"][0]["id"] == "b"


def test_vectors_become_a_gallery(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", load(folder / "door.onnx").embed([folder / "a.png", folder / "b.png"]))
    (tmp_path / "ids.csv").write_text("a\nb\n")
    out = tmp_path / "gallery.safetensors"
    vectors = ["--vectors", tmp_path / "mine.npy", "--ids", tmp_path / "ids.csv"]
    python(folder, "-m", "bitface", "enroll", *vectors, "--fingerprint-of", "door.onnx", "--out", out)
    assert identify_images([folder / "b.png"], out, folder / "model.bitface")[0]["people"][0]["id"] == "b"


def test_a_gallery_of_before_is_refused_in_a_line(folder: Path, tmp_path: Path) -> None:
    # Where torch was, an exported file's gallery had the fingerprint of the file's own graph.
    before = Model(folder / "door.onnx", "exported", open_model(folder / "door.onnx").network, "onnxruntime")
    rows = load(folder / "door.onnx").embed([folder / "a.png"])
    write_gallery(tmp_path / "old.safetensors", enrolled(rows, ["a"], Origin(before.fingerprint, "rgb-127.5-127.5")))
    with pytest.raises(UsageError, match=r"the gallery was enrolled by model .*: enrol its people again") as error:
        identify_images([folder / "a.png"], tmp_path / "old.safetensors", folder / "door.onnx")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"preprocess": 3}'])
def test_what_a_file_says_of_itself_is_whole(folder: Path, text: str, tmp_path: Path) -> None:
    model = onnx.load(folder / "door.onnx")
    next(entry for entry in model.metadata_props if entry.key == FACTS_KEY).value = text
    onnx.save(model, tmp_path / "door.onnx")
    with pytest.raises(
        BitfaceError, match=r"door\.onnx: its bitface\.facts is damaged .* export the \.bitface file again"
    ):
        open_model(tmp_path / "door.onnx")
    process = ran(folder, "-c", f"import bitface; bitface.load({str(tmp_path / 'door.onnx')!r})")
    assert "bitface.facts is damaged" in process.stderr.splitlines()[-1]


def test_another_graph_is_another_model(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "door.onnx")
    weights = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    weights.raw_data = bytes(reversed(weights.raw_data))
    onnx.save(model, tmp_path / "door.onnx")
    with pytest.raises(BitfaceError, match=r"door\.onnx: was changed after it was exported"):
        open_model(tmp_path / "door.onnx")
    process = ran(folder, "-c", f"import bitface; bitface.load({str(tmp_path / 'door.onnx')!r})")
    assert "was changed after it was exported" in process.stderr.splitlines()[-1]
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "door.onnx")
    assert open_model(tmp_path / "door.onnx").fingerprint != open_model(folder / "door.onnx").fingerprint


def test_other_files_say_what_they_need(folder: Path) -> None:
    (folder / "other.onnx").write_bytes(b"no network")
    process = ran(
        folder, "-m", "bitface", "verify", "a.png", "b.png", "--model", "other.onnx", "--far", "0.01",
    )  # fmt: skip
    assert process.returncode == 3  # it can't be told
    assert "other.onnx" in process.stderr
    assert "Traceback" not in process.stderr


def test_who_leaves_a_gallery_can_where_there_is_no_torch(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "gallery.safetensors"
    python(folder, "-m", "bitface", "enroll", "door.onnx", "--images", "people", "--out", out)
    assert "1 people" in python(folder, "-m", "bitface", "gallery", out, "--remove", "a")
    assert read_gallery(out).ids == ("b",)

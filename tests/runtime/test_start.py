"""How an artifact starts: without torch where it was started before, whatever befell what is kept of it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitface import artifact
from bitface.artifact import Artifact
from bitface.errors import BitfaceError
from bitface.quant import BitPlan, Calibration, quantize
from bitface.runtime import Embedder, load
from bitface.runtime.exact import default_engine
from bitface.runtime.model import Model, open_model
from bitface.store import Store
from bitface.targets import Settings
from support.quantized import Mixed, faces, network

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "cv2", "scipy", "pydantic")
THRESHOLD = {"far": 0.01, "threshold": 0.5, "engine": "c"}
# Of a process that has embedded, in KB; torch alone takes more.
MOST_MEMORY = 80_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An artifact, faces, the C of the artifact, and the cache that is used meanwhile and knows both."""
    folder = tmp_path_factory.mktemp("start")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITFACE_CACHE", str(folder / "cache"))
        yield filled(folder)


def filled(folder: Path) -> Path:
    net = network(Mixed(), 16)
    student = quantize(net, faces(8, 16), BitPlan(), Calibration("minmax", bias_correction=False))[0]
    details = Artifact(student, BitPlan().to_json(), {"name": "mixed", "fingerprint": net.fingerprint()})
    details.thresholds.append(THRESHOLD)
    artifact.write(folder / "model.bitface", details)
    np.save(folder / "faces.npy", faces(5, 16, seed=1))
    open_model(folder / "model.bitface").export("c", folder / "as_c")
    for model in ("model.bitface", "as_c"):
        load(folder / model, "c")
    return folder


def started(folder: Path, model: str) -> dict[str, Any]:
    """What a process says that embeds in C."""
    program = (
        "import json, sys, bitface, numpy\n"
        f"model = bitface.load({str(folder / model)!r}, 'c')\n"
        f"rows = model.embed(numpy.load({str(folder / 'faces.npy')!r}))\n"
        "memory = int(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "print(json.dumps([rows.tolist(), model.engine, model.fingerprint, heavy, memory]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return dict(zip(("rows", "engine", "fingerprint", "heavy", "memory"), json.loads(ran.stdout), strict=True))


def expected(folder: Path) -> np.ndarray:
    return load(folder / "model.bitface", "c").embed(np.load(folder / "faces.npy"))


@pytest.mark.parametrize("model", ["model.bitface", "as_c"])
def test_nothing_that_makes_networks_is_imported(folder: Path, model: str) -> None:
    told = started(folder, model)
    assert told["heavy"] == []
    assert told["memory"] < MOST_MEMORY
    assert (told["engine"], told["fingerprint"]) == ("c", open_model(folder / "model.bitface").fingerprint)
    np.testing.assert_array_equal(np.float32(told["rows"]), expected(folder))


@pytest.mark.parametrize("variables", [{"PATH": "", "CC": ""}, {"CC": "false"}])
def test_without_a_compiler_another_engine_computes(
    folder: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load(folder / "model.bitface").engine in ("openvino", "onnxruntime")


def test_what_is_kept_is_made_again_where_it_is_damaged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "cache", tmp_path / "cache")
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    right = expected(folder)
    for damage in (lambda data: data[:-9], lambda data: data[: len(data) // 2] + b"x" + data[len(data) // 2 + 1 :]):
        for file in [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]:
            content = file.read_bytes()
            file.unlink()  # a library in use keeps its content
            file.write_bytes(damage(content))
        np.testing.assert_array_equal(expected(folder), right)
        assert load(folder / "model.bitface").engine == default_engine(open_model(folder / "model.bitface"))
    assert set(Store().contents()) == {"kernels", "models"}


def test_an_artifact_that_changes_is_another_one(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bitface"
    shutil.copy(folder / "model.bitface", path)
    model = open_model(path)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(BitfaceError, match=r"model\.bitface: has changed since it was opened; open it again"):
        Model(path, "artifact", facts=model._facts).network  # noqa: B018
    for damaged in (data[:-1], data[:100], b"", data[:60] + b"x" + data[61:]):
        path.write_bytes(damaged)
        with pytest.raises(BitfaceError, match=r"damaged|truncated"):
            open_model(path)


def test_the_cache_need_not_be_there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "file"))
    embedder = load(folder / "model.bitface")
    assert embedder.engine in ("openvino", "onnxruntime")
    with pytest.raises(BitfaceError, match="can't be written"):
        load(folder / "model.bitface", "c")


def test_the_folder_of_c_is_a_model(folder: Path, tmp_path: Path) -> None:
    model = open_model(folder / "as_c")
    assert (model.kind, model.profile, model.thresholds) == ("exported", "c", [THRESHOLD])
    assert load(folder / "as_c").embedding_size == 12
    with pytest.raises(BitfaceError, match=r"as_c: was exported for c, not for openvino; run the \.bitface file"):
        load(folder / "as_c", "openvino")
    with pytest.raises(BitfaceError, match=r"as_c: can only be run as it is; for this, give the \.bitface file"):
        _ = model.network
    shutil.copytree(folder / "as_c", tmp_path / "as_c")
    (tmp_path / "as_c" / "model.json").write_text("{")
    with pytest.raises(BitfaceError, match=r"model\.json: damaged"):
        open_model(tmp_path / "as_c")


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_share_the_images_of_a_call(folder: Path, threads: int) -> None:
    model, images = open_model(folder / "model.bitface"), faces(11, 16, seed=2)
    assert model.preprocess is not None
    one = np.concatenate([load(folder / "model.bitface", "c", threads=1).embed(image) for image in images])
    run = model.start("c", Settings(len(images), threads))
    np.testing.assert_array_equal(run(model.preprocess(images)), one)
    np.testing.assert_array_equal(Embedder(model, "c", threads).embed(images), one)
    assert run(model.preprocess(images[:0])).shape == (0, 12)


def test_unit_vectors(folder: Path) -> None:
    embedder, images = load(folder / "model.bitface", "c"), faces(3, 16)
    rows, units = embedder.embed(images), embedder.embed(images, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(units * np.linalg.norm(rows, axis=1, keepdims=True), rows, rtol=1e-6)
    assert units.dtype == np.float32

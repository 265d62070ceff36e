"""Images in, embeddings out, from every kind of file on every engine."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bitface.artifact import Artifact, write
from bitface.data.faces import FaceFile
from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network, from_module, to_onnx
from bitface.preprocess import Size
from bitface.quant import BitPlan, quantize
from bitface.runtime import Embedder, load
from bitface.runtime.exact import default_engine
from bitface.runtime.model import open_model, open_models
from bitface.targets import DEFAULTS
from bitface.targets.exact import exact as sums_are_exact
from bitface.targets.registry import NATIVE
from support.free_size import free_size_file

SIDE, WIDTH = 32, 7


class Small(nn.Module):
    """A residual network that isn't the same to the left and to the right."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8))
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.pool, self.fc = nn.AvgPool2d(4), nn.Linear(8 * 16, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc(torch.flatten(self.pool(x + self.body(x)), 1))


def faces(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def make(folder: Path, word: str = "w8a8") -> tuple[Network, Network]:
    """The float network and its integers; their files are in the folder."""
    torch.manual_seed(0)
    net = from_module(Small(), "rgb-127.5-127.5", "small", (SIDE, SIDE))
    integer, _ = quantize(net, faces(8), BitPlan.parse(word))
    details = Artifact(integer, BitPlan.parse(word).to_json(), {"name": "small", "fingerprint": net.fingerprint()})
    write(folder / "model.bitface", details)
    (folder / "float.onnx").write_bytes(to_onnx(net.graph).SerializeToString())
    for profile in ("openvino", "onnxruntime"):
        open_model(folder / "model.bitface").export(profile, folder / f"{profile}.onnx")
    return net, integer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Network, Network]:
    folder = tmp_path_factory.mktemp("models")
    return folder, *make(folder)


def test_a_free_size_is_named_or_warned_of(tmp_path: Path) -> None:
    path = free_size_file(tmp_path / "net.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), dtype=np.uint8)
    inputs = (images.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 127.5
    expected = onnxruntime.InferenceSession(path).run(None, {"image": inputs})[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in (160, "160x160", (160, 160)):
            found = load(path, preprocess="rgb-127.5-127.5", size=size).embed(images)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    with pytest.warns(UserWarning, match="112x112 is taken, which is assumed; size= names another"):
        assumed = load(path, preprocess="rgb-127.5-127.5")
    files = [str(tmp_path / f"{number}.png") for number in range(2)]
    for file, image in zip(files, images, strict=True):
        cv2.imwrite(file, image)
    with pytest.warns(UserWarning, match="2 of 2 crops .* network's 112x112 .* from 160x160"):
        assumed.embed(files)


def test_networks_beside_an_artifact_have_its_size(made: tuple[Path, Network, Network], tmp_path: Path) -> None:
    free, artifact = free_size_file(tmp_path / "net.onnx"), made[0] / "model.bitface"
    opened = open_models([free, artifact], "rgb-127.5-127.5")
    assert [model.path for model in opened] == [free, artifact]
    assert [model.network.size for model in opened] == [(SIDE, SIDE)] * 2
    assert "the size of the artifact" in opened[0].network.notes[0]
    assert open_models([free])[0].network.size == (112, 112)
    with pytest.raises(BitfaceError, match=rf"model.bitface: takes images of {SIDE}x{SIDE} .*size=64x64"):
        open_models([free, artifact], "rgb-127.5-127.5", Size(64, 64))


def simulate(net: Network, images: np.ndarray) -> np.ndarray:
    assert net.preprocess is not None
    with torch.no_grad():
        return net.graph(torch.from_numpy(net.preprocess(images))).numpy()


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    return float(nn.functional.cosine_similarity(torch.from_numpy(a), torch.from_numpy(b)).min())


KINDS = [
    *(("model.bitface", engine) for engine in (NATIVE, *DEFAULTS)),
    *(("float.onnx", engine) for engine in DEFAULTS),
    ("openvino.onnx", "openvino"),
    ("openvino.onnx", "torch"),
    ("onnxruntime.onnx", "onnxruntime"),
    ("onnxruntime.onnx", "torch"),
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]} on {kind[1]}")
def embedder(request: pytest.FixtureRequest, made: tuple[Path, Network, Network]) -> tuple[Embedder, Network]:
    """An embedder, and the network that says what it must give."""
    name, engine = request.param
    word = "rgb-127.5-127.5" if name == "float.onnx" else None
    folder, float_network, quantized = made
    return load(folder / name, engine, threads=1, preprocess=word), float_network if word else quantized


def least(engine: str, exact: float) -> float:
    """The cosine to ask for: sums saturate in some engines on some CPUs, see `runtime.exact`."""
    return exact if engine == "torch" or sums_are_exact(engine, 8) else 0.9


def test_the_embeddings(embedder: tuple[Embedder, Network]) -> None:
    runner, net = embedder
    images = faces(6, seed=1)
    found = runner.embed(images)
    assert (found.dtype, found.shape, runner.embedding_size) == (np.float32, (6, WIDTH), WIDTH)
    assert agreement(found, simulate(net, images)) > least(runner.engine, 0.999)
    mirrored = runner.embed(images[:, :, ::-1])
    assert np.abs(found - mirrored).max() > 0.01
    np.testing.assert_allclose(runner.embed(images, flip=True), found + mirrored, rtol=1e-5, atol=1e-6)


def test_the_embedding_of_an_image_does_not_depend_on_its_company(embedder: tuple[Embedder, Network]) -> None:
    runner, _ = embedder
    images = faces(11, seed=2)
    together = runner.embed(images)
    alone = np.concatenate([runner.embed(image) for image in images])
    np.testing.assert_allclose(alone, together, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(runner.embed(images[::-1])[::-1], together, rtol=1e-6, atol=1e-6)
    assert runner.embed(images[:0]).shape == (0, WIDTH)


def test_files_are_arrays(embedder: tuple[Embedder, Network], tmp_path: Path) -> None:
    runner, _ = embedder
    images = faces(5, seed=3)
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image[..., ::-1])
    expected = runner.embed(images)
    np.testing.assert_array_equal(runner.embed(paths), expected)
    np.testing.assert_array_equal(runner.embed([str(path) for path in paths]), expected)
    np.testing.assert_array_equal(runner.embed(paths[2]), runner.embed(images[2]))
    assert runner.embed([]).shape == (0, WIDTH)
    np.testing.assert_array_equal(runner.embed(list(images)), expected)
    np.testing.assert_array_equal(runner.embed(tuple(images)), expected)


def test_images_of_other_libraries(embedder: tuple[Embedder, Network], tmp_path: Path) -> None:
    runner, _ = embedder
    images = faces(3, seed=5)
    expected = runner.embed(images)
    pillow = [Image.fromarray(image) for image in images]
    np.testing.assert_array_equal(runner.embed(pillow), expected)
    np.testing.assert_array_equal(runner.embed(pillow[1]), runner.embed(images[1]))
    np.testing.assert_array_equal(runner.embed(pillow[1].convert("L")), runner.embed(grey(pillow[1])))
    turned = pillow[2].transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    np.testing.assert_array_equal(runner.embed(turned), runner.embed(images[2]))
    # As OpenCV reads them; which order it is, nobody can see.
    reversed_ = images[..., ::-1]
    np.testing.assert_array_equal(runner.embed(reversed_, bgr=True), expected)
    np.testing.assert_array_equal(runner.embed(list(reversed_), bgr=True, flip=True), runner.embed(images, flip=True))
    assert np.abs(runner.embed(reversed_) - expected).max() > 0.01
    pillow[0].save(tmp_path / "a.png")
    for known in (pillow, pillow[0], tmp_path / "a.png"):
        with pytest.raises(UsageError, match="bgr is for arrays"):
            runner.embed(known, bgr=True)
    with pytest.raises(BitfaceError, match=r"faces must be uint8 RGB \[N, 32, 32, 3\]"):
        runner.embed(pillow[0].resize((40, 40)))


def grey(image: Image.Image) -> np.ndarray:
    return np.repeat(np.asarray(image.convert("L"))[..., None], 3, -1)


@pytest.fixture(scope="module")
def runner(made: tuple[Path, Network, Network]) -> Embedder:
    return load(made[0] / "model.bitface", "torch")


def test_pillow_that_another_thread_is_importing(runner: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its module is known by its name before its class is there."""
    images = list(faces(2, seed=5))
    expected = runner.embed(images)
    monkeypatch.delattr(Image, "Image")
    np.testing.assert_array_equal(runner.embed(images), expected)


def test_one_row_for_every_file(runner: Embedder, tmp_path: Path) -> None:
    names = [f"{index:02}.png" for index in range(19)]
    for index, name in enumerate(names):
        cv2.imwrite(str(tmp_path / name), faces(1, seed=index)[0, :, :, ::-1])
    (tmp_path / names[3]).write_bytes(b"")
    (tmp_path / names[7]).write_bytes((tmp_path / names[6]).read_bytes()[:200])
    (tmp_path / names[8]).unlink()
    cv2.imwrite(str(tmp_path / names[18]), np.zeros((20, 30, 3), np.uint8))
    skipped: list[tuple[str, str]] = []
    steps: list[tuple[int, int]] = []
    files = [FaceFile(tmp_path, name) for name in names]
    rows, valid = runner.embed_files(files, skipped=skipped, progress=lambda *step: steps.append(step))
    assert (len(rows), len(valid)) == (19, 19)
    bad = [3, 7, 8, 18]
    assert np.flatnonzero(~valid).tolist() == bad
    assert not rows[bad].any()
    assert [path for path, _ in skipped] == [names[index] for index in bad]
    good = [index for index in range(19) if index not in bad]
    np.testing.assert_array_equal(rows[good], runner.embed([tmp_path / names[index] for index in good]))
    assert steps[-1] == (19, 19)
    with pytest.raises(BitfaceError, match=r"03\.png: empty file"):
        runner.embed([tmp_path / names[0], tmp_path / names[3]])


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, SIDE, SIDE + 1, 3), np.uint8),
        np.zeros((2, 3, SIDE, SIDE), np.uint8),
        np.zeros((2, SIDE, SIDE, 3), np.float32),
        np.zeros((SIDE, SIDE), np.uint8),
        np.zeros((1, 1, SIDE, SIDE, 3), np.uint8),
    ],
)
def test_arrays_of_another_form(runner: Embedder, images: np.ndarray) -> None:
    with pytest.raises(BitfaceError, match=r"faces must be uint8 RGB \[N, 32, 32, 3\], got"):
        runner.embed(images)


def test_lists_of_something_else(runner: Embedder, tmp_path: Path) -> None:
    square, wide = np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE + 1, 3), np.uint8)
    with pytest.raises(BitfaceError, match=r"images of one call have one size, not \(32, 32, 3\) and \(32, 33, 3\)"):
        runner.embed([square, wide])
    for wrong, kind in (([square, tmp_path], "ndarray"), ([3], "int"), ([b"a.png"], "bytes"), ([None], "NoneType")):
        with pytest.raises(BitfaceError, match=rf"uint8 RGB arrays \[H, W, 3\] .*, not {kind} among them"):
            runner.embed(wrong)  # type: ignore[arg-type]


def test_an_unknown_preprocessing(made: tuple[Path, Network, Network]) -> None:
    path = made[0] / "float.onnx"
    with pytest.raises(BitfaceError, match="doesn't say how its input is normalised"):
        load(path)
    with pytest.raises(UsageError, match="unknown preprocessing 'rgb'"):
        load(path, preprocess="rgb")
    for name in ("model.bitface", "openvino.onnx"):
        with pytest.raises(BitfaceError, match=r"was made with the preprocessing rgb-127.5-127.5"):
            load(made[0] / name, preprocess="rgb-raw")
        load(made[0] / name, "torch", preprocess="rgb-127.5-127.5")


@pytest.mark.parametrize(("name", "engine"), [("openvino", "onnxruntime"), ("onnxruntime", "openvino")])
def test_an_exported_file_runs_on_its_engine_only(made: tuple[Path, Network, Network], name: str, engine: str) -> None:
    path = made[0] / f"{name}.onnx"
    with pytest.raises(BitfaceError, match=f"was exported for {name}, not for {engine}"):
        load(path, engine)
    assert load(path).engine == name
    with pytest.raises(UsageError, match="unknown engine 'abacus'"):
        load(path, "abacus")


def test_the_default_engine_and_what_a_file_is(made: tuple[Path, Network, Network]) -> None:
    folder, net, integer = made
    kinds = {name: open_model(folder / name).kind for name in ("model.bitface", "openvino.onnx", "float.onnx")}
    assert kinds == {"model.bitface": "artifact", "openvino.onnx": "exported", "float.onnx": "float"}
    assert load(folder / "model.bitface").engine == default_engine(open_model(folder / "model.bitface"))
    assert load(folder / "float.onnx", preprocess="rgb-raw").engine == "openvino"
    assert load(folder / "model.bitface").fingerprint == integer.fingerprint() != net.fingerprint()
    with pytest.raises(BitfaceError, match="no such file"):
        load(folder / "missing.onnx")


@pytest.mark.parametrize("word", ["w4a4", "w3a8", "w8a32"])
def test_other_bits_on_every_engine(tmp_path: Path, word: str) -> None:
    _, integer = make(tmp_path, word)
    images = faces(6, seed=4)
    expected = simulate(integer, images)
    for engine in DEFAULTS:
        found = load(tmp_path / "model.bitface", engine).embed(images)
        assert agreement(found, expected) > least(engine, 0.995), engine
    assert agreement(load(tmp_path / "openvino.onnx").embed(images), expected) > least("openvino", 0.995)


@pytest.mark.parametrize(
    "word",
    [
        "w4a4",
        "w3a8",
        "w8a32",
    ],
)
def test_other_bits_for_onnxruntime(tmp_path: Path, word: str) -> None:
    _, integer = make(tmp_path, word)
    images = faces(6, seed=4)
    for engine in ("onnxruntime", "torch"):
        found = load(tmp_path / "onnxruntime.onnx", engine).embed(images)
        assert agreement(found, simulate(integer, images)) > 0.995, engine

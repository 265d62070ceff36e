"""Files with generators in them: what is read, what is refused, and the same images from the same seed."""

import pickle
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper

from bitface.data import dcgan
from bitface.data.generators import Generator, open_generator
from bitface.data.stylegan2 import StyleGAN2
from bitface.errors import BitfaceError

LATENT, SIDE = 6, 12


def onnx_generator(
    path: Path,
    batch: int | str = "batch",
    last: str = "Tanh",
    inputs: tuple[tuple[str, int, list[int | str]], ...] = (),
    shape: tuple[int, ...] = (-1, 3, SIDE, SIDE),
    factor: float = 1.0,
    latent: int | str = LATENT,
) -> Path:
    """Images `last`(latents · weights) · factor, and what else the file asks for as an input."""
    weight = np.random.default_rng(0).normal(size=(LATENT, 3 * SIDE * SIDE)).astype(np.float32)
    constants = {
        "weight": weight,
        "shape": np.array([batch if isinstance(batch, int) else -1, *shape[1:]]),
        "factor": np.float32(factor),
    }
    nodes = [
        helper.make_node("MatMul", ["latents", "weight"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["images"]),
        helper.make_node(last, ["images"], ["coloured"]),
        helper.make_node("Mul", ["coloured", "factor"], ["faces"]),
    ]
    graph = helper.make_graph(
        nodes,
        "generator",
        [
            helper.make_tensor_value_info("latents", TensorProto.FLOAT, [batch, latent]),
            *(helper.make_tensor_value_info(*value) for value in inputs),
        ],
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def dcgan_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dcgan.DcganGenerator().state_dict()


def stylegan2(channels: tuple[int, ...] = (4, 4, 4)) -> StyleGAN2:
    torch.manual_seed(0)
    return StyleGAN2(8, 8, channels, layers=2).eval().requires_grad_(False)


def taken(generator: Generator, count: int, seed: int = 7, truncation: float = 1.0) -> np.ndarray:
    return np.stack(list(islice(generator.images(seed, truncation), count)))


@pytest.fixture(params=["dcgan", "stylegan2", "onnx", "onnx of batch 2"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Generator:
    path = tmp_path / "generator.pt"
    if request.param == "dcgan":
        torch.save({"netG_state_dict": dcgan_state()}, path)
    elif request.param == "stylegan2":
        torch.save({"G_ema": stylegan2().state_dict()}, path)
    else:
        path = onnx_generator(path.with_suffix(".onnx"), 2 if "2" in request.param else "batch")
    return open_generator(path)


def test_the_stream_is_a_function_of_the_seed(opened: Generator) -> None:
    images = taken(opened, 40)
    assert images.dtype == np.uint8
    assert images.shape[3] == 3
    assert opened.name.endswith(f" {images.shape[1]}x{images.shape[2]}")
    for count in (1, 5, 33):
        np.testing.assert_array_equal(taken(opened, count), images[:count])
    assert len({image.tobytes() for image in images}) == 40
    assert not np.array_equal(taken(opened, 1, seed=8), images[:1])
    assert torch.is_grad_enabled()


def test_truncation_makes_images_alike(opened: Generator) -> None:
    spreads = [taken(opened, 6, truncation=truncation).std(0).mean() for truncation in (0, 0.5, 1)]
    assert spreads[0] == 0
    assert 0 < spreads[1] < spreads[2]


def plain_dcgan(path: Path, seed: int) -> Iterator[np.ndarray]:
    """The stream that faces were made from before there were other generators: published numbers hang on it."""
    network = dcgan.DcganGenerator()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["netG_state_dict"])
    network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # which torch lacks
    noise = torch.Generator().manual_seed(seed)
    while True:
        latents = torch.stack([torch.randn(100, generator=noise) for _ in range(32)])
        pixels = (network(latents).permute(0, 2, 3, 1) + 1) * 127.5
        yield from pixels.round().clamp(0, 255).to(torch.uint8).numpy()


def test_the_dcgan_makes_the_images_it_made(tmp_path: Path) -> None:
    path = tmp_path / "weights.tar"
    torch.save({"netG_state_dict": dcgan_state()}, path)
    generator = open_generator(path)
    assert (generator.name, generator.latent, generator.batch) == ("DCGAN 64x64", (100,), 32)
    np.testing.assert_array_equal(taken(generator, 40), list(islice(plain_dcgan(path, 7), 40)))


@pytest.mark.assets
def test_the_default_dcgan_makes_the_images_it_made(asset: Callable[[str], Path]) -> None:
    path = asset("dcgan")
    np.testing.assert_array_equal(taken(open_generator(path), 40, seed=1), list(islice(plain_dcgan(path, 1), 40)))


def test_stylegan2_pixels(tmp_path: Path) -> None:
    network = stylegan2()
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    generator = open_generator(tmp_path / "weights.safetensors")
    assert (generator.name, generator.latent, generator.batch) == ("StyleGAN2-ADA 16x16", (8,), 32)
    noise = torch.Generator().manual_seed(3)
    z = torch.stack([torch.randn(8, generator=noise) for _ in range(32)])
    for truncation in (1.0, 0.5):
        pixels = (network(z, truncation).permute(0, 2, 3, 1).numpy() + 1) * 127.5
        found = taken(generator, 32, 3, truncation)
        np.testing.assert_allclose(found, pixels.clip(0, 255), atol=0.51)
    torch.save(stylegan2((4,) * 7).state_dict(), tmp_path / "large.pkl")
    large = open_generator(tmp_path / "large.pkl")
    assert (large.name, large.batch) == ("StyleGAN2-ADA 256x256", 8)


@pytest.mark.parametrize("nest", ["G_ema", "g_ema", "netG_state_dict", "state_dict", "generator"])
def test_nested_state_dicts(nest: str, tmp_path: Path) -> None:
    state = {f"module.{key}": value for key, value in dcgan_state().items()}
    torch.save({"epoch": 3, nest: {"state_dict": state}}, tmp_path / "weights")
    assert open_generator(tmp_path / "weights").name == "DCGAN 64x64"


@pytest.mark.parametrize(
    ("last", "factor", "scale", "shift"),
    [("Tanh", 1.0, 127.5, 1.0), ("Sigmoid", 1.0, 255.0, 0.0), ("Sigmoid", 255.0, 1.0, 0.0)],
)
def test_onnx_pixels(last: str, factor: float, scale: float, shift: float, tmp_path: Path) -> None:
    path = onnx_generator(tmp_path / "generator.onnx", 5, last, factor=factor)
    generator = open_generator(path)
    assert (generator.name, generator.latent, generator.batch) == ("ONNX 12x12", (6,), 5)
    noise = torch.Generator().manual_seed(3)
    z = torch.stack([torch.randn(6, generator=noise) for _ in range(10)]).double().numpy()
    weight = np.random.default_rng(0).normal(size=(LATENT, 3 * SIDE * SIDE))
    flat = (z @ weight).reshape(10, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    values = np.tanh(flat) if last == "Tanh" else factor / (1 + np.exp(-flat))
    np.testing.assert_allclose(taken(generator, 10, 3), (values + shift) * scale, atol=0.51)


def test_batches_of_large_images_are_small(tmp_path: Path) -> None:
    weight = np.zeros((1, 3 * 4 * 256), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["z", "weight"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["images"]),
        ],
        "generator",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [None, 3, None, None])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([-1, 3, 4, 256]), "shape")],
    )
    path = tmp_path / "generator.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    generator = open_generator(path)
    assert (generator.name, generator.batch) == ("ONNX 4x256", 8)


def test_a_diffusion_model_of_one_step(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Tanh", ["noise"], ["faces"])],
        "denoiser",
        [helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, None)],
    )
    path = tmp_path / "generator.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    generator = open_generator(path)
    assert generator.latent == (3, 8, 8)
    noise = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(7))
    expected = (np.tanh(noise.double().numpy()).transpose(1, 2, 0) + 1) * 127.5
    np.testing.assert_allclose(taken(generator, 1)[0], expected, atol=0.51)


REFUSED_ONNX: dict[str, tuple[dict[str, object], str]] = {
    "a second input": (
        {"inputs": (("truncation", TensorProto.FLOAT, [1]),)},
        r"latents \[B, Z\] or .* in float32 and nothing else, not .*'truncation'",
    ),
    "a name with a line break": ({"inputs": (("a\nb", TensorProto.FLOAT, [1]),)}, "nothing else"),
    "a latent of unknown length": ({"latent": "length"}, "nothing else, not 'latents'"),
    "grey images": ({"shape": (-1, 1, 3 * SIDE, SIDE)}, r"output 'faces' has the shape \[8, 1, 36, 12\]"),
    "channels last": ({"shape": (-1, SIDE, SIDE, 3)}, r"has the shape \[8, 12, 12, 3\]"),
    "vectors": ({"shape": (-1, 3, SIDE * SIDE)}, r"has the shape \[8, 3, 144\]"),
    "infinite": ({"factor": float("inf")}, "NaN or infinity"),
    "another size than it says": ({"batch": 5, "shape": (-1, 3, SIDE, SIDE + 1)}, "ONNX Runtime can't"),
}


@pytest.mark.parametrize("name", REFUSED_ONNX)
def test_onnx_files_that_are_no_generators(name: str, tmp_path: Path) -> None:
    options, message = REFUSED_ONNX[name]
    path = onnx_generator(tmp_path / "generator.onnx", **options)  # type: ignore[arg-type]
    with pytest.raises(BitfaceError, match=message) as failure:
        open_generator(path)
    assert str(failure.value).startswith(f"{path}: ")
    assert "\n" not in str(failure.value)


def test_onnx_files_with_their_own_noise_or_none_at_all(tmp_path: Path) -> None:
    path = onnx_generator(tmp_path / "generator.onnx")
    model = onnx.load(path)
    model.graph.node[2].CopyFrom(helper.make_node("RandomNormalLike", ["images"], ["coloured"]))
    onnx.save(model, path)
    with pytest.raises(BitfaceError, match="other images for the same latents"):
        open_generator(path)
    path.write_bytes(b"nothing")
    with pytest.raises(BitfaceError, match="not an ONNX file"):
        open_generator(path)
    path = onnx_generator(path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    onnx.save(model, path)
    with pytest.raises(BitfaceError, match=r"ONNX Runtime can't load it|nothing else"):
        open_generator(path)


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", ["pkl", "pt", "tar", "safetensors", "onnx"])
def test_pickles_are_not_executed(suffix: str, tmp_path: Path) -> None:
    path, canary = tmp_path / f"generator.{suffix}", tmp_path / "canary"
    path.write_bytes(pickle.dumps({"G_ema": Canary(canary)}))
    with pytest.raises(BitfaceError, match="not an ONNX file" if suffix == "onnx" else "pickles aren't opened"):
        open_generator(path)
    torch.save({"G_ema": Canary(canary)}, path)
    with pytest.raises(BitfaceError, match="ONNX file from latents to images, or the state dict"):
        open_generator(path)
    assert not canary.exists()


def test_files_that_are_no_generators(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with pytest.raises(BitfaceError, match="no such file"):
        open_generator(path)
    with pytest.raises(BitfaceError, match="no such file"):
        open_generator(tmp_path)
    state = dcgan_state()
    for content, message in (
        ({}, "an empty dict.*accepted: an ONNX file"),
        ([1, 2], "a list"),
        ({"fc.weight": torch.zeros(2)}, r"no generator that is known \(a dict with 'fc.weight'\); accepted: an ONNX"),
        ({"a\nb": torch.zeros(2)}, "no generator that is known"),
        ({"mapping.fc0.bias": torch.zeros(2), "synthesis.x": torch.zeros(2)}, "'mapping.fc0.weight' is missing"),
        (state | {"main.0.weight": torch.zeros(1)}, r"no DCGAN generator of 64x64 .*'main.0.weight' has the shape"),
        (state | {"main.99.weight": torch.zeros(1)}, "'main.99.weight' doesn't belong"),
        ({key: state[key] for key in list(state)[1:]}, "'main.0.weight' is missing"),
        (state | {"main.0.weight": state["main.0.weight"].to_sparse()}, "tensors are of another kind"),
        (state | {"main.0.weight": state["main.0.weight"].to("meta")}, "tensors are of another kind"),
    ):
        torch.save(content, path)
        with pytest.raises(BitfaceError, match=message) as failure:
            open_generator(path)
        assert str(failure.value).startswith(f"{path}: ")
        assert "\n" not in str(failure.value)

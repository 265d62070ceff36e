"""The size of the image where a file leaves it free: asked for, chosen or assumed, and never in silence."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bitface import backbones
from bitface.errors import BitfaceError, UsageError
from bitface.graph import ASSUMED, FreeSize, load_network, to_onnx
from bitface.preprocess import Size
from support.free_size import free_size_file

CROPS = FreeSize(Size(160, 160), "the size of the crops")


@pytest.mark.parametrize(
    ("given", "size"),
    [(160, (160, 160)), ("160", (160, 160)), ("112x96", (112, 96)), ((112, 96), (112, 96)), ([4096, 1], (4096, 1))],
)
def test_sizes_in_words_and_numbers(given: object, size: tuple[int, int]) -> None:
    found = Size.parse(given)  # type: ignore[arg-type]
    assert found == size
    assert Size.parse(str(found)) == found


@pytest.mark.parametrize(
    "given", [0, -1, "0x160", "160x", "x", "", "large", "1x2x3", 4097, "99999999", True, "1.5", (1, 2, 3), "１６０"]
)
def test_what_is_no_size(given: object) -> None:
    with pytest.raises(UsageError, match=r"no image size: give 1 to 4096 pixels, as 160 or 112x96 \(HEIGHTxWIDTH\)"):
        Size.parse(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [Size(160, 160), Size(96, 80)])
def test_a_free_size_is_as_exact_as_onnx_runtime(tmp_path: Path, size: Size) -> None:
    path = free_size_file(tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(3, 3, *size)).astype(np.float32)
    expected = onnxruntime.InferenceSession(path).run(None, {"image": images})[0]
    network = load_network(path, size=size)
    with torch.no_grad():
        found = network.graph(torch.from_numpy(images)).numpy()
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-6)
    assert (network.size, network.notes) == (size, ())
    # What is written has this size alone.
    written = to_onnx(network.graph).graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_value for side in written][1:] == [3, *size]


def test_what_nobody_says_is_noted(tmp_path: Path) -> None:
    path = free_size_file(tmp_path / "net.onnx")
    assumed, chosen = load_network(path), load_network(path, choose=lambda: CROPS)
    assert (assumed.size, assumed.free) == ((112, 112), ASSUMED)
    assert assumed.notes == (
        "the file leaves height and width free: 112x112 is taken, which is assumed; size= names another",
    )
    assert chosen.size == (160, 160)
    assert "160x160 is taken, the size of the crops; size=" in chosen.notes[0]


def test_a_fixed_size_stays(tmp_path: Path) -> None:
    path = free_size_file(tmp_path / "net.onnx", (96, 80))

    def never() -> FreeSize:
        raise AssertionError("nothing is to be chosen")

    network = load_network(path, choose=never)
    assert (network.size, network.free, network.notes) == ((96, 80), None, ())
    assert load_network(path, size=Size(96, 80)).size == (96, 80)
    with pytest.raises(
        BitfaceError, match=r"net.onnx: takes images of 96x80 \(height x width\) alone, so size=160x160 can't be"
    ):
        load_network(path, size=Size(160, 160))


def test_one_free_side(tmp_path: Path) -> None:
    path = free_size_file(tmp_path / "net.onnx", ("height", 96))
    assert load_network(path).size == (112, 96)
    assert load_network(path, size=Size(160, 96)).size == (160, 96)
    # Crops of another width say nothing about the height.
    unfit = load_network(path, choose=lambda: CROPS)
    assert (unfit.size, "112x96 is taken, which is assumed" in unfit.notes[0]) == ((112, 96), True)
    with pytest.raises(BitfaceError, match="takes images of anyx96"):
        load_network(path, size=Size(160, 160))


@pytest.mark.parametrize(
    ("size", "choose", "words"),
    [
        (None, ASSUMED, "112x112, which is assumed"),
        (Size(96, 96), ASSUMED, "96x96, as asked for"),
        (None, FreeSize(Size(100, 100), "the size of the crops"), "100x100, the size of the crops"),
    ],
)
def test_a_size_that_does_not_work(tmp_path: Path, size: Size | None, choose: FreeSize, words: str) -> None:
    path = free_size_file(tmp_path / "net.onnx", flattened=(20, 20))
    with pytest.raises(BitfaceError) as caught:
        load_network(path, size=size, choose=lambda: choose)
    text = str(caught.value)
    assert text.startswith(f"{path}: doesn't work with images of {words} (c: Linear can't take inputs of")
    assert text.endswith("name the size that it was trained with: size=")
    assert (text.count(str(path)), "\n" in text) == (1, False)
    assert load_network(path, size=Size(160, 160)).size == (160, 160)


def test_a_size_that_gives_other_embeddings_than_the_file_says(tmp_path: Path) -> None:
    """Without a linear layer every size works, but the file's 128 numbers are those of 32x32."""
    path = free_size_file(tmp_path / "net.onnx", flattened=(4, 4))
    model = onnx.load(path)
    model.graph.node.remove(next(node for node in model.graph.node if node.op_type == "Gemm"))
    model.graph.node[-1].input[0] = "flat"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 128
    onnx.save(model, path)
    assert load_network(path, size=Size(32, 32)).embedding_size == 128
    with pytest.raises(BitfaceError, match=r"with images of 112x112, which is assumed .*\[N, 1568\].* of 128 numbers"):
        load_network(path)


def test_what_has_nothing_to_do_with_the_size_is_not_blamed_on_it(tmp_path: Path) -> None:
    with pytest.raises(BitfaceError, match="an operator bitface doesn't know") as caught:
        load_network(free_size_file(tmp_path / "net.onnx", tail="Tan"))
    assert "size=" not in str(caught.value)


def test_each_size_is_a_network_of_its_own(tmp_path: Path) -> None:
    free = free_size_file(tmp_path / "net.onnx")
    prints = [load_network(free, "rgb-raw", Size(side, side)).fingerprint() for side in (112, 160)]
    fixed = [
        load_network(free_size_file(tmp_path / "net.onnx", (side, side)), "rgb-raw").fingerprint()
        for side in (112, 160)
    ]
    assert prints == fixed
    assert prints[0] != prints[1]


def test_a_state_dict_has_the_size_that_its_head_covers(tmp_path: Path) -> None:
    path = tmp_path / "face.pt"
    torch.save(backbones.create("mobilefacenet:0.25", input_size=(160, 128)).state_dict(), path)
    assert load_network(path).size == (160, 128)
    assert load_network(path, size=Size(159, 120)).size == (159, 120)  # the same feature map
    with pytest.raises(BitfaceError, match=r"face.pt: doesn't work with images of 112x112, as asked for .*size="):
        load_network(path, size=Size(112, 112))
    for name in ("iresnet18:0.125", "resnet18:0.125", "mobilenetv2:0.125"):
        torch.save(backbones.create(name, 8, input_size=32).state_dict(), path)
        assert load_network(path).size == (32, 32)

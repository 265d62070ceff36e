"""What is written is what is read, byte for byte."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bitface import backbones
from bitface.artifact import Artifact, read, write
from bitface.errors import BitfaceError
from bitface.graph import Network, load_network
from bitface.quant import BitPlan, Calibration, LayerBits, quantize
from support import plain_reader
from support.quantized import Mixed, PreActivation, faces, network

GOLDEN = Path(__file__).with_name("golden.bitface")
PLANS = {
    "w8a8": BitPlan(),
    "w4a4": BitPlan.parse("w4a4"),
    "w3a5": BitPlan(LayerBits(3, 5), None, None),
    "w2a32": BitPlan.parse("w2a32"),
    "w1a4": BitPlan.parse("w1a4"),
    "asymmetric": BitPlan(LayerBits(7, 6), weights_symmetric=False, activations="asymmetric"),
    "per tensor": BitPlan(LayerBits(5, 8), weights_per_channel=False),
    "float layer": BitPlan(layers=(("fc", LayerBits(32, 8)),)),
}
QUICK = Calibration("minmax", bias_correction=False)


def artifact_of(net: Network, plan: BitPlan) -> Artifact:
    assert net.preprocess is not None
    integer, _ = quantize(net, faces(4, net.size[0]), plan, QUICK)
    return Artifact(
        integer,
        plan.to_json(),
        {"name": net.name, "fingerprint": net.fingerprint(), "embedding_size": net.embedding_size},
        {"kind": "synthetic", "images": 4, "manifest": "0" * 64},
        [{"far": 1e-4, "threshold": 0.31, "interval": [0.3, 0.32]}],
        {"seed": 0, "words": 'äöü\u2028\n"', "nothing": None},
    )


NETWORKS: dict[str, Callable[[], Network]] = {
    "mixed": lambda: network(Mixed(), 16),
    "pre-activation": lambda: network(PreActivation(), 8, "bgr-imagenet"),
    # Of attributes that all have their defaults, a node has none.
    "one slope": lambda: network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)), 8),
    "mobilefacenet": lambda: network(backbones.create("mobilefacenet:0.25", input_size=32), 32),
}


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        *(("mixed", plan) for plan in PLANS),
        ("pre-activation", "asymmetric"),
        ("one slope", "w8a8"),
        ("mobilefacenet", "w4a4"),
    ],
)
def test_round_trip(tmp_path: Path, name: str, plan: str) -> None:
    net = NETWORKS[name]()
    details = artifact_of(net, PLANS[plan])
    path = tmp_path / "new" / "folder" / "model.bitface"
    size = write(path, details)
    assert path.stat().st_size == size
    back = read(path)
    assert replace(back, network=details.network) == details
    assert (back.network.name, back.network.preprocess, back.network.source_bytes) == (net.name, net.preprocess, size)
    assert back.network.fingerprint() == details.network.fingerprint()
    assert net.preprocess is not None
    images = torch.from_numpy(net.preprocess(faces(3, net.size[0], seed=9)))
    with torch.no_grad():
        assert torch.equal(back.network.graph(images), details.network.graph(images))
    assert write(tmp_path / "again.bitface", back) == size
    assert (tmp_path / "again.bitface").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("plan", PLANS)
def test_a_reader_made_from_the_document_finds_the_same(tmp_path: Path, plan: str) -> None:
    details = artifact_of(network(Mixed(), 16), PLANS[plan])
    write(tmp_path / "model.bitface", details)
    content = plain_reader.content_of((tmp_path / "model.bitface").read_bytes())
    description, stored = plain_reader.parse(content)
    state = details.network.graph.state_dict()
    tensors = plain_reader.unpacked(description, stored)
    assert set(tensors) == set(state)
    for name, value in state.items():
        assert tensors[name].dtype == value.numpy().dtype
        np.testing.assert_array_equal(tensors[name], value.numpy())
    # Every number takes its bits and nothing else.
    bits = {f"{layer}.weight": getattr(details.network.graph.get_submodule(layer), "bits", 32)
            for layer in ("stem.0", "deep.0", "point", "wide.0", "fc")}  # fmt: skip
    expected = {
        name: -(-value.numel() * bits.get(name, 8 * value.element_size()) // 8) for name, value in state.items()
    }
    assert {name: value.nbytes for name, value in stored.items()} == expected
    assert len(content) == 8 + int.from_bytes(content[:8], "little") + sum(expected.values())
    assert (tmp_path / "model.bitface").stat().st_size < len(content)


def test_the_golden_file() -> None:
    """A file that never changes, and its embedding computed from what the document says."""
    description, stored = plain_reader.parse(plain_reader.content_of(GOLDEN.read_bytes()))
    tensors = plain_reader.unpacked(description, stored)
    assert tensors["conv.weight"].ravel().tolist() == [1, 2, 3, -4, -1, 0]
    assert stored["conv.weight"].tolist() == [0b11_010_001, 0b0_111_100_0, 0]
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3) * 20
    x = ((pixels.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)).transpose(0, 3, 1, 2)
    x = np.clip(np.rint(x / np.float32(0.0078125)), -128, 127)  # image_a8: signed, zero point 0
    sums = np.einsum("nihw,oi->nohw", x, tensors["conv.weight"][:, :, 0, 0].astype(int))
    sums = sums + tensors["conv.bias"].reshape(2, 1, 1)
    y = sums * tensors["conv.scale"].reshape(2, 1, 1) * 0.0078125
    y = np.where(y < 0, y * tensors["act.weight"].reshape(2, 1, 1), y)
    y = np.clip(np.rint(y / 0.125) + 3, 0, 15) - 3  # act_a4: unsigned, zero point 3
    sums = y.reshape(1, 8) @ (tensors["fc.weight"].astype(int) - tensors["fc.zero_point"][0]).T + tensors["fc.bias"]
    expected = sums * tensors["fc.scale"] * 0.125
    assert expected.tolist() == [[-0.234375, 0.20703125]]

    golden = read(GOLDEN)
    assert golden.network.preprocess is not None
    with torch.no_grad():
        found = golden.network.graph(torch.from_numpy(golden.network.preprocess(pixels)))
    assert found.tolist() == expected.tolist()
    assert golden.thresholds == [{"far": 0.001, "threshold": 0.5}]
    assert golden.network.fingerprint() == "3a0d3443cb850630879678fa1221c4d16c01f92e061a856f36c54bc624d624fd"


def test_the_golden_content_is_still_what_is_written(tmp_path: Path) -> None:
    write(tmp_path / "again.bitface", read(GOLDEN))
    again = plain_reader.content_of((tmp_path / "again.bitface").read_bytes())
    assert again == plain_reader.content_of(GOLDEN.read_bytes())


def test_a_network_of_zeros_can_be_read_again(tmp_path: Path) -> None:
    """Its weights compress so well that the file would look like a bomb."""
    net = network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 300)), 64)
    net.graph.get_submodule("1").weight.data.zero_()
    size = write(tmp_path / "zero.bitface", artifact_of(net, BitPlan()))
    assert not read(tmp_path / "zero.bitface").network.graph.get_submodule("1").weight.any()
    assert size > 3 * 64 * 64 * 300


@pytest.fixture(scope="module")
def details() -> Artifact:
    return artifact_of(network(Mixed(), 16), BitPlan())


def test_a_failing_disk_leaves_the_old_file(tmp_path: Path, details: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.bitface"
    path.write_bytes(b"old")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(BitfaceError, match="No space left") as caught:
            write(path, details)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["model.bitface"]
    assert path.read_bytes() == b"old"


def test_folders_that_can_not_be_written(tmp_path: Path, details: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BitfaceError, match=r"model\.bitface: can't be written"):
        write(tmp_path / "file" / "model.bitface", details)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(BitfaceError, match="Permission denied"):
        write(tmp_path / "model.bitface", details)
    assert not (tmp_path / "model.bitface").exists()


def test_what_can_not_be_stored(tmp_path: Path, details: Artifact) -> None:
    with pytest.raises(ValueError, match="needs a preprocessing"):
        write(tmp_path / "a.bitface", replace(details, network=replace(details.network, preprocess=None)))
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "a.bitface", replace(details, card={"loss": float("nan")}))
    with pytest.raises(TypeError, match="JSON"):
        write(tmp_path / "a.bitface", replace(details, card={"path": tmp_path}))
    assert not list(tmp_path.iterdir())


def test_no_face_and_no_path_gets_into_the_file(tmp_path: Path, details: Artifact) -> None:
    write(tmp_path / "model.bitface", details)
    description, _ = plain_reader.parse(plain_reader.content_of((tmp_path / "model.bitface").read_bytes()))
    assert str(tmp_path) not in json.dumps(description)
    assert set(description) == {
        "format", "name", "graph", "preprocess", "plan", "teacher", "data", "thresholds", "card",
    }  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize(("word", "megabytes"), [("w8a8", 1.10), ("w4a8", 0.62)])
def test_the_size_of_a_mobilefacenet(data_dir: Path, tmp_path: Path, word: str, megabytes: float) -> None:
    net = load_network(data_dir / "models" / "prelu_mobilefacenet.onnx")
    integer, _ = quantize(net, faces(16, 112), BitPlan.parse(word), QUICK)
    plan = BitPlan.parse(word).to_json()
    assert write(tmp_path / "model.bitface", Artifact(integer, plan, {})) <= megabytes * 1e6

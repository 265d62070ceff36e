"""Files of weights: what is accepted, and what is refused without being executed."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bitface import backbones
from bitface.backbones.weights import read_tensors
from bitface.errors import BitfaceError

Weights = dict[str, torch.Tensor]

STATE = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}
SMALL = {"embedding_size": 8, "input_size": 32}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return dict(backbones.create("iresnet18:0.125", **SMALL).state_dict())


def under(prefix: str, weights: Weights) -> Weights:
    return {prefix + key: tensor for key, tensor in weights.items()}


def loads(path: Path, weights: Weights) -> str | None:
    """The file gives the network of these weights; what it says was left out."""
    network, note = backbones.load_with_note(path)
    assert same(dict(network.state_dict()), weights)
    return note


@pytest.mark.parametrize(
    "nest",
    [
        lambda w: w,
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"model": {"state_dict": w}},
        lambda w: {"net_state_dict": under("module.", w)},
        lambda w: {"a": {"nest": {"nobody": {"knows": under("net.", w)}}}},
        lambda w: under("module.features.", w),
        lambda w: under("_orig_mod.module.model.backbone.", w),
        lambda w: {"model_state_dict": w, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    ],
)
@pytest.mark.parametrize("name", ["a.pth", "a.PT", "a.pth.tar", "a.ckpt", "a.bin"])
def test_the_prefix_of_a_known_backbone_is_found(
    nest: Callable[[Weights], Any], name: str, weights: Weights, tmp_path: Path
) -> None:
    torch.save(nest(weights), tmp_path / name, _use_new_zipfile_serialization=name != "a.ckpt")
    assert loads(tmp_path / name, weights) is None


@pytest.mark.parametrize("name", ["weights.safetensors", "pytorch_model.bin"])
def test_safetensors_by_any_name(name: str, weights: Weights, tmp_path: Path) -> None:
    save_file(under("module.", weights), tmp_path / name)
    assert loads(tmp_path / name, weights) is None


@pytest.mark.parametrize(
    ("nest", "left_out"),
    [
        (lambda w: {"state_dict": {**under("model.", w), "head.kernel": torch.ones(8, 20)}}, "state_dict.head.kernel"),
        (lambda w: {**w, "kernel": torch.ones(8, 20)}, "kernel"),
        (lambda w: {**w, "arcface.weight": torch.ones(20, 8), "arcface.t": torch.ones(1)}, "arcface.t, arcface.weight"),
        (lambda w: {**w, "total_ops": torch.ones(1), "layer1.0.total_params": torch.ones(1)}, "counters"),
        (lambda w: {"backbone": w, "head": {"kernel": torch.ones(2)}, "ema": {"decay": torch.ones(())}}, "head, ema"),
        (lambda w: {"teacher": w, "student": {"conv.weight": torch.ones(2)}}, "student"),
    ],
)
def test_what_lies_beside_it_is_named(
    nest: Callable[[Weights], Any], left_out: str, weights: Weights, tmp_path: Path
) -> None:
    torch.save(nest(weights), tmp_path / "a.pth")
    assert f"left out: {left_out}" in (loads(tmp_path / "a.pth", weights) or "").replace("the counters", "counters")


class TestSeveralNetworks:
    def others(self, weights: Weights) -> Weights:
        return {key: tensor + 1 if "weight" in key else tensor for key, tensor in weights.items()}

    def test_the_largest_is_taken(self, weights: Weights, tmp_path: Path) -> None:
        larger = dict(backbones.create("mobilefacenet:0.5", **SMALL).state_dict())
        torch.save({"student": weights, "teacher": larger}, tmp_path / "a.pth")
        assert "left out: student" in (loads(tmp_path / "a.pth", larger) or "")

    def test_of_equals_the_average(self, weights: Weights, tmp_path: Path) -> None:
        torch.save({"model": self.others(weights), "model_ema": under("module.", weights)}, tmp_path / "a.pth")
        assert "left out: model" in (loads(tmp_path / "a.pth", weights) or "")

    def test_the_same_twice_is_one(self, weights: Weights, tmp_path: Path) -> None:
        torch.save({"model": weights, "best": weights}, tmp_path / "a.pth")
        loads(tmp_path / "a.pth", weights)

    def test_others_are_refused_by_name(self, weights: Weights, tmp_path: Path) -> None:
        torch.save({"a": weights, "b": self.others(weights)}, tmp_path / "a.pth")
        with pytest.raises(BitfaceError, match=r"several networks.*'a', 'b'"):
            backbones.load(tmp_path / "a.pth")


class Canary:
    """Writes the file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("how", ["inside", "alone", "old format", "raw pickle", "raw pickle 2"])
def test_code_in_a_file_is_refused_and_not_executed(how: str, tmp_path: Path) -> None:
    canary, path = tmp_path / "executed", tmp_path / "weights.pt"
    if how == "inside":
        torch.save({**STATE, "extra": Canary(canary)}, path)
    elif how.startswith("raw"):
        path.write_bytes(pickle.dumps(Canary(canary), protocol=2 if how.endswith("2") else 4))
    else:
        torch.save(Canary(canary), path, _use_new_zipfile_serialization=how == "alone")
    with pytest.raises(BitfaceError, match=r"refused.*would execute code") as caught:
        backbones.load(path)
    assert "\n" not in str(caught.value)
    assert not canary.exists()
    torch.load(path, weights_only=False) if not how.startswith("raw") else pickle.loads(path.read_bytes())
    assert canary.exists(), "the trap itself doesn't work"


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.ones(1)), tmp_path / "script.pt")
    with pytest.raises(BitfaceError, match=r"script.pt: refused.*state_dict"):
        backbones.load(tmp_path / "script.pt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.pt", b"", "not a readable PyTorch file"),
        ("text.pth", b"hello there", "not a readable PyTorch file"),
        ("zip.pt", b"PK\x03\x04" + bytes(60), "not a readable PyTorch file"),
        ("text.safetensors", b"hello there, this is no header", "not a readable safetensors file"),
        ("net.onnx", b"", "not a weights file by its name"),
        ("absent.pt", None, "no such file"),
    ],
)
def test_unreadable_files(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BitfaceError, match=message) as caught:
        backbones.load(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"model": {}}, {1: torch.ones(1)}, torch.ones(2)])
def test_files_without_a_state_dict(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(BitfaceError, match="no state dict in it"):
        backbones.load(tmp_path / "weights.pt")


def test_unknown_layout_names_keys_and_what_is_supported(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "weights.pt")
    with pytest.raises(BitfaceError, match=r"weights.pt: unknown network.*'fc.weight', 'fc.bias'.*IResNet"):
        backbones.load(tmp_path / "weights.pt")


@pytest.mark.parametrize("name", ["mobilefacenet:0.25", "resnet18", "mobilenetv2", "iresnet18"])
class TestStrictness:
    def state(self, name: str) -> dict[str, torch.Tensor]:
        return dict(backbones.create(name, **SMALL).state_dict())

    def test_batch_counters_may_be_absent_and_half_precision_is_widened(self, name: str) -> None:
        state = {key: value for key, value in self.state(name).items() if "num_batches" not in key}
        network = backbones.from_state_dict({key: value.half() for key, value in state.items()})
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())

    def test_weights_are_copied(self, name: str) -> None:
        state = self.state(name)
        network = backbones.from_state_dict(state)
        before = {key: value.clone() for key, value in state.items()}
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(1)
        assert same(state, before)

    def test_a_missing_a_left_over_and_a_misshapen_weight_are_named(self, name: str) -> None:
        state = self.state(name)
        key = next(key for key in reversed(state) if key.endswith("running_var"))
        with pytest.raises(BitfaceError, match=f"{key}' is missing"):
            backbones.from_state_dict({k: v for k, v in state.items() if k != key})
        with pytest.raises(BitfaceError, match=f"{key}' has shape"):
            backbones.from_state_dict(state | {key: torch.ones(3)})
        with pytest.raises(BitfaceError, match="'kernel' belongs to nothing"):
            backbones.from_state_dict(state | {"kernel": torch.ones(3)})
        with pytest.raises(BitfaceError, match=f"{key}' holds integers, perhaps quantized weights"):
            backbones.from_state_dict(state | {key: state[key].round().to(torch.int8)})
        with pytest.raises(BitfaceError, match=f"{key}' has values that aren't finite"):
            backbones.from_state_dict(state | {key: torch.full_like(state[key], torch.nan)})


def test_not_a_state_dict_at_all() -> None:
    for wrong in ({}, {"a": 1}, [torch.ones(1)], None):
        with pytest.raises(BitfaceError, match="not a state dict"):
            backbones.from_state_dict(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mobilefacenet:0.25", "iresnet18", "mobilenetv2"])
def test_any_one_key_missing_or_misshapen_is_one_line(name: str) -> None:
    state = dict(backbones.create(name, **SMALL).state_dict())
    keys = [key for key in state if "num_batches" not in key]
    for key in keys[:2] + keys[7 :: len(keys) // 4] + keys[-6:-4]:
        others = {k: v for k, v in state.items() if k != key}
        for broken in (
            others,
            others | {key: torch.ones(())},
            others | {key: torch.ones(0, 0, 0, 0)},
            others | {key: torch.ones(2, 3, 5, 1)},
            others | {key: torch.empty(state[key].shape, device="meta")},
            others | {key: state[key].to(torch.complex64)},
            others | {key: state[key].to_sparse()},
        ):
            with pytest.raises(BitfaceError) as caught:
                backbones.from_state_dict(broken)
            assert "\n" not in str(caught.value)


def compressed(path: Path) -> Path:
    """The same archive with its numbers compressed, as torch never writes it and would read it."""
    with zipfile.ZipFile(path) as archive:
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def test_weights_that_grow(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"fc.weight": torch.zeros(1 << 24)}, path)
    with pytest.raises(BitfaceError, match=r"a\.pt: would unpack 67,\d+,\d+ bytes or more from"):
        read_tensors(compressed(path))
    for zipped in (True, False):
        torch.save({"fc.weight": torch.zeros(1).expand(1 << 40)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(BitfaceError, match=r"the tensor 'fc.weight' repeats its numbers"):
            read_tensors(path)
    torch.save({"fc.weight": torch.sparse_coo_tensor(torch.zeros(1, 1), torch.ones(1), (1 << 40,))}, path)
    with pytest.raises(BitfaceError, match=r"a\.pt: "):
        read_tensors(path)
    torch.save({"fc.weight": torch.empty(1 << 40, device="meta")}, path)
    with pytest.raises(BitfaceError, match=r"a\.pt: "):
        read_tensors(path)

"""Checkpoints whose pickles name more than tensors: the tensors are read, and nothing is called."""

import argparse
import collections
import enum
import functools
import io
import os
import pickle
import pickletools
import subprocess
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bitface import backbones
from bitface.backbones import inert_pickle
from bitface.errors import BitfaceError

Weights = dict[str, torch.Tensor]


class Settings(dict[str, Any]):
    """A dictionary with a life of its own, as training programs have them."""

    called = 0

    def __setstate__(self, state: Any) -> None:
        Settings.called += 1

    def __reduce__(self) -> Any:
        return Settings, (), {"a": 1}, None, iter(self.items())


class Mode(enum.Enum):
    COSINE = "cosine"


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return backbones.create("iresnet18:0.125", embedding_size=8, input_size=32).eval()


@pytest.fixture(scope="module")
def weights(network: nn.Module) -> Weights:
    return dict(network.state_dict())


def metadata() -> dict[str, Any]:
    return {
        "hyper_parameters": Settings(lr=0.1, mode=Mode.COSINE, path=Path("here")),
        "args": argparse.Namespace(a=1, inner=types.SimpleNamespace(b=[1])),
        "callbacks": {Mode.COSINE: {"best": np.float64(0.5), "array": np.arange(3)}},
        "loops": collections.defaultdict(list, a=[1]),
        "schedule": functools.partial(nn.Linear, 3),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_the_metadata_of_trainings_is_passed_by(zipped: bool, protocol: int, weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    content = {**metadata(), "state_dict": Settings({f"model.{key}": tensor for key, tensor in weights.items()})}
    torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    Settings.called = 0
    state = backbones.load(path).state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in weights.items())
    assert Settings.called == 0


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_network_is_read_as_its_weights(
    zipped: bool, network: nn.Module, weights: Weights, tmp_path: Path
) -> None:
    torch.save({"model": nn.DataParallel(network)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    state = backbones.load(tmp_path / "a.pt").state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in weights.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_other_sizes_and_tied_views(dtype: torch.dtype, tmp_path: Path) -> None:
    numbers = torch.arange(24).to(dtype)
    content: dict[str, Any] = {
        "a": numbers[4:16].reshape(3, 4).T,
        "b": nn.Parameter(numbers),
        "args": argparse.Namespace(),
    }
    for zipped in (True, False):
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
        tensors = inert_pickle.tensors(tmp_path / "a.pt")
        assert tensors.keys() == {"a", "b"}
        assert all(torch.equal(tensors[key], content[key]) for key in tensors)


class Attack:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]

    def __call__(self) -> None:
        """What is called first must look as if it could be."""


CANARY = "executed"
ATTACKS: dict[str, Callable[[str], Any]] = {
    "system": lambda path: Attack(os.system, f"touch {path}"),
    "open": lambda path: Attack(open, path, "w"),
    "eval": lambda path: Attack(eval, f"open({path!r}, 'w')"),
    "exec": lambda path: Attack(exec, f"open({path!r}, 'w')"),
    "popen": lambda path: Attack(subprocess.Popen, ["touch", path]),
    "by partial": lambda path: Attack(Attack(functools.partial, open, path, "w")),
    "by getattr": lambda path: Attack(getattr, Attack(__import__, "os"), "system"),
    "numpy": lambda path: Attack(np.savetxt, path, [1]),
    "torch": lambda path: Attack(torch.save, {}, path),
    "torch hub": lambda path: Attack(torch.load, path),
    "ours": lambda path: Attack(Path.touch, Path(path)),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("form", ["zip", "old", "beside settings", "raw 0", "raw 2", "raw 4"])
def test_attacks_do_nothing(name: str, form: str, weights: Weights, tmp_path: Path) -> None:
    canary, path = tmp_path / CANARY, tmp_path / "a.ckpt"
    attack = ATTACKS[name](str(canary))
    if form.startswith("raw"):
        path.write_bytes(pickle.dumps(attack, protocol=int(form[-1])))
    else:
        content = {"state_dict": weights, "extra": attack}
        if form == "beside settings":
            content["args"] = argparse.Namespace()
        torch.save(content, path, _use_new_zipfile_serialization=form != "old")
    message = ""
    try:
        backbones.load(path)
    except BitfaceError as error:
        message = str(error)
    assert "\n" not in message
    # Names that might be of a training are passed by.
    assert message or name in ("numpy", "torch", "torch hub", "ours")
    assert not canary.exists()


def program(*parts: bytes) -> bytes:
    """A checkpoint in which the content is this pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + b"".join(parts) + b".")
        archive.writestr("a/version", "3\n")
    return file.getvalue()


@pytest.mark.parametrize(
    "parts",
    [
        (b"ctorch._utils\n_rebuild_tensor_v2\n", b"}X\x08\x00\x00\x00__code__", b"K\x01sb"),  # to change a function
        (b"cargparse\nNamespace\n", b"}X\x0c\x00\x00\x00__setstate__K\x01s", b"b"),  # to change a class
        (b"cargparse\nNamespace\n", b")\x81", b"(K\x01", b"K\x02", b"e"),
        (b"r\xff\xff\xff\x7f",),
        (b"K\x01r\xff\xff\xff\xff",),
        (b"]q\x00h\x00a",),
        (b"}q\x00X\x01\x00\x00\x00ah\x00s",),
        (b"\x82\x01",),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x0fabc",),
        (b"(" * 3000 + b"t" * 3000,),
        (b"X\x07\x00\x00\x00storageQ",),
        (b"ios\nsystem\n",),
    ],
)
def test_hostile_programs_end_in_one_line(parts: tuple[bytes, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(program(*parts))
    with pytest.raises(BitfaceError) as caught:
        backbones.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("settings", [False, True])
@pytest.mark.parametrize(
    "length",
    [b"X\xff\xff\xff\x7f", b"\x8d\x00\x00\x00\x00\x01\x00\x00\x00", b"B\xff\xff\xff\xff",
     b"\x8e\x00\x00\x00\x00\x00\x01\x00\x00", b"\x96\x00\x00\x00\x40\x00\x00\x00\x00", b"T\xff\xff\xff\x7f",
     b"\x8b\x00\x00\x00\x40", b"\x95\x00\x00\x00\x40\x00\x00\x00\x00"],
)  # fmt: skip
def test_a_length_without_its_bytes_asks_for_no_memory(length: bytes, settings: bool, tmp_path: Path) -> None:
    """Of text, bytes, a number or a frame, where a file of the older form begins or where its content does."""
    beginning = b"".join(pickle.dumps(value, 2) for value in [0x1950A86A20F9469CFC6C, 1001, [1]])
    namespace = b"cargparse\nNamespace\n" if settings else b""
    for content in (length, beginning + b"\x80\x02}" + namespace + length):
        (tmp_path / "a.pth").write_bytes(content + b"abc")
        with pytest.raises(BitfaceError) as caught:
            backbones.load(tmp_path / "a.pth")
        assert "\n" not in str(caught.value)
        seen: BaseException | None = caught.value
        while seen is not None:
            assert not isinstance(seen, MemoryError)
            seen = seen.__cause__ or seen.__context__


def test_dictionaries_that_hold_each_other_many_times_over_end(tmp_path: Path) -> None:
    content: dict[str, Any] = {"weight": torch.ones(1)}
    for _ in range(30):
        content = {"a": content, "b": content}
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(BitfaceError, match=r"more dictionaries in dictionaries|more than once"):
        backbones.load(tmp_path / "a.pth")


def test_a_view_that_repeats_its_numbers_is_refused(weights: Weights, tmp_path: Path) -> None:
    torch.save({**weights, "fc.weight": torch.ones(1).expand(1 << 20, 1 << 12)}, tmp_path / "a.pth")
    with pytest.raises(BitfaceError, match=r"fc.weight"):
        backbones.load(tmp_path / "a.pth")


def test_every_name_becomes_a_class_of_its_own() -> None:
    """Nothing that a pickle names is the thing itself, not even what torch allows."""
    for name in ("argparse Namespace", "torch._utils _rebuild_tensor_v2", "collections OrderedDict", "builtins dict"):
        stream = io.BytesIO(b"c" + name.replace(" ", "\n").encode() + b"\n.")
        assert pickletools.genops(stream.getvalue())
        named = inert_pickle._Unpickler(stream).load()
        assert issubclass(named, inert_pickle.Inert)
        assert named is not inert_pickle.Inert

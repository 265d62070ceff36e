"""Attacks on the reader: whatever a file holds, it is read or refused in one line, without filling the memory."""

import copy
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.fx import GraphModule

from bitface.artifact import read
from bitface.errors import BitfaceError
from support.plain_reader import content_of, parse, wrap

GOLDEN = Path(__file__).with_name("golden.bitface").read_bytes()
CONTENT = content_of(GOLDEN)
DESCRIPTION, TENSORS = parse(CONTENT)
Tensors = dict[str, np.ndarray]


def signed(description: Any, tensors: Tensors) -> bytes:
    text = description if isinstance(description, str) else json.dumps(description)
    return wrap(safetensors.numpy.save(tensors, {"bitface": text}))


def reason(folder: Path, data: bytes) -> str:
    """Why a file is refused."""
    path = folder / "model.bitface"
    path.write_bytes(data)
    with pytest.raises(BitfaceError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 1000
    assert "alloc" not in message.lower()
    assert "MemoryError" not in message
    return message.removeprefix(f"{path}: ")


def test_the_golden_file_passes_when_signed_again(tmp_path: Path) -> None:
    (tmp_path / "model.bitface").write_bytes(signed(DESCRIPTION, TENSORS))
    assert read(tmp_path / "model.bitface").network.name == "golden"


def test_every_flipped_bit_and_every_truncation_is_noticed(tmp_path: Path) -> None:
    for place in range(len(GOLDEN)):
        spoilt = bytearray(GOLDEN)
        spoilt[place] ^= 1 << (place % 8)
        message = reason(tmp_path, bytes(spoilt))
        assert message.startswith("no .bitface file" if place < 8 else "damaged: its checksum doesn't fit")
        message = reason(tmp_path, GOLDEN[:place])
        assert message.startswith("no .bitface file" if place < 48 else "damaged: its checksum doesn't fit")
    assert reason(tmp_path, GOLDEN + b"\0").startswith("damaged: its checksum doesn't fit")


OTHERS = {
    "empty": b"",
    "garbage": bytes(range(256)) * 40,
    "zeros": bytes(5000),
    "text": b"BITFACE and so on, but no file of that kind, only some words that are long enough",
    "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "safetensors": safetensors.numpy.save({"weight": np.zeros((3, 3), np.float32)}),
    "bare content": CONTENT,
    "huge length": struct.pack("<Q", 1 << 63) + CONTENT,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files(tmp_path: Path, name: str) -> None:
    assert reason(tmp_path, OTHERS[name]) == "no .bitface file, or a truncated one"


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "missing.bitface", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(BitfaceError, match=f"{path}: can't be read \\({why}"):
            read(path)


CONTENTS = {
    "other safetensors": safetensors.numpy.save({"weight": np.zeros((3, 3), np.float32)}),
    "other metadata": safetensors.numpy.save({"weight": np.zeros(3, np.float32)}, {"bitface": "[]"}),
    "empty": b"",
    "short": b"abc",
    "garbage": bytes(range(256)) * 40,
    "huge header": struct.pack("<Q", 1 << 63) + CONTENT[8:],
    "negative header": struct.pack("<q", -1) + CONTENT[8:],
    "header of spaces": struct.pack("<Q", 5 << 20) + b" " * (6 << 20),
    "truncated": CONTENT[:-1],
    "longer": CONTENT + b"\0",
    "deep": struct.pack("<Q", 1 << 20) + b"[" * (1 << 20),
}


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("name", CONTENTS)
def test_other_contents(tmp_path: Path, name: str) -> None:
    reason(tmp_path, wrap(CONTENTS[name]))


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize(
    "data",
    [
        wrap(CONTENT, size=len(CONTENT) - 1),
        wrap(CONTENT, size=len(CONTENT) + 1),
        wrap(CONTENT, size=1 << 62),
        wrap(bytes(400 << 20)),
        wrap(bytes(400 << 20), size=1 << 20),
        wrap(bytes(400 << 20), size=0),
    ],
    ids=["less", "more", "huge", "bomb", "hidden bomb", "empty bomb"],
)
def test_contents_of_another_size(tmp_path: Path, data: bytes) -> None:
    assert reason(tmp_path, data).startswith("damaged (")


IMAGE, CONV, ACT, ACT_4, FLAT, FC = (["graph", "nodes", index] for index in range(6))
HUGE = (10**9, 10**30, 1 << 62)
EDITS: list[tuple[list[Any], tuple[Any, ...]]] = [
    (["format"], (0, 2, "1", None, [1])),
    (["name"], ()),
    (["graph"], (None, [], {}, "x", 5)),
    (["graph", "input"], ([3, 0, 2], [3, -2, 2], [10**9] * 3, [10**30, 2, 2], [1], [], "x", [3, 2, "2.5"], [3, 4, 4])),
    (["graph", "output"], ("nowhere", None, [], "image", "act", "conv")),
    (["graph", "nodes"], (None, "x", 5, [], [None], [[]], ["conv"], [{}], [{"op": "Relu"}], [{"name": "fc"}])),
    ([*CONV, "op"], ("Exec", "conv", None, ["IntegerConv"], "Conv", "IntegerLinear", "Constant", "Relu", "__import__")),
    ([*CONV, "name"], ("", "a b", "class", "__class__", "__init__.x", "..", 5, None, "act", "x" * 10**5, "fc")),
    ([*CONV, "in"], ([], ["image"] * 2, ["conv"], ["act"], ["nowhere"], "image_a8", None, [["image_a8"]], 5)),
    ([*CONV, "attributes"], (None, [], {}, {"bits": 3}, "x")),
    ([*CONV, "attributes", "more"], (1,)),
    ([*CONV, "attributes", "out_channels"], (*HUGE, 0, -1, "2", 2.0, True, None, 3, [2])),
    ([*CONV, "attributes", "in_channels"], (*HUGE, 0, -3, "3", 3.0, None, 4)),
    ([*CONV, "attributes", "groups"], (*HUGE, 0, -1, 3.5, "1", None, 2, 3)),
    ([*CONV, "attributes", "kernel_size"], ([10**9] * 2, [1 << 23] * 2, 1, [], [1], [1] * 3, [0, 1], ["1", 1])),
    ([*CONV, "attributes", "stride"], ([0, 0], [-1, 1], [1], "x", [1.5, 1])),
    ([*CONV, "attributes", "padding"], ([10**9, 10**9], [-1, -1], [1 << 62, 0], "x", [1], None)),
    ([*CONV, "attributes", "dilation"], ([0, 0], [-1, 1], "x")),
    ([*CONV, "attributes", "bias"], (False, 0, [])),
    ([*CONV, "attributes", "bits"], (0, 1, 9, 64, -3, 3.5, "3", None, 10**30, 8)),
    ([*CONV, "attributes", "input_scale"], (-1, 1e-320, 1e300, "x", None, [1.0])),
    ([*CONV, "attributes", "output_scale"], (-1, 1e-320, 1e300, "x")),
    ([*CONV, "attributes", "output_zero_point"], (-1, 256, 0.5, None)),
    ([*CONV, "attributes", "asymmetric"], (True,)),
    ([*FC, "attributes", "per_channel"], (True, 1)),
    ([*FC, "attributes", "in_features"], (*HUGE, 0, -8, 7, "8", None)),
    ([*FC, "attributes", "out_features"], (*HUGE, 0, -2, 3, "2", None)),
    ([*ACT, "attributes", "num_parameters"], (*HUGE, 0, -2, 3, "2", None)),
    ([*ACT, "op"], ("ChannelAffine", "BatchNorm", "Conv", "Linear")),
    ([*ACT_4, "attributes", "scale"], (0, -1.0, 1e-320, 1e300, "1", None, [1.0], float("nan"), float("inf"), 10**400)),
    ([*ACT_4, "attributes", "zero_point"], (-1, 16, 10**30, 0.5, "3", None)),
    ([*ACT_4, "attributes", "bits"], (0, 1, 9, "4", None, 4.5)),
    ([*ACT_4, "attributes", "signed"], ("no", None, 2)),
    ([*FLAT, "attributes", "tail"], ([9], [-1], [0], [10**30], [], "x", None, 8, [2.5], [4, 2], [1 << 40])),
    (["preprocess"], (None, [], {}, "rgb-raw")),
    (["preprocess", "std"], ([0, 1, 1], [float("nan")] * 3, [1, 2], "x", 5)),
    (["preprocess", "size"], ([112, 112], [2], [-2, 2], "22x", [10**9, 10**9])),
    (["preprocess", "color"], ("gray", None, 5)),
    (["plan"], (None, [], "w8a8", 5)),
    (["teacher"], (None, [], 5)),
    (["data"], (None, [], 5)),
    (["card"], (None, [], 5)),
    (["thresholds"], (None, {}, 5, "x")),
]  # fmt: skip


def edited(path: list[Any], value: Any) -> dict[str, Any]:
    description = copy.deepcopy(DESCRIPTION)
    holder = description
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return description


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize(("path", "values"), EDITS, ids=[".".join(map(str, path)) for path, _ in EDITS])
def test_descriptions_that_say_the_impossible(tmp_path: Path, path: list[Any], values: tuple[Any, ...]) -> None:
    for value in values:
        try:
            reason(tmp_path, signed(edited(path, value), TENSORS))
        except (AssertionError, pytest.fail.Exception) as error:
            raise AssertionError(f"{value!r}: {error}") from error
    without = edited(path, None)
    holder = without
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    if path[-1] not in ("output_scale", "output_zero_point", "groups", "stride", "padding", "dilation", "more", "bias",
                        "input_scale", "bits", "per_channel", "asymmetric"):  # fmt: skip
        reason(tmp_path, signed(without, TENSORS))


def changed(**changes: Any) -> Tensors:
    tensors = {**TENSORS, **{key.replace("_", ".", 1): value for key, value in changes.items()}}
    return {key: value for key, value in tensors.items() if value is not None}


FLOATS = np.float32
TENSOR_EDITS: dict[str, Tensors] = {
    "no weight": changed(conv_weight=None),
    "no scale": changed(conv_scale=None),
    "no bias": changed(fc_bias=None),
    "no zero point": changed(fc_zero_point=None),
    "one more": changed(more_weight=np.zeros(3, FLOATS)),
    "too few bytes": changed(conv_weight=np.zeros(2, np.uint8)),
    "too many bytes": changed(conv_weight=np.zeros(4, np.uint8)),
    "bits behind the last weight": changed(conv_weight=np.array([209, 120, 0b100], np.uint8)),
    "an 8-bit weight that has no negative": changed(fc_weight=np.full(16, 128, np.uint8)),
    "weights as int8": changed(conv_weight=np.zeros(3, np.int8)),
    "weights as float": changed(conv_weight=np.zeros((2, 3, 1, 1), FLOATS)),
    "bytes in rows are fine, but not a scalar": changed(conv_weight=np.array(5, np.uint8)),
    "scale NaN": changed(conv_scale=np.array([0.5, np.nan], FLOATS)),
    "scale 0": changed(conv_scale=np.array([0.5, 0], FLOATS)),
    "scale negative": changed(conv_scale=np.array([0.5, -1], FLOATS)),
    "scale infinite": changed(conv_scale=np.array([0.5, np.inf], FLOATS)),
    "scale of another type": changed(conv_scale=np.array([0.5, 0.25], np.float64)),
    "scale of another shape": changed(conv_scale=np.array([[0.5, 0.25]], FLOATS)),
    "one scale": changed(conv_scale=np.array([0.5], FLOATS)),
    "bias as float": changed(conv_bias=np.zeros(2, FLOATS)),
    "bias as int64": changed(conv_bias=np.zeros(2, np.int64)),
    "bias of another length": changed(conv_bias=np.zeros(3, np.int32)),
    "zero point out of its bits": changed(fc_zero_point=np.array([-128], np.int8)),
    "zero point as int32": changed(fc_zero_point=np.array([2], np.int32)),
    "slope NaN": changed(act_weight=np.array([0.25, np.nan], FLOATS)),
    "slopes of another number": changed(act_weight=np.zeros(3, FLOATS)),
    "slopes as half": changed(act_weight=np.zeros(2, np.float16)),
    "no tensors": {"x": np.zeros(1, FLOATS)},
}


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("name", TENSOR_EDITS)
def test_tensors_that_do_not_fit(tmp_path: Path, name: str) -> None:
    reason(tmp_path, signed(DESCRIPTION, TENSOR_EDITS[name]))


def grown(count: int, node: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    return edited(["graph", "nodes"], [*DESCRIPTION["graph"]["nodes"], *(node(index) for index in range(count))])


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize(
    "description",
    [
        grown(20_000, lambda index: {"op": "Relu", "name": f"relu{index}", "in": ["fc"]}),
        grown(1, lambda index: {"op": "BatchNorm1d", "name": "n", "in": ["fc"], "attributes": {"num_features": 10**9}}),
        grown(1, lambda index: {"op": "ChannelAffine", "name": "n", "in": ["fc"], "attributes": {"channels": 10**9}}),
        grown(1, lambda index: {"op": "Linear", "name": "n", "in": ["fc"],
                                "attributes": {"in_features": 2, "out_features": 10**9}}),
        grown(1, lambda index: {"op": "Conv", "name": "n", "in": ["conv"],
                                "attributes": {"in_channels": 2, "out_channels": 10**9, "kernel_size": [1, 1]}}),
        edited(ACT, {"op": "Pad", "name": "act", "in": ["conv"], "attributes": {"pads": [10**6] * 4}}),
        json.dumps(DESCRIPTION).replace("0.125", "1e999"),
        json.dumps(DESCRIPTION).replace('"zero_point": 3', '"zero_point": ' + "9" * 5000),
        json.dumps(DESCRIPTION)[:-1],
        "[" * 100_000,
        '{"a":' * 100_000,
        "",
        "null",
    ],
    ids=["nodes", "norm", "affine", "linear", "conv", "pad", "infinity", "number", "cut", "list", "map", "", "null"],
)  # fmt: skip
def test_descriptions_that_cost_too_much(tmp_path: Path, description: Any) -> None:
    reason(tmp_path, signed(description, TENSORS))


@pytest.mark.usefixtures("small_memory")
@settings(max_examples=300, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_random_bytes_in_a_content_that_is_signed_again(edits: list[tuple[int, int]]) -> None:
    content = bytearray(CONTENT)
    for place, value in edits:
        content[place] = value
    check_either(bytes(content))


PATHS = [path for path, _ in EDITS] + [["graph", "nodes", index] for index in range(6)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["conv", "image"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["op", "name", "in", "bits"]), inner),
    max_leaves=6,
)


@pytest.mark.usefixtures("small_memory")
@settings(max_examples=300, derandomize=True)
@given(st.sampled_from(PATHS), JSON)
def test_random_values_in_a_description_that_is_signed_again(path: list[Any], value: Any) -> None:
    check_either(safetensors.numpy.save(TENSORS, {"bitface": json.dumps(edited(path, value))}))


def check_either(content: bytes) -> None:
    """The file is read, or refused in one line."""
    path = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"bitface-{id(CONTENT)}.bitface"
    path.write_bytes(wrap(content, level=0))
    try:
        read(path)
    except BitfaceError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert "alloc" not in str(error).lower()  # noqa: PT017
    finally:
        path.unlink()


def calls_of_reading(count: int, folder: Path) -> int:
    """The calls that reading an artifact of so many operators in a row makes, Python's and C's."""
    chain = [{"op": "Relu", "name": f"part.relu{index}", "in": [f"part.relu{index - 1}" if index else "fc"]}
             for index in range(count)]  # fmt: skip
    description = grown(count, lambda index: chain[index])
    description["graph"]["output"] = chain[-1]["name"]
    path, calls = folder / "many.bitface", 0
    path.write_bytes(signed(description, TENSORS))

    def count_call(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count_call)
    try:
        read(path)
    finally:
        sys.setprofile(before)
    return calls


def test_the_work_grows_with_the_operators_and_not_with_their_square(tmp_path: Path) -> None:
    calls_of_reading(10, tmp_path)  # what is computed once is so now
    few, some, many = (calls_of_reading(count, tmp_path) for count in (50, 100, 200))
    assert many - some == pytest.approx(2 * (some - few), rel=0.02)


def test_no_pass_of_torch_whose_work_grows_with_their_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks each module up in a list of all: no calls, but minutes."""
    monkeypatch.setattr(GraphModule, "delete_all_unused_submodules", lambda graph: pytest.fail("asked for"))
    assert calls_of_reading(10, tmp_path) > 0

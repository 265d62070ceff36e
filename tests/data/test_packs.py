"""Verification sets packed into one .bin file."""

import io
import os
import pickle
import pickletools
import re
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.model_selection import KFold

from bitface.data.packs import is_pack, unpacked_pack
from bitface.errors import BitfaceError
from bitface.evaluation import read_pairs


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def encoded(seed: int, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


IMAGES = [encoded(seed, "PNG" if seed % 3 == 0 else "JPEG") for seed in range(50)]
SAME = [index % 5 < 2 for index in range(25)]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def python_2(images: list[bytes], same: list[bool], protocol: int) -> bytes:
    """The pickle that Python 2's cPickle writes of the tuple, byte for byte."""
    memo = iter(range(1, 10**6))

    def put() -> bytes:
        number = next(memo)
        if protocol == 0:
            return b"p%d\n" % number
        return b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number)

    def text(image: bytes) -> bytes:
        if protocol == 0:
            # Python 2 writes the repr of a str: that of bytes without the b.
            return b"S" + repr(image)[1:].encode("latin-1") + b"\n"
        return (b"U" + bytes([len(image)]) if len(image) < 256 else b"T" + struct.pack("<i", len(image))) + image

    if protocol == 0:
        parts = [b"((l", put(), *(text(image) + put() + b"a" for image in images), b"(l", put()]
        parts += [b"I01\na" if flag else b"I00\na" for flag in same]
        return b"".join([*parts, b"t", put(), b"."])
    parts = [b"\x80\x02]", put(), b"(", *(text(image) + put() for image in images), b"e]", put(), b"("]
    parts += [b"\x88" if flag else b"\x89" for flag in same]
    return b"".join([*parts, b"e\x86", put(), b"."])


def assert_unpacked(path: Path, images: list[bytes] = IMAGES, same: list[bool] = SAME) -> None:
    folder, table = unpacked_pack(path)
    assert table == folder / "pairs.csv"
    pairs = read_pairs(table, folder)
    assert len(pairs.paths) == len(images)
    assert [(folder / name).read_bytes() for name in pairs.paths] == images
    assert pairs.left.tolist() == list(range(0, len(images), 2))
    assert pairs.right.tolist() == list(range(1, len(images), 2))
    assert pairs.same.tolist() == same


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("outer", [tuple, list])
def test_packs_of_python_3(tmp_path: Path, protocol: int, outer: type) -> None:
    path = written(tmp_path / "lfw.bin", pickle.dumps(outer((IMAGES, SAME)), protocol))
    assert is_pack(path)
    assert_unpacked(path)


@pytest.mark.parametrize("protocol", [0, 2])
def test_packs_of_python_2(tmp_path: Path, protocol: int) -> None:
    content = python_2(IMAGES, SAME, protocol)
    assert pickle.loads(content, encoding="bytes") == (IMAGES, SAME)
    assert_unpacked(written(tmp_path / "lfw.bin", content))


def test_flags_as_numbers_and_tuples_for_lists(tmp_path: Path) -> None:
    content = pickle.dumps((tuple(IMAGES), tuple(int(flag) for flag in SAME)))
    assert_unpacked(written(tmp_path / "lfw.bin", content))


def test_images_keep_their_bytes_and_are_named_by_them(tmp_path: Path) -> None:
    kinds = ["JPEG", "PNG", "BMP", "WEBP", "GIF", "JPEG"]
    images = [encoded(seed, kind) for seed, kind in enumerate(kinds)]
    folder, _ = unpacked_pack(written(tmp_path / "a.bin", pickle.dumps((images, [True, False, False]))))
    names = sorted(path.name for path in folder.iterdir() if path.suffix != ".csv")
    assert names == ["000000.jpg", "000001.png", "000002.bmp", "000003.webp", "000004.gif", "000005.jpg"]
    assert [(folder / name).read_bytes() for name in names] == images


def test_an_image_of_several_pairs_is_one_file(tmp_path: Path) -> None:
    first, second, third = (encoded(seed, "PNG") for seed in range(3))
    # Read from a file each, so that the pickle holds the first image twice.
    images = [first, second, bytes(bytearray(first)), third, third, bytes(bytearray(third))]
    folder, listed = unpacked_pack(written(tmp_path / "a.bin", pickle.dumps((images, [True, False, True]))))
    assert sorted(path.name for path in folder.glob("*.png")) == [
        "000000.png",
        "000001.png",
        "000003.png",
        "000005.png",
    ]
    rows = [line.split(",")[:3] for line in listed.read_text().splitlines()[1:]]
    assert rows == [
        ["000000.png", "000001.png", "1"], ["000000.png", "000003.png", "0"], ["000003.png", "000005.png", "1"],
    ]  # fmt: skip


@pytest.mark.parametrize("pairs", [10, 25, 60, 107])
def test_folds_are_those_of_kfold_without_shuffling(tmp_path: Path, pairs: int) -> None:
    content = pickle.dumps(([IMAGES[index % 50] + bytes(index) for index in range(2 * pairs)], [True, False] * 60))
    content = pickle.dumps((pickle.loads(content)[0], [index % 2 == 0 for index in range(pairs)]))
    folder, table = unpacked_pack(written(tmp_path / "a.bin", content))
    expected = np.empty(pairs, dtype=int)
    for fold, (_, held_out) in enumerate(KFold(10, shuffle=False).split(np.arange(pairs))):
        expected[held_out] = fold
    assert read_pairs(table, folder).fold.tolist() == expected.tolist()


def test_unpacked_once_and_kept_by_the_content(tmp_path: Path, cache: Path) -> None:
    content = pickle.dumps((IMAGES, SAME))
    folder, table = unpacked_pack(written(tmp_path / "a.bin", content))
    before = table.stat().st_mtime_ns
    assert unpacked_pack(written(tmp_path / "b.bin", content)) == (folder, table)
    assert table.stat().st_mtime_ns == before
    assert [path.name for path in (cache / "packs").iterdir()] == [folder.name]
    assert unpacked_pack(written(tmp_path / "b.bin", pickle.dumps((IMAGES, SAME[::-1]))))[0] != folder


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def refused(path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BitfaceError, match=message) as caught:
        unpacked_pack(written(path, content))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert not list((path.parent / "cache" / "packs").iterdir())


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    hostile = Hostile(canary)
    pickle.loads(pickle.dumps(hostile, protocol))
    assert canary.exists()
    canary.unlink()
    for content in (hostile, (IMAGES, [hostile]), ([hostile, *IMAGES], SAME), [[IMAGES, SAME], hostile]):
        refused(tmp_path / "a.bin", pickle.dumps(content, protocol), "holds more than encoded images and flags")
    assert not canary.exists()


@pytest.mark.parametrize(("name", "content"), [
    ("INST", b"(S'touch canary'\nios\nsystem\n."),
    ("OBJ", b"(]o."),
    ("NEWOBJ", b"])\x81."),
    ("NEWOBJ_EX", b"]))\x92."),
    ("EXT1", b"\x82\x01."),
    ("EXT2", b"\x83\x01\x00."),
    ("EXT4", b"\x84\x01\x00\x00\x00."),
    ("PERSID", b"Pid\n."),
    ("BINPERSID", b"]Q."),
    ("EMPTY_DICT", b"}."),
    ("EMPTY_SET", b"\x8f."),
    ("NEXT_BUFFER", b"\x97."),
    ("DUP", b"]2."),
])  # fmt: skip
def test_other_instructions_are_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    refused(tmp_path / "a.bin", content, rf"\({name} at byte \d+\), which isn't read because a pickle can run anything")


def test_every_instruction_is_known_or_refused(tmp_path: Path) -> None:
    allowed = set()
    for info in pickletools.opcodes:
        try:
            unpacked_pack(written(tmp_path / "a.bin", info.code.encode("latin-1")))
        except BitfaceError as error:
            if "holds more than" not in str(error):
                allowed.add(info.name)
    assert allowed == {
        "PROTO", "FRAME", "STOP", "MARK", "EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1",
        "TUPLE2", "TUPLE3", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "STRING",
        "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "PUT", "BINPUT", "LONG_BINPUT",
        "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "NONE", "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
        "BINUNICODE8", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
    }  # fmt: skip


@pytest.mark.parametrize(("content", "message"), [
    (b"cos\nsystem\n(S'touch canary'\ntR.", "it asks for os.system at byte 0"),
    (b"cnumpy\nload\n.", "it asks for numpy.load at byte 0"),
    (b"cnumpy.core.multiarray\nfromfile\n.", "it asks for numpy.core.multiarray.fromfile"),
    (b"cos\n" + b"a" * 99 + b"\n.", "the string at byte 4 doesn't end"),
    (b"(]]\x93.", "lacks a name"),
    (b"])R.", "an object at byte 2 makes something else than an array"),
    (b"cnumpy\nndarray\n)R.", "an object at byte 16 makes something else than an array"),
    (b"]]b.", "an object at byte 2 sets something else than an array"),
    (b"cnumpy\ndtype\n(S'O4'\nI00\nI01\ntR.", "holds numbers of the kind 'O4'"),
    (b"c_codecs\nencode\n(S'os'\nS'rot13'\ntR.", "makes something else"),
])  # fmt: skip
def test_no_name_but_those_of_arrays(tmp_path: Path, content: bytes, message: str) -> None:
    refused(tmp_path / "a.bin", content, message)


@pytest.mark.parametrize("core", ["numpy._core", "numpy.core"])
@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_numpy(tmp_path: Path, protocol: int, core: str) -> None:
    images = [np.frombuffer(image, dtype=np.uint8) for image in IMAGES]
    objects = np.array([None] * len(IMAGES))
    objects[:] = IMAGES
    flags = np.array(SAME)
    for value in (
        (IMAGES, flags), (images, SAME), ([image.copy() for image in images], flags.astype(np.int64)),
        (objects, flags.astype(">i2")), (IMAGES, [np.bool_(flag) for flag in SAME]), (IMAGES, [*flags.astype("u1")]),
    ):  # fmt: skip
        content = pickle.dumps(value, protocol).replace(b"numpy._core", core.encode())
        if core == "numpy.core" and protocol >= 4:  # the length of the name, and of the frames
            content = pickletools.optimize(pickle.dumps(value, 3)).replace(b"numpy._core", core.encode())
        assert_unpacked(written(tmp_path / "a.bin", content))


@pytest.mark.parametrize(("value", "message"), [
    ((IMAGES, np.array(SAME, np.float32)), "holds numbers of the kind 'f4'"),
    ((IMAGES, np.array(SAME)[None]), "isn't an array of numbers with one axis"),
    ((np.zeros((50, 4, 4, 3), np.uint8), SAME), "isn't an array of numbers with one axis"),
    (([*IMAGES[:-1], np.zeros((4, 4, 3), np.uint8)], SAME), "image 49 is no string of bytes"),
    ((IMAGES, np.array(["a"] * 25)), "holds numbers of the kind 'U1'"),
])  # fmt: skip
def test_other_arrays_are_refused(tmp_path: Path, value: Any, message: str) -> None:
    refused(tmp_path / "a.bin", pickle.dumps(value), message)


def test_an_array_shorter_than_its_shape(tmp_path: Path) -> None:
    head, side, tail = pickle.dumps((IMAGES, np.array(SAME)), 2).rpartition(b"K\x19\x85")
    assert side
    content = head + b"K\x18\x85" + tail
    refused(tmp_path / "a.bin", content, "has other content than its shape says")


@pytest.mark.parametrize(("value", "message"), [
    ((), "something else than a list of images and a list of flags"),
    (IMAGES, "something else than a list of images"),
    ((IMAGES, SAME, SAME), "something else than a list of images"),
    ((IMAGES, 1), "something else than a list of images"),
    ((b"".join(IMAGES), SAME), "something else than a list of images"),
    ((IMAGES[:-1], SAME), "holds 49 images for 25 pairs; expected two for each"),
    (([], []), "holds 0 images for 0 pairs"),
    (([*IMAGES[:-1], 7], SAME), "image 49 is no string of bytes"),
    (([*IMAGES[:-1], [IMAGES[0]]], SAME), "image 49 is no string of bytes"),
    ((IMAGES, [*SAME[:-1], 2]), "the flag of pair 24 is neither true nor false"),
    ((IMAGES, [*SAME[:-1], b"1"]), "the flag of pair 24 is neither true nor false"),
    (([*IMAGES[:-1], b"GARBAGE!!"], SAME), r"image 49 begins with b'GARBAGE!': neither JPEG nor PNG"),
    (([b"", *IMAGES[1:]], SAME), r"image 0 begins with b''"),
    (([IMAGES[0], IMAGES[0], *IMAGES[2:]], SAME), "pair 0 is one image with itself"),
])  # fmt: skip
def test_data_of_another_shape(tmp_path: Path, value: Any, message: str) -> None:
    refused(tmp_path / "a.bin", pickle.dumps(value), message)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is empty"),
    (b"\xff\xd8\xff\xe0", r"is no pickle: byte 0 is b'\\xff'"),
    (b"\x80", "1 bytes are announced at byte 1, but the file ends before"),
    (b"\x80\x04", "1 bytes are announced at byte 2, but the file ends before"),
    (b"B\xff\xff\xff\xffabc.", "4294967295 bytes are announced at byte 5, but the file ends before"),
    (b"\x8e" + b"\xff" * 8 + b"abc.", "18446744073709551615 bytes are announced"),
    (b"T\xff\xff\xff\xffabc.", "-1 bytes are announced"),
    (b"\x8a\xff\x01.", "255 bytes are announced"),
    (b".", "the instruction at byte 0 lacks a value"),
    (b"(.", "the instruction at byte 1 lacks a value"),
    (b"]].", "values are left over at byte 2"),
    (b"]e.", "the instruction at byte 1 lacks the beginning of a list"),
    (b"(e.", "lacks the list to append to"),
    (b")\x88a.", "lacks the list to append to"),
    (b"\x88\x86.", "the instruction at byte 1 lacks a value"),
    (b"h\x05.", "refers to what wasn't there before"),
    (b"q\x05.", "lacks a value"),
    (b"I" + b"9" * 5000 + b"\n.", "no number at byte 1"),
    (b"Ix\n.", "b'x' is no number"),
    (b"S'abc\n.", "no quotes around the string at byte 1"),
    (b"S'abc'", "the string at byte 1 doesn't end"),
    (b"j" + b"\xff" * 4 + b".", "refers to what wasn't there before"),
])  # fmt: skip
def test_damaged_files(tmp_path: Path, content: bytes, message: str) -> None:
    refused(tmp_path / "a.bin", content, message)


def test_a_damaged_escape(tmp_path: Path) -> None:
    content = python_2(IMAGES, SAME, 0).replace(b"\\xff\\xd8", b"\\xZZ\\xd8", 1)
    refused(tmp_path / "a.bin", content, r"the string at byte \d+ can't be decoded")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_file_that_ends_anywhere(tmp_path: Path, protocol: int) -> None:
    images = [image[:12] + bytes([index]) for index, image in enumerate(IMAGES[:4])]
    whole = python_2(images, [True, False], protocol) if protocol < 4 else pickle.dumps((images, [True, False]))
    assert_unpacked(written(tmp_path / "whole.bin", whole), images, [True, False])
    for size in range(len(whole)):
        with pytest.raises(BitfaceError, match=r"is damaged|is empty"):
            unpacked_pack(written(tmp_path / "a.bin", whole[:size]))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(BitfaceError, match=r"none\.bin: can't be unpacked \(No such file"):
        unpacked_pack(tmp_path / "none.bin")
    with pytest.raises(BitfaceError, match=r"can't be unpacked \(Is a directory"):
        unpacked_pack(tmp_path)
    assert not is_pack(tmp_path)
    assert not is_pack(tmp_path / "a.tar")


BOMBS = [
    (b"]" * 100_000 + b"a" * 99_999 + b".", "something else than a list of images"),
    (b"]" + b"\x85" * 100_000 + b".", "something else than a list of images"),
    (b"]\x94h\x00a" * 30_000 + b".", "left over"),
    (b"]r\xff\xff\xff\xff.", "something else than a list of images"),
    (b"]" + b"\x94" * 1_500_000 + b".", "more than 1,000,000 instructions"),
    (b"(" * 100_000, "1 bytes are announced at byte 100000"),
]
# Bytes, for the million instructions that are read at most.
MOST = 150_000_000


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path: Path) -> None:
    for index, (content, message) in enumerate(BOMBS):
        path = written(tmp_path / f"{index}.bin", content)
        tracemalloc.start()
        with pytest.raises(BitfaceError, match=re.escape(message)):
            unpacked_pack(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST, index


def test_an_image_referred_to_again_is_one_file(tmp_path: Path) -> None:
    many = 3000
    again = pickle.dumps(([IMAGES[0], IMAGES[1]] * many, [True, False] * (many // 2)))
    folder, table = unpacked_pack(written(tmp_path / "a.bin", again))
    assert len(list(folder.iterdir())) == 3
    assert len(table.read_text().splitlines()) == many + 1


@settings(max_examples=300)
@given(st.data())
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = pickle.dumps((IMAGES[:4], [True, False]), protocol=data.draw(st.sampled_from([3, 4])))
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = written(tmp_path_factory.getbasetemp() / "any.bin", bytes(content))
    try:
        folder, table = unpacked_pack(path)
        assert table.is_file()
        assert all(image.parent == folder for image in folder.iterdir())
    except BitfaceError as error:
        refusal = str(error)
    else:
        refusal = ""
    assert "\n" not in refusal

"""What is kept by the facts that it depends on: made once, whole or not at all, and again where it is damaged."""

import ctypes
import json
import multiprocessing
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from typer.testing import CliRunner

from bitface.cli.app import app
from bitface.errors import BitfaceError, UsageError
from bitface.store import JSON, Contents, Store, array, key_of, remembered, written_by


def test_a_key_changes_with_every_fact() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(3, 4)
    keys = [
        key_of("a"), key_of(("a",)), key_of(("a", 1)), key_of("a", b"1"), key_of("a", images),
        key_of("a", images[::-1]), key_of("caf\udce9.png"),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 for key in keys)
    assert key_of("a", images.T) == key_of("a", np.ascontiguousarray(images.T))


def test_a_value_is_computed_once_and_again_where_it_is_damaged(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def compute() -> dict[str, int]:
        calls.append(1)
        return {"count": len(calls)}

    assert store.value("kind", "key", JSON, compute) == {"count": 1}
    assert store.value("kind", "key", JSON, compute) == {"count": 1}
    assert store.value("kind", "other", JSON, compute) == {"count": 2}
    for damage in (b"", b"{", b"[1, 2]", b"\xff"):
        store.path("kind", "key", ".json").write_bytes(damage)
        count = store.value("kind", "key", JSON, compute)["count"]
        assert count == len(calls)
        assert json.loads(store.path("kind", "key", ".json").read_bytes()) == {"count": count}


def test_who_is_first_decides_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    numbers, together = count(), Barrier(8)

    def compute() -> dict[str, int]:
        together.wait()
        return {"number": next(numbers)}

    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: remembered("models", "key", JSON, compute), range(8)))
    assert len({value["number"] for value in values}) == 1
    (file,) = (tmp_path / "cache" / "models").iterdir()
    file.write_bytes(b"{")
    assert remembered("models", "key", JSON, lambda: {"number": 9}) == {"number": 9}
    assert json.loads(file.read_bytes()) == {"number": 9}
    assert list(file.parent.iterdir()) == [file]
    (tmp_path / "file").touch()
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "file"))
    assert remembered("models", "key", JSON, lambda: {"number": 1}) == {"number": 1}
    assert remembered("models", "key", JSON, lambda: {"number": 2}) == {"number": 2}


def test_what_is_written_by_other_text_is_another_fact() -> None:
    assert written_by("graph") == written_by("graph") != written_by("graph", "artifact")


def test_arrays(tmp_path: Path) -> None:
    store, values = Store(tmp_path), np.arange(6, dtype=np.float32).reshape(2, 3)
    for damage in (None, b"damaged", b"\xff" * 64):
        if damage:
            store.path("kind", "key", ".safetensors").write_bytes(damage)
        np.testing.assert_array_equal(store.value("kind", "key", array("values"), lambda: values), values)
    # A file of something else.
    np.testing.assert_array_equal(store.value("kind", "key", array("others"), lambda: values + 1), values + 1)


def test_nothing_half_made_is_left(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(*_: object) -> dict[str, int]:
        raise BitfaceError("no")

    def half(path: Path) -> None:
        (path / "file" if path.is_dir() else path).write_bytes(b"half")
        raise BitfaceError("no")

    for use in (
        lambda: store.value("kind", "key", JSON, fail),
        lambda: store.file("kind", "key", ".bin", half, Path.read_bytes),
        lambda: store.folder("kind", "key", half),
    ):
        with pytest.raises(BitfaceError, match="no"):
            use()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() or path.name == "key"]


def fill(arguments: tuple[Path, int]) -> tuple[bytes, bytes]:
    root, number = arguments
    store = Store(root)

    def many(folder: Path) -> None:
        for name in range(50):
            (folder / f"{name}").write_bytes(bytes([number]) * 1000)

    folder = store.folder("folders", "key", many)
    (content,) = {path.read_bytes() for path in folder.iterdir()}
    assert len(list(folder.iterdir())) == 50
    return content, store.file("files", "key", ".bin", lambda path: path.write_bytes(content), Path.read_bytes)


def test_processes_at_once_get_one_whole_entry(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        contents = pool.map(fill, [(tmp_path, number) for number in range(8)])
    assert len(set(contents)) == 1
    assert sorted(path.name for path in tmp_path.rglob("key*")) == ["key", "key.bin"]


def test_a_damaged_library_is_compiled_again(tmp_path: Path) -> None:
    source = tmp_path / "one.c"
    source.write_text("int one(void) { return 1; }")

    def make(path: Path) -> None:
        subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(path)], check=True)

    store = Store(tmp_path)
    try:
        make(tmp_path / "trial.so")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler")
    path = store.path("kernels", "key", ".so")
    path.parent.mkdir()
    path.write_bytes(b"\x7fELF damaged")
    assert store.file("kernels", "key", ".so", make, lambda path: ctypes.CDLL(str(path))).one() == 1


def test_a_damaged_folder_is_filled_again(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fill_one(folder: Path) -> None:
        (folder / "file").write_text("{}")

    def check(folder: Path) -> None:
        json.loads((folder / "file").read_text())

    for damage in ("{", None):
        path = store.folder("kind", "key", fill_one, check)
        assert (path / "file").read_text() == "{}"
        (path / "file").unlink()
        if damage:
            (path / "file").write_text(damage)


def filled(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Store:
    """A cache with entries of two kinds, and a folder of somebody else's."""
    monkeypatch.setenv("BITFACE_CACHE", str(folder))
    store = Store()
    assert store.contents() == {}
    for key in ("one", "two"):
        store.value("embeddings", key, JSON, dict)

    def fill_one(folder: Path) -> None:
        (folder / "file").write_bytes(b"x" * 100)

    store.folder("faces", "key", fill_one)
    store.parts("faces", "begun").value("batches", "0", JSON, dict)
    (folder / "photographs").mkdir()
    return store


def test_what_there_is_is_listed_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(monkeypatch, tmp_path)
    assert store.contents() == {"faces": Contents(1, 103), "embeddings": Contents(2, 6)}
    assert list(store.contents()) == ["faces", "embeddings"]
    assert store.clear("faces") == {"faces": Contents(1, 103)}
    assert store.contents() == {"embeddings": Contents(2, 6)}
    assert store.clear() == {"embeddings": Contents(2, 6)}
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]
    for use in (store.clear, store.contents):
        with pytest.raises(UsageError, match="unknown kind 'face'; did you mean 'faces'"):
            use("face")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(monkeypatch, tmp_path)
    runner = CliRunner()
    for arguments in (["cache"], ["cache", "--list"]):
        said = runner.invoke(app, arguments)
        assert said.exit_code == 0
        assert "embeddings" in said.output
    assert runner.invoke(app, ["cache", "faces", "--clear"]).exit_code == 0
    assert list(store.contents()) == ["embeddings"]
    assert "removed" in runner.invoke(app, ["cache", "--clear"]).output
    assert store.contents() == {}


def test_what_is_of_real_faces_is_its_owners_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "packs").mkdir(mode=0o755)  # as an earlier version left it
    store.value("embeddings", "key", JSON, dict)
    store.file("indexes", "key", "", lambda path: path.write_text("x"), Path.read_text)
    store.folder("packs", "key", lambda folder: None)
    store.parts("shards", "key").value("parts", "0", JSON, dict)
    store.value("models", "key", JSON, dict)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {modes[name] for name in ("embeddings", "indexes", "packs", "shards")} == {0o700}
    assert modes["models"] != 0o700

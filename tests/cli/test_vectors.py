"""Embeddings as files: written, gone on with, and enrolled as a gallery."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from bitface import load
from bitface.data.face_source import FaceSource
from bitface.evaluation.gallery_file import read_gallery
from bitface.graph import from_module, to_onnx
from bitface.jobs.people import embed as embed_job
from bitface.jobs.people.embed import EmbedRequest, embed_faces
from bitface.progress import silent
from bitface.runtime import Embedder
from support.ranks import on_ranks

from .conftest import Run
from .test_bad_input import ends_in_one_line


@pytest.fixture
def damaged(crops: Path, tmp_path: Path) -> Path:
    """Six crops of two people, and a file that is none."""
    folder = tmp_path / "damaged"
    for person in ("p1", "p2"):
        (folder / person).mkdir(parents=True)
        for shot in range(3):
            (folder / person / f"{shot}.png").write_bytes((crops / person / f"{shot}.png").read_bytes())
    (folder / "p1" / "1.png").write_bytes(b"no image")
    return folder


def table(path: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """Embeddings, paths and reasons of a file, by the plainest reader there is."""
    if path.suffix == ".npy":
        with open(path.with_name(f"{path.stem}.list.csv"), newline="") as file:
            rows = list(csv.DictReader(file))
        return np.load(path), [row["path"] for row in rows], [row["reason"] for row in rows]
    if path.suffix == ".npz":
        content = np.load(path)
        return content["embeddings"], content["path"].tolist(), content["reason"].tolist()
    if path.suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
        return (
            np.array([row["embedding"] for row in rows], np.float32),
            [row["path"] for row in rows],
            [row["reason"] for row in rows],
        )
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = [[float(row[f"e{at}"]) for at in range(32)] for row in rows]
    return np.array(numbers, np.float32), [row["path"] for row in rows], [row["reason"] for row in rows]


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet", ".csv"])
def test_a_row_for_each_image(bitface: Run, quantized: Path, damaged: Path, tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    model, out = quantized / "model.bitface", tmp_path / f"vectors{suffix}"
    code, said, err = bitface("embed", damaged, "--model", model, "--out", out, "--json", tmp_path / "a.json")
    assert code == 0, err
    assert "6 embeddings of 32 numbers, as the network gives them" in said
    assert "1 of 6 rows are NaN" in err
    values, paths, reasons = table(out)
    assert paths == [f"p{person}/{shot}.png" for person in (1, 2) for shot in range(3)]
    assert [bool(reason) for reason in reasons] == [False, True, False, False, False, False]
    assert np.isnan(values[1]).all()
    for row, path in enumerate(paths):
        if row != 1:
            np.testing.assert_array_equal(values[row], load(model).embed(damaged / path)[0])
    assert json.loads((tmp_path / "a.json").read_text())["skipped"][0]["path"] == "p1/1.png"
    assert not list(tmp_path.glob(".vectors*"))


def test_unit_vectors_and_mirror_images(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> None:
    model, out = quantized / "model.bitface", tmp_path / "vectors.npy"
    code, said, err = bitface("embed", crops / "p1", "--model", model, "--out", out, "--normalize", "--flip")
    assert code == 0, err
    assert "unit vectors" in said
    paths = sorted(map(str, (crops / "p1").iterdir()))
    np.testing.assert_allclose(np.load(out), load(model).embed(paths, flip=True, normalize=True), rtol=1e-6)


def test_what_was_stopped_goes_on(
    quantized: Path, crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_job, "_KEPT_EVERY", 10)
    request = EmbedRequest(quantized / "model.bitface", FaceSource([crops]), tmp_path / "vectors.npy")

    def stopping(name: str) -> Any:
        def tell(done: int, total: int, words: str = "") -> None:
            if done > 30:
                raise KeyboardInterrupt

        return tell if name == "embedding" else silent(name)

    with pytest.raises(KeyboardInterrupt):
        embed_faces(request, stopping)
    assert not request.out.exists()
    embedded: list[int] = []
    before = Embedder.embed_files

    def counted(self: Any, files: Any, *arguments: Any) -> Any:
        embedded.append(len(files))
        return before(self, files, *arguments)

    monkeypatch.setattr(Embedder, "embed_files", counted)
    content = embed_faces(request)
    assert sum(embedded) <= 18  # thirty were there
    assert (content["rows"], len(np.load(request.out))) == (48, 48)
    assert not list(tmp_path.glob(".vectors*"))
    values, paths, _ = table(request.out)
    np.testing.assert_array_equal(values, load(request.model).embed([str(crops / path) for path in paths]))


def test_other_files_are_refused(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> None:
    command = ("embed", crops, "--model", quantized / "model.bitface", "--out")
    ends_in_one_line(bitface(*command, tmp_path / "a.pkl"), 2, ".npy, .npz, .parquet, .csv")


def own_vectors(folder: Path, form: str) -> tuple[Path, Path | None]:
    """The vectors of five people in a form (as `a.npy` in any case), and a list of ids where the form holds none."""
    rows = np.random.default_rng(0).standard_normal((20, 32)).astype(np.float32)
    names = [f"person {row % 5}" for row in range(20)]
    ids = folder / "ids.csv"
    ids.write_text("id,more\n" + "".join(f"{name},x\n" for name in names))
    np.save(folder / "a.npy", rows)
    if form == "npy":
        return folder / "a.npy", ids
    if form == "half":
        np.save(folder / "half.npy", rows.astype(np.float16))
        return folder / "half.npy", ids
    if form == "npz":
        np.savez(folder / "a.npz", vectors=rows, id=names)
        return folder / "a.npz", None
    if form == "csv":
        lines = [",".join(["id", *(f"e{at}" for at in range(32))])]
        lines += [",".join([name, *map(repr, row.tolist())]) for name, row in zip(names, rows, strict=True)]
        (folder / "a.csv").write_text("\n".join(lines) + "\n")
        return folder / "a.csv", None
    if form == "plain":
        np.savetxt(folder / "plain.csv", rows, delimiter=",")
        return folder / "plain.csv", ids
    if form == "faiss":
        faiss = pytest.importorskip("faiss")
        index = faiss.IndexFlatIP(32)
        index.add(rows)
        faiss.write_index(index, str(folder / "a.faiss"))
        return folder / "a.faiss", ids
    pa, pq = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    if form == "parquet":
        pq.write_table(pa.table({"id": names, "embedding": list(rows)}), folder / "a.parquet")
    else:
        columns = {f"e{at}": rows[:, at] for at in range(32)}
        pq.write_table(pa.table({"path": [f"{name}/1.jpg" for name in names], **columns}), folder / "a.parquet")
    return folder / "a.parquet", None


@pytest.mark.parametrize("form", ["npy", "half", "npz", "parquet", "columns", "csv", "plain", "faiss"])
def test_own_vectors_become_a_gallery(bitface: Run, quantized: Path, tmp_path: Path, form: str) -> None:
    vectors, ids = own_vectors(tmp_path, form)
    model, out = quantized / "model.bitface", tmp_path / "gallery.safetensors"
    code, said, err = bitface(
        "enroll", "--vectors", vectors, *(("--ids", ids) if ids else ()), "--fingerprint-of", model, "--out", out
    )
    assert code == 0, err
    assert "20 images of 5 people, float32" in said
    gallery = read_gallery(out)
    rows = np.load(tmp_path / ("half.npy" if form == "half" else "a.npy")).astype(np.float32)
    np.testing.assert_array_equal(gallery.embeddings, rows)
    assert gallery.ids == tuple(f"person {row % 5}" for row in range(20))
    assert gallery.fingerprint == load(model).fingerprint
    as_with_images = ("enroll", model, "--vectors", vectors, *(("--ids", ids) if ids else ()))
    assert bitface(*as_with_images, "--out", tmp_path / "again")[0] == 0
    assert (tmp_path / "again").read_bytes() == out.read_bytes()


def embedded(model: Path, crops: Path, out: Path) -> tuple[int, list[str]]:
    content = embed_faces(EmbedRequest(model, FaceSource([crops]), out))
    return content["rows"], content["files"]


def test_ranks_embed_their_parts(
    quantized: Path, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_job, "_KEPT_EVERY", 2)
    one, two = tmp_path / "one.npy", tmp_path / "two.npy"
    embedded(quantized / "model.bitface", damaged, one)
    files = [str(two), str(tmp_path / "two.list.csv")]
    assert on_ranks(2, embedded, quantized / "model.bitface", damaged, two) == [(6, files), (6, [])]
    assert two.read_bytes() == one.read_bytes()
    assert (tmp_path / "two.list.csv").read_text() == (tmp_path / "one.list.csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_embedded_and_enrolled_as_enrolled_at_once(
    bitface: Run, quantized: Path, damaged: Path, crops: Path, tmp_path: Path
) -> None:
    model, vectors = quantized / "model.bitface", tmp_path / "v.npy"
    assert bitface("enroll", model, "--images", crops, "--out", tmp_path / "a.safetensors")[0] == 0
    assert bitface("embed", crops, "--model", model, "--out", vectors)[0] == 0
    own = ("enroll", "--vectors", vectors, "--ids", tmp_path / "v.list.csv", "--fingerprint-of", model, "--out")
    code, _, err = bitface(*own, tmp_path / "b.safetensors")
    assert code == 0, err
    first, second = (read_gallery(tmp_path / f"{name}.safetensors") for name in "ab")
    np.testing.assert_array_equal(first.embeddings, second.embeddings)
    assert (first.ids, first.fingerprint, first.preprocess) == (second.ids, second.fingerprint, second.preprocess)
    code, out, err = bitface(
        "identify", crops / "p3" / "1.png", "--gallery", tmp_path / "b.safetensors", "--model", model
    )
    assert code == 0, err
    assert ": p3 " in out
    assert bitface("embed", damaged, "--model", model, "--out", vectors)[0] == 0
    ends_in_one_line(bitface(*own, tmp_path / "c.safetensors"), 1, "--allow-skipped")
    code, out, err = bitface(*own, tmp_path / "c.safetensors", "--allow-skipped")
    assert code == 0, err
    assert "5 images of 2 people" in out


def test_vectors_that_do_not_fit(bitface: Run, net: Path, quantized: Path, tmp_path: Path) -> None:
    vectors, ids = own_vectors(tmp_path, "npy")
    model, out = quantized / "model.bitface", tmp_path / "gallery.safetensors"
    own = ("enroll", "--vectors", vectors, "--fingerprint-of", model, "--out", out)
    ends_in_one_line(bitface(*own), 1, "doesn't say whom its rows show; give --ids")
    (tmp_path / "few.csv").write_text("id\na\nb\n")
    ends_in_one_line(bitface(*own, "--ids", tmp_path / "few.csv"), 1, "has 2 names for 20 vectors")
    (tmp_path / "gap.csv").write_text('id\na\n""\n')
    ends_in_one_line(bitface(*own, "--ids", tmp_path / "gap.csv"), 1, "line 3 names nobody")
    ends_in_one_line(bitface("enroll", "--vectors", vectors, "--ids", ids, "--out", out), 2, "--fingerprint-of")
    ends_in_one_line(bitface("enroll", model, *own[1:], "--ids", ids), 2, "name the network that made them once")
    ends_in_one_line(bitface("enroll", "--images", tmp_path, "--out", out), 2, "name a model and --images")
    np.save(tmp_path / "wide.npy", np.ones((20, 33), np.float32))
    np.save(tmp_path / "whole.npy", np.ones((20, 32), np.int64))
    np.save(tmp_path / "objects.npy", np.array([{}] * 20, object), allow_pickle=True)
    for name, words in {
        "wide.npy": "its vectors have 33 numbers",
        "whole.npy": "holds int64 [20, 32]",
        "objects.npy": "can't be read as embeddings",
        "none.npy": "no such file",
    }.items():
        outcome = bitface("enroll", "--vectors", tmp_path / name, "--ids", ids, "--fingerprint-of", model, "--out", out)
        ends_in_one_line(outcome, 1, words)
    unsaid = bitface("enroll", "--vectors", vectors, "--ids", ids, "--fingerprint-of", net, "--out", out)
    ends_in_one_line(unsaid, 1, "--preprocess")
    assert not out.exists()


def test_an_index_that_holds_vectors_approximately(bitface: Run, quantized: Path, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    vectors, ids = own_vectors(tmp_path, "npy")
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(32), 32, 2)
    index.train(np.load(vectors))
    faiss.write_index(index, str(tmp_path / "ivf.faiss"))
    outcome = bitface(
        "enroll", "--vectors", tmp_path / "ivf.faiss", "--ids", ids, "--fingerprint-of", quantized / "model.bitface",
        "--out", tmp_path / "gallery.safetensors",
    )  # fmt: skip
    ends_in_one_line(outcome, 1, "IndexIVFFlat")


def enrolled_from(bitface: Run, vectors: Path, model: Path, *more: object) -> tuple[int, str, str]:
    out = vectors.parent / "gallery.safetensors"
    return bitface("enroll", "--vectors", vectors, "--fingerprint-of", model, "--out", out, *more)


def rewritten(path: Path, columns: list[str]) -> Path:
    """A copy of a table with these columns in this order."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    copy = path.with_name("rewritten.csv")
    with open(copy, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return copy


def test_columns_of_numbers_may_be_in_any_order(bitface: Run, quantized: Path, tmp_path: Path) -> None:
    model, (vectors, _) = quantized / "model.bitface", own_vectors(tmp_path, "csv")
    columns = ["id", *(f"e{at}" for at in range(32))]
    assert enrolled_from(bitface, rewritten(vectors, sorted(columns)), model)[0] == 0
    rows = read_gallery(tmp_path / "gallery.safetensors").embeddings
    np.testing.assert_array_equal(rows, np.load(tmp_path / "a.npy"))
    lacking = [column for column in columns if column != "e7"]
    outcome = enrolled_from(bitface, rewritten(vectors, lacking), model)
    ends_in_one_line(outcome, 1, "where e7 is due, there is e8")


def test_a_line_of_column_numbers_is_no_vector(bitface: Run, quantized: Path, tmp_path: Path) -> None:
    vectors, ids = own_vectors(tmp_path, "plain")
    vectors.write_text(",".join(map(str, range(32))) + "\n" + vectors.read_text())
    outcome = enrolled_from(bitface, vectors, quantized / "model.bitface", "--ids", ids)
    ends_in_one_line(outcome, 1, "its first line is 0 to 31")


def test_rows_that_name_nobody_or_bystanders(bitface: Run, quantized: Path, tmp_path: Path) -> None:
    pa, pq = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    model, rows = quantized / "model.bitface", list(np.eye(4, 32, dtype=np.float32))
    vectors = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a", None, "b", "c"], "embedding": rows}), vectors)
    ends_in_one_line(enrolled_from(bitface, vectors, model), 1, "row 2 names nobody")
    party = {"path": ["ada/party.jpg"] * 3 + ["bob/1.jpg"], "face": [1, 2, 3, 1], "embedding": rows}
    pq.write_table(pa.table(party), vectors)
    ends_in_one_line(enrolled_from(bitface, vectors, model), 1, "ada/party.jpg has rows of several faces", "--ids")
    (tmp_path / "ids.csv").write_text("ada\neva\nben\nbob\n")
    code, out, err = enrolled_from(bitface, vectors, model, "--ids", tmp_path / "ids.csv")
    assert code == 0, err
    assert "4 images of 4 people" in out


def test_names_that_look_like_formulas_come_back(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> None:
    model, people = quantized / "model.bitface", tmp_path / "people"
    for name, source in {"-anna": "p1", "=ben": "p2"}.items():
        shutil.copytree(crops / source, people / name)
    for out, ids in (("v.csv", ()), ("v.npy", ("--ids", tmp_path / "v.list.csv"))):
        assert bitface("embed", people, "--model", model, "--out", tmp_path / out)[0] == 0
        assert enrolled_from(bitface, tmp_path / out, model, *ids)[0] == 0
        assert set(read_gallery(tmp_path / "gallery.safetensors").ids) == {"-anna", "=ben"}


def test_an_image_of_which_the_network_makes_nothing(bitface: Run, tmp_path: Path) -> None:
    """Without a bias, a black image's embedding is zero."""
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, 4, bias=False), nn.ReLU(), nn.Flatten(), nn.LazyLinear(8, bias=False))
    layers(torch.zeros(1, 3, 32, 32))
    onnx.save(to_onnx(from_module(layers.eval(), "rgb-0-255", size=(32, 32)).graph), tmp_path / "net.onnx")
    for name, value in (("ada", 0), ("bob", 120)):
        (tmp_path / "crops" / name).mkdir(parents=True)
        Image.fromarray(np.full((32, 32, 3), value, np.uint8)).save(tmp_path / "crops" / name / "1.png")
    out = tmp_path / "v.csv"
    code, _, err = bitface(
        "embed", tmp_path / "crops", "--model", tmp_path / "net.onnx", "--preprocess", "rgb-0-255", "--out", out
    )
    assert code == 0, err
    assert "1 of 2 rows are NaN" in err
    with open(out, newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["reason"], first["e0"]) == ("the network gives no usable embedding", "nan")
    assert second["reason"] == ""

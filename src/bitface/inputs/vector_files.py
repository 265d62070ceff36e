"""Files of embeddings: .npy, .npz, .parquet and .csv, written row by row and read without a copy, and FAISS indexes.

| file | embeddings | which image each is of |
|---|---|---|
| `.npy` | the array `[N, D]` | a list beside it, `NAME.list.csv` |
| `.npz` | `embeddings` | `path`, `face`, `reason` |
| `.parquet` | column `embedding` | columns `path`, `face`, `reason` |
| `.csv` | columns `e0`, `e1`, … | columns `path`, `face`, `reason` |

The row of an image that has no embedding is NaN, and `reason` says why. `face` is the number of the face from the left
where the image is a photograph of several. Pickles are never read.
"""

import csv
import importlib
import importlib.util
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bitface.data.faces import table_bytes
from bitface.data.parquet_columns import about, check_rows, read_columns
from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.lists.pairs import identity_of
from bitface.files import atomic_path, write_bytes

WRITTEN = (".npy", ".npz", ".parquet", ".csv")
INDEXES = (".faiss", ".index")
_PARQUET_ROWS = 4096


@dataclass(frozen=True)
class Row:
    """Which image an embedding is of, relative to its source; `reason`: why it has none."""

    path: str
    face: int | None = None
    reason: str = ""


Part = tuple[np.ndarray, Sequence[Row]]
"""Embeddings `[n, D]`, float32, and what they are of."""


def check_name(path: Path) -> None:
    """Makes sure that a file of this name can be written here.

    Raises:
        UsageError: it names no known format.
        BitfaceError: the format needs a package that isn't installed.
    """
    if path.suffix.lower() not in WRITTEN:
        raise UsageError(f"{path}: embeddings are written as {', '.join(WRITTEN)}; name such a file")
    if path.suffix.lower() == ".parquet":
        _pyarrow(path)


def list_beside(path: Path) -> Path:
    """The list of a .npy file."""
    return path.with_name(f"{path.stem}.list.csv")


def write_vectors(path: Path, count: int, size: int, parts: Iterable[Part]) -> list[Path]:
    """Writes embeddings, whole or not at all, in little more memory than a part takes; gives the files.

    Args:
        count, size: N and D.

    Raises:
        BitfaceError, UsageError: as `check_name`, or the file can't be written.
    """
    check_name(path)
    writer = {".npy": _write_npy, ".npz": _write_npz, ".parquet": _write_parquet, ".csv": _write_csv}
    return writer[path.suffix.lower()](path, (count, size), parts)


def _write_npy(path: Path, shape: tuple[int, int], parts: Iterable[Part]) -> list[Path]:
    rows: list[Row] = []
    with atomic_path(path, private=True) as temporary:
        with open(temporary, "wb") as file:
            for values in _stored(file, shape, parts, rows):
                file.write(values)
        if not path.is_symlink() and path.is_file():
            path.unlink()  # so that it never lies beside another one's list
        write_bytes(list_beside(path), table_bytes(("path", "face", "reason"), map(_cells, rows)))
    return [path, list_beside(path)]


def _write_npz(path: Path, shape: tuple[int, int], parts: Iterable[Part]) -> list[Path]:
    rows: list[Row] = []
    with atomic_path(path, private=True) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open("embeddings.npy", "w", force_zip64=True) as file:
            for values in _stored(file, shape, parts, rows):
                file.write(values)
        columns = {
            "path": np.array([row.path for row in rows]),
            "face": np.array([row.face or 0 for row in rows], np.int32),
            "reason": np.array([row.reason for row in rows]),
        }
        for name, column in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, column, allow_pickle=False)
    return [path]


def _stored(file: Any, shape: tuple[int, int], parts: Iterable[Part], rows: list[Row]) -> Iterator[bytes]:
    """The bytes of a .npy file's content after its header, which is written; `rows` collects what they are of."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for values, own in parts:
        rows += own
        yield np.ascontiguousarray(values, "<f4").tobytes()


def _write_csv(path: Path, shape: tuple[int, int], parts: Iterable[Part]) -> list[Path]:
    columns = ("path", "face", "reason", *(f"e{index}" for index in range(shape[1])))
    with atomic_path(path, private=True) as temporary, open(temporary, "wb") as file:
        file.write(table_bytes(columns, []))
        for values, rows in parts:
            lines = ((*_cells(row), *map(_number, own)) for row, own in zip(rows, values.tolist(), strict=True))
            file.write(table_bytes(columns, lines).split(b"\n", 1)[1])
    return [path]


def _cells(row: Row) -> tuple[object, ...]:
    return row.path, row.face or "", row.reason


def _number(value: float) -> object:
    """Nine digits say a float32 exactly; as a number it isn't taken for a formula."""
    return float(f"{value:.9g}")


def _write_parquet(path: Path, shape: tuple[int, int], parts: Iterable[Part]) -> list[Path]:
    arrow, parquet = _pyarrow(path), importlib.import_module("pyarrow.parquet")
    kind = arrow.list_(arrow.float32(), shape[1])
    schema = arrow.schema(
        [("path", arrow.string()), ("face", arrow.int32()), ("reason", arrow.string()), ("embedding", kind)]
    )
    with atomic_path(path, private=True) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for values, rows in parts:
            embeddings = arrow.FixedSizeListArray.from_arrays(
                arrow.array(np.ascontiguousarray(values, np.float32).ravel()), shape[1]
            )
            columns = [
                arrow.array([row.path for row in rows], arrow.string()),
                arrow.array([row.face for row in rows], arrow.int32()),
                arrow.array([row.reason for row in rows], arrow.string()),
                embeddings,
            ]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema), row_group_size=_PARQUET_ROWS)
    return [path]


@dataclass(frozen=True, eq=False)
class Vectors:
    """Embeddings of a file, `[N, D]` of any floating-point type, perhaps memory-mapped.

    Attributes:
        names: whom each shows; None: the file doesn't say it.
    """

    values: np.ndarray
    names: list[str] | None = None


def read_vectors(path: Path) -> Vectors:
    """Reads a file of embeddings: .npy, .npz, .parquet, .csv, or a flat FAISS index (.faiss, .index).

    In a table the columns of numbers named e0, e1, … are the vectors, or a column of lists (`embedding`, or the only
    one); in a .npz file `embeddings`, or its only matrix. A column `id` says whom each shows, or `path` by its folder.

    Raises:
        UsageError: a file of another kind.
        BitfaceError: it can't be read, is damaged, holds no embeddings, or needs a package that isn't installed.
    """
    readers = {".npy": _read_npy, ".npz": _read_npz, ".parquet": _read_parquet, ".csv": _read_csv}
    readers |= dict.fromkeys(INDEXES, _read_index)
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise UsageError(f"{path}: embeddings are read from {', '.join(readers)}; name such a file")
    if not path.is_file():
        raise BitfaceError(f"{path}: no such file; give a file of embeddings ({', '.join(readers)})")
    try:
        vectors = readers[suffix](path)
    except BitfaceError:
        raise
    except Exception as error:  # what is damaged makes every library raise its own
        reason = " ".join(str(error).split())[:200]
        raise BitfaceError(f"{path}: can't be read as embeddings ({reason}); write it again") from error
    values = vectors.values
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind != "f":
        raise BitfaceError(f"{path}: holds {values.dtype} {list(values.shape)}; expected floats [images, size]")
    return vectors


def _read_npy(path: Path) -> Vectors:
    return Vectors(np.load(path, mmap_mode="r", allow_pickle=False))


def _read_npz(path: Path) -> Vectors:
    with np.load(path, allow_pickle=False) as archive:
        matrices = [name for name in archive.files if name == "embeddings"] or [
            name for name in archive.files if archive[name].ndim == 2 and archive[name].dtype.kind == "f"
        ]
        if len(matrices) != 1:
            raise BitfaceError(f"{path}: holds {len(matrices)} matrices of numbers; call one of them 'embeddings'")
        column = _naming(archive.files)
        return Vectors(archive[matrices[0]], _people(column, archive[column]) if column else None)


def _read_parquet(path: Path) -> Vectors:
    arrow = _pyarrow(path)
    opened = importlib.import_module("pyarrow.parquet").ParquetFile
    with about(path), open(path, "rb") as source, opened(path) as file:
        size, groups = path.stat().st_size, range(file.metadata.num_row_groups)
        check_rows(file.metadata.num_rows, size)
        table = read_columns(file, source, groups, file.schema_arrow.names, size)
    kinds = {field.name: field.type for field in table.schema}
    lists = [
        name
        for name, kind in kinds.items()
        if arrow.types.is_fixed_size_list(kind) or arrow.types.is_list(kind) or arrow.types.is_large_list(kind)
    ]
    if "embedding" in lists:
        lists = ["embedding"]
    naming = _naming(kinds)
    names = _people(naming, table.column(naming).to_pylist()) if naming else None
    if len(lists) == 1:
        column = table.column(lists[0])
        if column.null_count:
            raise BitfaceError(f"{path}: {column.null_count} rows have no vector; leave them out")
        flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
        return Vectors(flat.reshape(len(table), -1), names)
    numbers = sorted((name for name in kinds if name[:1] == "e" and name[1:].isdigit()), key=lambda name: int(name[1:]))
    if lists or not numbers:
        raise BitfaceError(f"{path}: has no column 'embedding' of lists of numbers, and no columns e0, e1, …")
    return Vectors(np.stack([table.column(name).to_numpy() for name in numbers], 1), names)


def _read_csv(path: Path) -> Vectors:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        head = next(rows, [])
        places = [at for at, name in enumerate(head) if name[:1] == "e" and name[1:].isdigit()]
        lines: Iterator[list[str]] = rows
        if not places:  # numbers alone, without a head
            places, lines, head = list(range(len(head))), chain([head], rows), []
        naming = _naming(head)
        names: list[str] = []
        # A part at a time, as texts take many times the memory of their numbers.
        blocks: list[np.ndarray] = []
        block: list[list[float]] = []
        for line in lines:
            block.append([float(line[at]) for at in places])
            if naming:
                names.append(line[head.index(naming)])
            if len(block) == _PARQUET_ROWS:
                blocks.append(np.array(block, np.float32))
                block = []
    blocks.append(np.array(block, np.float32).reshape(len(block), len(places)))
    return Vectors(np.concatenate(blocks), _people(naming, names) if naming else None)


def _naming(columns: Iterable[str]) -> str | None:
    """The column that says whom the rows show."""
    return next((name for name in ("id", "path") if name in columns), None)


def _people(column: str, values: Iterable[object]) -> list[str]:
    """Whom the rows show: by name, or by the folder that their image lies in, or by its own name in none."""
    texts = map(str, values)
    return list(texts) if column == "id" else [identity_of(text) or Path(text).stem for text in texts]


def _read_index(path: Path) -> Vectors:
    """The vectors of a flat FAISS index, as the index holds them."""
    if importlib.util.find_spec("faiss") is None:
        raise BitfaceError(f"{path}: a FAISS index needs faiss: pip install 'bitface[search]'")
    faiss: Any = importlib.import_module("faiss")
    index = faiss.read_index(str(path))
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index
    if not isinstance(inner, faiss.IndexFlat):
        raise BitfaceError(
            f"{path}: is a FAISS index of the kind {type(inner).__name__}, which holds its vectors only approximately; "
            "give a flat one, or the vectors themselves"
        )
    values = np.array(faiss.rev_swig_ptr(inner.get_xb(), inner.ntotal * inner.d)).reshape(inner.ntotal, inner.d)
    names = None
    if isinstance(index, faiss.IndexIDMap):
        names = [str(one) for one in faiss.vector_to_array(index.id_map)]
    return Vectors(values, names)


def read_ids(path: Path) -> list[str]:
    """Whom each row of a file of embeddings shows: a CSV with a column `id` (else `path`: by the folder), or a text of
    one name a line.

    Raises:
        BitfaceError: it can't be read, or a row has no name.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.reader(text.splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise BitfaceError(f"{path}: no readable list of ids ({getattr(error, 'strerror', None) or error})") from error
    head = rows[0] if rows else []
    if naming := _naming(head):
        place, first = head.index(naming), 2
        names = _people(naming, (row[place] if len(row) > place else "" for row in rows[1:]))
    else:
        names, first = [row[0] if len(row) == 1 else "" for row in rows], 1
    if "" in names:
        raise BitfaceError(
            f"{path}: line {names.index('') + first} names nobody; give a CSV with a column id, or one name a line"
        )
    return names


def _pyarrow(path: Path) -> Any:
    if importlib.util.find_spec("pyarrow") is None:
        raise BitfaceError(f"{path}: .parquet needs pyarrow: pip install 'bitface[parquet]'")
    return importlib.import_module("pyarrow")

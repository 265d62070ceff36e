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
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bitface.data.faces import person_of
from bitface.data.parquet_columns import about, check_rows, read_columns
from bitface.errors import BitfaceError, UsageError, option
from bitface.files import atomic_path, write_bytes
from bitface.tables import cell_text, table_bytes

WRITTEN = (".npy", ".npz", ".parquet", ".csv")
INDEXES = (".faiss", ".index")
TELLING = ("id", "path", "face")
"""The columns of a table that say whom a row shows."""

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
        told: those columns of `TELLING` that the file has, a cell for each row.
    """

    values: np.ndarray
    told: Mapping[str, Sequence[object]] = field(default_factory=dict, repr=False)


def read_vectors(path: Path) -> Vectors:
    """Reads a file of embeddings: .npy, .npz, .parquet, .csv, or a flat FAISS index (.faiss, .index).

    In a table the columns of numbers named e0, e1, …, in any order, are the vectors, or a column of lists
    (`embedding`, or the only one); in a .npz file `embeddings`, or its only matrix. A column `id` says whom each shows,
    or `path` by its folder, where no image has rows of several faces (see `face` above).

    Raises:
        UsageError: a file of another kind.
        BitfaceError: it can't be read, is damaged, holds no embeddings, names nobody in a row, or needs a package that
            isn't installed.
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
        return Vectors(archive[matrices[0]], {name: archive[name] for name in TELLING if name in archive.files})


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
    told = {name: table.column(name).to_pylist() for name in TELLING if name in kinds}
    if len(lists) == 1:
        column = table.column(lists[0])
        if column.null_count:
            raise BitfaceError(f"{path}: {column.null_count} rows have no vector; leave them out")
        flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
        return Vectors(flat.reshape(len(table), -1), told)
    numbers = _numbered(path, list(kinds))
    if lists or not numbers:
        raise BitfaceError(f"{path}: has no column 'embedding' of lists of numbers, and no columns e0, e1, …")
    return Vectors(np.stack([table.column(at).to_numpy() for at in numbers], 1), told)


def _read_csv(path: Path) -> Vectors:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        head = next(rows, [])
        places = _numbered(path, head)
        lines: Iterator[list[str]] = rows
        if head == [str(at) for at in range(len(head))]:
            raise BitfaceError(
                f"{path}: its first line is 0 to {len(head) - 1}, numbers of columns and no vector; call them e0, e1 "
                "and so on, or leave the line out"
            )
        if not places:  # numbers alone, without a head
            places, lines, head = list(range(len(head))), chain([head], rows), []
        told: dict[str, list[str]] = {name: [] for name in TELLING if name in head}
        # A part at a time, as texts take many times the memory of their numbers.
        blocks: list[np.ndarray] = []
        block: list[list[float]] = []
        for line in lines:
            block.append([float(line[at]) for at in places])
            for name, cells in told.items():
                cells.append(cell_text(line[head.index(name)]))
            if len(block) == _PARQUET_ROWS:
                blocks.append(np.array(block, np.float32))
                block = []
    blocks.append(np.array(block, np.float32).reshape(len(block), len(places)))
    return Vectors(np.concatenate(blocks), told)


def _numbered(path: Path, columns: Sequence[str]) -> list[int]:
    """Where the columns e0, e1, … are, in the order of their numbers.

    Raises:
        BitfaceError: one isn't there, or is there twice.
    """
    numbers = {at: int(name[1:]) for at, name in enumerate(columns) if name[:1] == "e" and name[1:].isdecimal()}
    places = sorted(numbers, key=numbers.__getitem__)
    for expected, at in enumerate(places):
        if numbers[at] != expected:
            raise BitfaceError(
                f"{path}: its columns of numbers aren't e0 to e{len(places) - 1}: where e{expected} is due, there is "
                f"{columns[at]}; write them all, each once"
            )
    return places


def people(told: Mapping[str, Sequence[object]], line: int | None = None) -> list[str] | None:
    """Whom the rows of a table show, by those of its columns `TELLING` that there are.

    By `id`; without it by the folder that the image at `path` lies in, or by the image's own name in none. None: there
    is neither.

    Args:
        line: where the first row stands in a text, for messages; None: rows are counted.

    Raises:
        BitfaceError: a row names nobody, or a photograph has rows of several faces and no `id`.
    """
    naming = "id" if "id" in told else "path"
    if naming not in told:
        return None
    texts = ["" if cell is None else str(cell) for cell in told[naming]]
    if "" in texts:
        where = f"row {texts.index('') + 1}" if line is None else f"line {texts.index('') + line}"
        raise BitfaceError(f"{where} names nobody")
    if naming == "id":
        return texts
    if "face" in told and len(set(texts)) < len(texts):
        several = Counter(texts).most_common(1)[0][0]
        raise BitfaceError(
            f"{several} has rows of several faces, and its folder is the name of one; say whom each row shows in a "
            f"column id, or give {option('ids')} a list"
        )
    return [person_of(text) or Path(text).stem for text in texts]


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
    mapped = isinstance(index, faiss.IndexIDMap)
    return Vectors(values, {"id": faiss.vector_to_array(index.id_map)} if mapped else {})


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
    cells = {name: head.index(name) for name in TELLING if name in head}
    try:
        if "id" in cells or "path" in cells:
            rest = rows[1:]
            told = {name: [cell_text(row[at]) if len(row) > at else "" for row in rest] for name, at in cells.items()}
            return people(told, 2) or []
        return people({"id": [row[0] if len(row) == 1 else "" for row in rows]}, 1) or []
    except BitfaceError as error:
        raise BitfaceError(f"{path}: {error}; give a CSV with a column id, or one name a line") from error


def _pyarrow(path: Path) -> Any:
    if importlib.util.find_spec("pyarrow") is None:
        raise BitfaceError(f"{path}: .parquet needs pyarrow: pip install 'bitface[parquet]'")
    return importlib.import_module("pyarrow")

"""`parquet:PATH`: tables with a column of encoded images, as Hugging Face's data sets have (extra `parquet`)."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bitface.data.dataset import FaceDataset, numbered
from bitface.data.images import ImageSkipped
from bitface.data.parquet_columns import about, check_rows, read_columns
from bitface.data.sources import DATA_SETS, PackedFaces
from bitface.errors import BitfaceError

_IMAGES = ("image", "img", "jpg", "jpeg", "png", "face", "image_bytes", "bytes")
_LABELS = ("label", "labels", "identity", "id", "class", "cls", "person")
# A row is read with its whole group; so many groups stay, for reading in order.
_GROUPS = 4


class ParquetFaces(FaceDataset):
    """Images in parquet files, read by groups of rows: 4 bytes each where they have labels.

    A group is the least that can be read, so that random order costs a whole group for each image: convert what is
    trained with to `rec` (`bitface data pack`), unless its groups have some hundred rows.
    """

    def __init__(self, path: Path) -> None:
        """Args:
            path: one file, or a folder of them.

        Raises:
            BitfaceError: pyarrow isn't installed, a file can't be read, or has no column of images.
        """
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise BitfaceError("'parquet:' needs pyarrow: pip install 'bitface[parquet]'") from error
        self._paths = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not self._paths or not all(one.is_file() for one in self._paths):
            raise BitfaceError(f"{path}: no such file; 'parquet:' names a .parquet file, or a folder of them")
        self.root = path
        self._forget()
        groups: list[tuple[int, int, int]] = []
        self._facts: list[str] = []
        for number, _ in enumerate(self._paths):
            metadata = self._file(number).metadata
            with about(self._paths[number]):
                check_rows(metadata.num_rows, self._paths[number].stat().st_size)
            for group in range(metadata.num_row_groups):
                facts = metadata.row_group(group)
                groups.append((number, group, facts.num_rows))
                self._facts.append(str(facts.total_byte_size))
        self._groups = np.array(groups, np.int64).reshape(-1, 3)
        self._ends = np.cumsum(self._groups[:, 2])
        self.column, self.label_column = self._columns()
        self._labels = self._read_labels() if self.label_column else None
        if not len(self):
            raise BitfaceError(f"{path}: holds no row")

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def labels(self) -> np.ndarray | None:
        return self._labels

    def name(self, index: int) -> str:
        file, _ = self._place(index)[:2]
        return f"{self._paths[file].name}/{index:09}"

    def paths(self) -> Iterable[Path]:
        return self._paths

    def index_bytes(self) -> Iterable[bytes]:
        yield self._groups.tobytes()
        yield repr(self._facts).encode()

    def encoded(self, index: int) -> bytes:
        file, group, row = self._place(index)
        value = self._rows(file, group)[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ImageSkipped("the row holds no bytes of an image")
        return content

    def _place(self, index: int) -> tuple[int, int, int]:
        place = int(np.searchsorted(self._ends, index, "right"))
        file, group, count = (int(one) for one in self._groups[place])
        return file, group, index - (int(self._ends[place]) - count)

    def _rows(self, file: int, group: int) -> Any:
        """The images of a group. Raises ImageSkipped."""
        if self._process != os.getpid():  # a forked process opens its own files
            self._forget()
        if (file, group) not in self._kept:
            import pyarrow as pa

            try:
                table = self._table(file, [group], self.column, self._packed(file, group))
            except (BitfaceError, OSError, ValueError, pa.ArrowException) as error:
                raise ImageSkipped(f"its group of rows can't be read ({error})") from error
            self._kept[file, group] = table.column(0).combine_chunks()
            while len(self._kept) > _GROUPS:
                self._kept.popitem(last=False)
        return self._kept[file, group]

    def _packed(self, file: int, group: int) -> int:
        """The bytes that the images of a group take in their file."""
        facts = self._file(file).metadata.row_group(group)
        columns = map(facts.column, range(facts.num_columns))
        own = (int(one.total_compressed_size) for one in columns if one.path_in_schema.partition(".")[0] == self.column)
        return min(sum(own), self._paths[file].stat().st_size)

    def _table(self, file: int, groups: Sequence[int], column: str, packed: int) -> Any:
        with open(self._paths[file], "rb") as source:
            return read_columns(self._file(file), source, groups, [column], packed)

    def _file(self, number: int) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if number not in self._open:
            try:
                self._open[number] = pq.ParquetFile(self._paths[number], pre_buffer=False)
            except (OSError, pa.ArrowException) as error:
                raise BitfaceError(f"{self._paths[number]}: is no whole parquet file ({error})") from error
        return self._open[number]

    def _forget(self) -> None:
        self._process = os.getpid()
        self._open: dict[int, Any] = {}
        self._kept: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_process": -1, "_open": {}, "_kept": OrderedDict()}

    def _columns(self) -> tuple[str, str | None]:
        import pyarrow as pa

        schema = self._file(0).schema_arrow
        for number, path in enumerate(self._paths):
            if not self._file(number).schema_arrow.equals(schema):
                raise BitfaceError(f"{path}: has other columns than {self._paths[0].name}")

        def of_images(kind: Any) -> bool:
            if pa.types.is_struct(kind):
                return any(field.name == "bytes" and of_images(field.type) for field in kind)
            return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

        found = [field.name for field in schema if of_images(field.type)]
        named = [name for name in _IMAGES if name in found] or found
        if not named or (len(found) > 1 and named == found):
            raise BitfaceError(
                f"{self.root}: which column holds the images isn't clear ({', '.join(schema.names)}); name it 'image', "
                "of bytes or of {bytes, path}"
            )
        return named[0], next((name for name in _LABELS if name in schema.names), None)

    def _read_labels(self) -> np.ndarray:
        import pyarrow as pa

        assert self.label_column is not None
        columns = []
        for number, path in enumerate(self._paths):
            groups = range(self._file(number).metadata.num_row_groups)
            with about(path):
                table = self._table(number, groups, self.label_column, path.stat().st_size)
            columns.append(table.column(0))
        values = pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)
        if values.null_count:
            raise BitfaceError(f"{self.root}: {values.null_count:,} rows have no '{self.label_column}'")
        labels: np.ndarray = values.to_numpy()
        if labels.dtype.kind not in "iu":
            if labels.dtype.kind == "f":
                raise BitfaceError(f"{self.root}: '{self.label_column}' holds fractions; give whole numbers, or names")
            names = labels.astype(str)
            if empty := int((names == "").sum()):
                raise BitfaceError(f"{self.root}: {empty:,} rows have an empty '{self.label_column}'")
            labels = np.unique(names, return_inverse=True)[1]
        if len(labels) and labels.min() < 0:
            raise BitfaceError(f"{self.root}: the label {labels.min()} is out of range; they are numbered from 0")
        return numbered(labels)


DATA_SETS.register("parquet")(PackedFaces(ParquetFaces))

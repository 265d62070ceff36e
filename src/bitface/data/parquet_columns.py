"""Columns of parquet files, read within bounds: a small file may say a large image a million times by its number.

What a file's description says of sizes needn't be true. So the headers of the pages are looked at, which say what each
unpacks to, and values are read a few at a time, as pages that refer to a dictionary say nothing of what they stand for.
The headers are in Thrift's compact protocol (apache/parquet-format, PageHeader: its fields 2 and 3 are the sizes).
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from bitface.errors import BitfaceError
from bitface.limits import check_content, largest_content

_MOST_ROWS, _DEEPEST, _LONGEST_LIST = 1 << 16, 8, 1 << 12
# Kinds of values in that protocol; a page's header has no maps.
_BOOLEAN, _BYTE, _WHOLE, _DOUBLE, _BINARY, _LISTS, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 12


def read_columns(file: Any, source: BinaryIO, groups: Sequence[int], columns: Sequence[str], packed: int) -> Any:
    """The table of some columns, as `ParquetFile.read_row_groups` gives it.

    Args:
        file: a `pyarrow.parquet.ParquetFile`.
        source: the same file's bytes.
        packed: the bytes that the content's size is held against (see `limits.largest_content`).

    Raises:
        TooLarge: the columns hold far more than that.
        OSError, pyarrow.ArrowException, ValueError: the file is damaged.
    """
    import pyarrow as pa

    largest = 1
    for group in groups:
        facts = file.metadata.row_group(group)
        sizes = [
            size
            for number in range(facts.num_columns)
            if facts.column(number).path_in_schema.partition(".")[0] in columns
            for size in pages(source, facts.column(number))
        ]
        check_content(sum(sizes), packed)
        largest = max([largest, *sizes])
    # No value is larger than the page that it stands in.
    rows = min(max(largest_content(packed) // largest, 1), _MOST_ROWS)
    batches, size = [], 0
    for batch in file.iter_batches(rows, list(groups), list(columns), use_threads=False):
        size += batch.nbytes
        check_content(size, packed)
        batches.append(batch)
    fields = [file.schema_arrow.field(name) for name in columns]
    return pa.Table.from_batches(batches, batches[0].schema if batches else pa.schema(fields))


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Whatever is wrong inside is said of this file, as a BitfaceError in one line."""
    import pyarrow as pa

    try:
        yield
    except BitfaceError as error:
        raise BitfaceError(f"{path}: {error}") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise BitfaceError(f"{path}: is no whole parquet file ({reason})") from error


def check_rows(rows: int, size: int) -> None:
    """Raises BitfaceError where a file of so many bytes says that it has more rows than bytes."""
    if rows > size:
        raise BitfaceError(f"says it has {rows:,} rows in {size:,} bytes; no images or vectors are that small")


def pages(source: BinaryIO, chunk: Any) -> Iterator[int]:
    """What each page of a column in a group of rows unpacks to, in bytes. Raises ValueError."""
    begins = [at for at in (chunk.dictionary_page_offset, chunk.data_page_offset) if at]
    place = min(begins, default=0)
    end = place + chunk.total_compressed_size
    while place < end:
        source.seek(place)
        sizes = _integers(source)
        unpacked, stored = sizes.get(2, -1), sizes.get(3, -1)
        if unpacked < 0 or stored < 0:
            raise ValueError("a page without a size")
        place = source.tell() + stored
        yield unpacked


def _integers(stream: BinaryIO, depth: int = 0) -> dict[int, int]:
    """The whole numbers of a struct by their fields; whatever else it holds is passed over."""
    numbers: dict[int, int] = {}
    field = 0
    while byte := _byte(stream):
        step, kind = byte >> 4, byte & 15
        field = field + step if step else _signed(stream)
        if kind in _WHOLE:
            numbers[field] = _signed(stream)
        elif kind not in _BOOLEAN:  # which are told by their kind
            _skip(stream, kind, depth)
    return numbers


def _skip(stream: BinaryIO, kind: int, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("a page's header is nested too deeply")
    if kind == _STRUCT:
        _integers(stream, depth + 1)
    elif kind in _WHOLE:
        _unsigned(stream)
    elif kind == _BINARY:
        stream.seek(_unsigned(stream), io.SEEK_CUR)
    elif kind == _DOUBLE:
        stream.seek(8, io.SEEK_CUR)
    elif kind in _LISTS:
        byte = _byte(stream)
        for _ in range(_counted(byte >> 4 if byte >> 4 < 15 else _unsigned(stream))):
            _skip(stream, byte & 15, depth + 1)
    elif kind in (*_BOOLEAN, _BYTE):  # of a list
        _byte(stream)
    else:
        raise ValueError("a page's header is damaged")


def _counted(count: int) -> int:
    if count > _LONGEST_LIST:
        raise ValueError("a page's header is damaged")
    return count


def _byte(stream: BinaryIO) -> int:
    byte = stream.read(1)
    if not byte:
        raise ValueError("a page's header is cut off")
    return byte[0]


def _unsigned(stream: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = _byte(stream)
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value
        if shift > 63:
            raise ValueError("a page's header is damaged")


def _signed(stream: BinaryIO) -> int:
    value = _unsigned(stream)
    return (value >> 1) ^ -(value & 1)

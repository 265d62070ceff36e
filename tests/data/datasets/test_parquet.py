"""Parquet files as Hugging Face's data sets have them."""

import contextlib
import pickle
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitface.data.dataset import FaceDataset
from bitface.data.images import ImageSkipped
from bitface.data.parquet_columns import pages
from bitface.data.sources import Source, opened
from bitface.errors import BitfaceError
from support.packed_sets import crops, jpeg

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGES = [jpeg(image) for image in crops(12)]
LABELS = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3]


def write(path: Path, columns: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=5)
    return path


def read(dataset: FaceDataset) -> list[object]:
    return [dataset.encoded(index) for index in range(len(dataset))]


@pytest.mark.parametrize("nested", [True, False])
def test_images_and_labels(tmp_path: Path, nested: bool) -> None:
    for number in range(2):
        part = slice(6 * number, 6 * number + 6)
        images = [{"bytes": image, "path": None} for image in IMAGES[part]] if nested else IMAGES[part]
        write(tmp_path / f"{number}.parquet", {"image": images, "label": LABELS[part]})
    dataset = opened(Source.parse(f"parquet:{tmp_path}"))
    assert read(dataset) == read(pickle.loads(pickle.dumps(dataset))) == IMAGES
    assert [dataset.encoded(index) for index in (11, 0, 5, 6)] == [IMAGES[index] for index in (11, 0, 5, 6)]
    assert dataset.labels is not None
    assert dataset.labels.tolist() == LABELS


def test_without_labels_and_with_names(tmp_path: Path) -> None:
    plain = opened(Source.parse(f"parquet:{write(tmp_path / 'a.parquet', {'photo': IMAGES})}"))
    assert plain.labels is None
    named = write(tmp_path / "b.parquet", {"image": IMAGES[:3], "identity": ["Zoe", "Ann", "Zoe"]})
    labels = opened(Source.parse(f"parquet:{named}")).labels
    assert labels is not None
    assert labels.tolist() == [1, 0, 1]


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(BitfaceError, match=message) as error:
            opened(Source.parse(f"parquet:{path}"))
        assert "\n" not in str(error.value)

    whole = write(tmp_path / "a.parquet", {"image": IMAGES, "label": LABELS}).read_bytes()
    (tmp_path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "half.parquet", "is no whole parquet file")
    refused(tmp_path / "gone.parquet", "no such file")
    refused(write(tmp_path / "b.parquet", {"text": ["a"], "label": [0]}), "which column holds the images")
    refused(write(tmp_path / "c.parquet", {"image": IMAGES[:2], "label": [0, -1]}), "the label -1 is out of range")
    refused(write(tmp_path / "d.parquet", {"image": IMAGES[:2], "label": [0, None]}), "1 rows have no 'label'")
    refused(write(tmp_path / "e.parquet", {"image": IMAGES[:2], "label": [0.5, 1]}), "holds fractions")


def test_an_image_costs_its_own_group_of_rows(tmp_path: Path) -> None:
    """The other groups may hold anything: they aren't read."""
    path = write(tmp_path / "faces.parquet", {"image": IMAGES})
    groups = pq.ParquetFile(path).metadata
    begins = [groups.row_group(number).column(0).data_page_offset for number in range(groups.num_row_groups)]
    content = bytearray(path.read_bytes())
    for begin in (begins[0], begins[2]):
        content[begin : begin + 64] = b"\xff" * 64
    path.write_bytes(content)
    dataset = opened(Source.parse(f"parquet:{path}"))
    assert [dataset.encoded(index) for index in range(5, 10)] == IMAGES[5:10]
    with pytest.raises(ImageSkipped, match="its group of rows can't be read"):
        dataset.encoded(0)


def bomb(path: Path, times: int, **columns: Any) -> Path:
    """One image, or a text, so many times, each a number of a dictionary: as few bytes as the numbers take."""
    numbers = pa.array(np.zeros(times, np.int32))
    table = {
        name: pa.DictionaryArray.from_arrays(numbers, pa.array([value])) if isinstance(value, bytes | str) else value
        for name, value in columns.items()
    }
    pq.write_table(pa.table(table), path, store_schema=False, dictionary_pagesize_limit=1 << 26)
    return path


NOISE = np.random.default_rng(0).bytes(1 << 20)


def test_an_image_that_stands_for_many(tmp_path: Path) -> None:
    path = bomb(tmp_path / "a.parquet", 2000, image=NOISE)
    assert path.stat().st_size < 1_200_000
    dataset = opened(Source.parse(f"parquet:{path}"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageSkipped, match=r"would unpack [\d,]+ bytes or more from 1,0\d\d,\d{3}"):
        dataset.encoded(0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # of 2 GB
    few = opened(Source.parse(f"parquet:{bomb(tmp_path / 'b.parquet', 9, image=NOISE)}"))
    assert [few.encoded(index) == NOISE for index in range(9)] == [True] * 9


def test_a_label_that_stands_for_many(tmp_path: Path) -> None:
    path = bomb(tmp_path / "a.parquet", 500, image=pa.array(IMAGES[:1] * 500), label=NOISE.hex())
    with pytest.raises(BitfaceError, match=r"a\.parquet: would unpack [\d,]+ bytes or more from"):
        opened(Source.parse(f"parquet:{path}"))


@pytest.mark.parametrize("compression", ["zstd", "gzip", "snappy"])
def test_pages_that_unpack_to_much(tmp_path: Path, compression: str) -> None:
    zeros = pa.table({"image": [bytes(1 << 22), bytes(1 << 21)] * 20})
    pq.write_table(zeros, tmp_path / "a.parquet", compression=compression, use_dictionary=False)
    dataset = opened(Source.parse(f"parquet:{tmp_path / 'a.parquet'}"))
    with pytest.raises(ImageSkipped, match=r"would unpack [\d,]+ bytes or more"):
        dataset.encoded(0)


def test_more_rows_than_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.array([None] * 100_000, pa.binary())}), path)
    with pytest.raises(BitfaceError, match=r"a\.parquet: says it has 100,000 rows in "):
        opened(Source.parse(f"parquet:{path}"))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_pages_are_what_pyarrow_says_they_are(tmp_path: Path, version: str, compression: str) -> None:
    """The pages' sizes add up to the chunk's, but for headers, in which stand checksums and images as statistics."""
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"image": IMAGES * 40, "label": LABELS * 40, "name": [f"{n}" for n in range(480)]}), path,
        data_page_version=version, compression=compression, data_page_size=4096, row_group_size=200,
        write_page_checksum=True,
    )  # fmt: skip
    metadata = pq.ParquetFile(path).metadata
    with open(path, "rb") as source:
        for group in range(metadata.num_row_groups):
            for column in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(column)
                sizes = list(pages(source, chunk))
                most = 64 + 2 * max(map(len, IMAGES))
                assert sum(sizes) < chunk.total_uncompressed_size <= sum(sizes) + most * len(sizes)


def test_damaged_pages_are_one_line(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.parquet", {"image": IMAGES}).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(3):
            content[int(random.integers(4, 2000))] = int(random.integers(256))
        (tmp_path / "b.parquet").write_bytes(content)
        dataset = opened(Source.parse(f"parquet:{tmp_path / 'b.parquet'}"))
        with contextlib.suppress(ImageSkipped):
            dataset.encoded(0)


def test_large_and_empty_labels(tmp_path: Path) -> None:
    large = np.array([2**63 + 5, 5, 2**32 + 5, 2**63 + 5], np.uint64)
    dataset = opened(Source.parse(f"parquet:{write(tmp_path / 'a.parquet', {'image': IMAGES[:4], 'label': large})}"))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [2, 0, 1, 2]
    path = write(tmp_path / "b.parquet", {"image": IMAGES[:3], "label": ["a", "", "b"]})
    with pytest.raises(BitfaceError, match="1 rows have an empty 'label'"):
        _ = opened(Source.parse(f"parquet:{path}")).labels

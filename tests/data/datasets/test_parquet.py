"""Parquet files as Hugging Face's data sets have them."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from bitface.data.dataset import FaceDataset
from bitface.data.images import ImageSkipped
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

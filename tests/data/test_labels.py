"""Who is on which image."""

from pathlib import Path

import numpy as np
import pytest

from bitface.data.faces import FaceFile
from bitface.data.labels import identities
from bitface.errors import BitfaceError

FILES = [FaceFile(Path("x"), name) for name in ("b/1.png", "a/1.png", "b/2.png")]


def test_folders_are_people() -> None:
    assert identities(FILES, "folder").tolist() == [1, 0, 1]
    with pytest.raises(BitfaceError, match="lies in no person's folder"):
        identities([*FILES, FaceFile(Path("x"), "loose.png")], "folder")


def test_a_file_says_who(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,label\nb/1.png,Zoe\na/1.png,Ada\nb/2.png,Ada\nother.png,Eve\n")
    labels = identities(FILES, str(path))
    assert labels.tolist() == [1, 0, 0]
    assert labels.dtype == np.int64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,who\n", "needs the columns path,label"),
        ("path,label\nb/1.png,Zoe\n", "no label for 2 of 3 images, 'a/1.png' the first"),
        ("path,label\nb/1.png,Zoe\nb/1.png,Ada\n", "line 3 gives 'b/1.png' a second label"),
        ("path,label\nb/1.png,\n", "line 2 has no path or no label"),
        ("", "needs the columns"),
    ],
)
def test_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(BitfaceError, match=message):
        identities(FILES, str(path))
    with pytest.raises(BitfaceError, match="no readable label file"):
        identities(FILES, str(tmp_path / "none.csv"))

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitface.errors import BitfaceError
from bitface.evaluation import identity_of, read_pairs
from bitface.evaluation.lists.pairs import PairList

Reader = Callable[[str | bytes], PairList]

NAMES = ("Ann/1.jpg", "Ann/2.jpg", "Bob/1.jpg", "Bob/2.jpg")
ROWS = """\
Ann/1.jpg,Ann/2.jpg,1,0
Bob/1.jpg,Ann/1.jpg,0,0
Bob/2.jpg,Bob/1.jpg,true,1
Ann/2.jpg,Bob/2.jpg,False,1
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "images"


@pytest.fixture
def read(tmp_path: Path, root: Path) -> Reader:
    def reader(content: str | bytes) -> PairList:
        path = tmp_path / "pairs.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_pairs(path, root)

    return reader


def test_a_list(read: Reader) -> None:
    pairs = read("a,b,same,fold\n" + ROWS)
    assert pairs.paths == NAMES
    assert pairs.left.tolist() == [0, 2, 3, 1]
    assert pairs.right.tolist() == [1, 0, 2, 3]
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    assert (pairs.left.dtype, pairs.same.dtype, pairs.fold.dtype) == (np.int32, bool, np.int64)
    assert (len(pairs), pairs.genuine, pairs.impostor) == (4, 2, 2)


def test_columns_in_any_order_with_others_between(read: Reader) -> None:
    text = "note,FOLD, same ,b,a\nhello,x,1,Ann/2.jpg,Ann/1.jpg\n,y,0,Bob/1.jpg,./Ann//1.jpg\n"
    pairs = read(text)
    assert pairs.paths == NAMES[:3]
    assert pairs.left.tolist() == [0, 0]
    assert pairs.fold.tolist() == [0, 1]


def test_byte_order_mark_windows_lines_backslashes_quotes_and_blank_lines(read: Reader) -> None:
    text = '\ufeffa,b,same,fold\r\n"Ann\\1.jpg",Ann\\2.jpg,1,0\r\n\r\nBob/1.jpg,Ann/1.jpg,0,1\r\n'
    assert read(text).paths == NAMES[:3]


def test_folds_are_numbered_numerically_or_by_name(read: Reader) -> None:
    text = "a,b,same,fold\n" + ROWS
    assert read(text.replace(",0\n", ",10\n").replace(",1\n", ",9\n")).fold.tolist() == [1, 1, 0, 0]
    assert read(text.replace(",0\n", ",right\n").replace(",1\n", ",left\n")).fold.tolist() == [1, 1, 0, 0]


def test_missing_folds_are_contiguous_and_balanced(read: Reader, root: Path) -> None:
    for index in range(40):
        (root / f"x{index}.jpg").touch()
    rows = [f"x{index}.jpg,x{(index + 1) % 40}.jpg,{int(index % 3 == 0)}" for index in range(40)]
    pairs = read("a,b,same\n" + "\n".join(rows))
    assert set(pairs.fold) == set(range(10))
    for kind in (pairs.same, ~pairs.same):
        folds = pairs.fold[kind]
        assert (np.diff(folds) >= 0).all()
        sizes = np.bincount(folds, minlength=10)
        assert sizes.max() - sizes.min() <= 1


def test_fewer_pairs_than_folds(read: Reader) -> None:
    pairs = read("a,b,same\nAnn/1.jpg,Ann/2.jpg,1\nAnn/1.jpg,Bob/1.jpg,0\nBob/1.jpg,Bob/2.jpg,1\n")
    assert pairs.fold.tolist() == [0, 0, 1]


HEAD = "a,b,same,fold\n"
GOOD = "Ann/1.jpg,Ann/2.jpg,1,0\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        ("\n", "is empty"),
        (HEAD, "holds no pairs"),
        (HEAD + "\n\n", "holds no pairs"),
        ("a,b,fold\n" + GOOD, "no column same"),
        ("1,2,3\n", "no column a"),
        ("a,b,same,a\n" + GOOD, "column a 2 times"),
        (HEAD + GOOD + "Ann/1.jpg,Bob/1.jpg,0\n", r":3: 3 cells, but the header has 4"),
        (HEAD + GOOD + "Ann/1.jpg,Bob/1.jpg,0,1,9\n", r":3: 5 cells"),
        (HEAD + "\n" + "Ann/1.jpg,Bob/1.jpg,2,1\n", r":3: same is '2'"),
        (HEAD + "Ann/1.jpg,Bob/1.jpg,,1\n", r":2: same is ''"),
        (HEAD + "Ann/1.jpg,Bob/1.jpg,yes,1\n", r":2: same is 'yes'"),
        (HEAD + "Ann/1.jpg,Bob/1.jpg,1,\n", r":2: fold is empty"),
        (HEAD + ",Bob/1.jpg,1,0\n", r":2: an image path is empty"),
        (HEAD + ".,Bob/1.jpg,1,0\n", r":2: '.' isn't an image path"),
        (HEAD + "Ann/1.jpg,./Ann/1.jpg,1,0\n", r":2: pairs Ann/1.jpg with itself"),
        (HEAD + "../images/Ann/1.jpg,Ann/2.jpg,1,0\n", r":2: .* leads out"),
        (HEAD + "Ann/../../x.jpg,Ann/2.jpg,1,0\n", r":2: .* leads out"),
        (HEAD + "Ann\\..\\..\\x.jpg,Ann/2.jpg,1,0\n", r":2: .* leads out"),
        (HEAD + "/etc/passwd,Ann/2.jpg,1,0\n", r":2: .* leads out"),
        (HEAD + "\\etc\\passwd,Ann/2.jpg,1,0\n", r":2: .* leads out"),
        (HEAD + "C:/x.jpg,Ann/2.jpg,1,0\n", r":2: .* leads out"),
        (HEAD + "C:x.jpg,Ann/2.jpg,1,0\n", r":2: .* leads out"),
        (HEAD + "\\\\host\\share\\x.jpg,Ann/2.jpg,1,0\n", r":2: .* leads out"),
        (HEAD + "Ann/1\0.jpg,Ann/2.jpg,1,0\n", r"leads out|:2: not a CSV row"),
        (HEAD + GOOD, "only genuine pairs"),
        (HEAD + "Ann/1.jpg,Bob/1.jpg,0,0\n", "only impostor pairs"),
        (HEAD + GOOD + "Ann/1.jpg,Bob/1.jpg,0,0\n", "one fold"),
        (HEAD + '"Ann/1.jpg,Ann/2.jpg,1,0\n', "not a CSV row"),
        (HEAD + '"Ann/1.jpg"x,Ann/2.jpg,1,0\n', "not a CSV row"),
        (HEAD + "x" * 200_000 + ",Ann/2.jpg,1,0\n", "not a CSV row"),
        (HEAD + "x" * 5_000 + ",Ann/2.jpg,1,0\nAnn/1.jpg,Bob/1.jpg,0,1\n", "1 of 4 images aren't in"),
        (HEAD.encode() + b"Ann/\xff.jpg,Ann/2.jpg,1,0\n", "isn't UTF-8"),
        ((HEAD + GOOD).encode("utf-16"), "isn't UTF-8"),
        (bytes(range(256)), "isn't UTF-8"),
    ],
)
def test_bad_lists_are_refused_in_one_line(read: Reader, content: str | bytes, message: str) -> None:
    with pytest.raises(BitfaceError, match=message) as caught:
        read(content)
    assert "\n" not in str(caught.value)
    assert "pairs.csv" in str(caught.value)


def test_missing_images_are_counted_and_the_first_is_named(read: Reader, root: Path) -> None:
    os.remove(root / "Ann/2.jpg")
    os.remove(root / "Bob/2.jpg")
    with pytest.raises(BitfaceError, match=r"2 of 4 images aren't in .*, first Ann/2.jpg"):
        read("a,b,same,fold\n" + ROWS)


def test_a_folder_is_no_image(read: Reader, root: Path) -> None:
    (root / "Ann/3.jpg").mkdir()
    with pytest.raises(BitfaceError, match=r"first Ann/3\.jpg"):
        read("a,b,same\nAnn/1.jpg,Ann/3.jpg,1\nAnn/1.jpg,Bob/1.jpg,0\n")


def test_missing_file_and_folder(tmp_path: Path, root: Path) -> None:
    with pytest.raises(BitfaceError, match=r"none.csv: can't be read"):
        read_pairs(tmp_path / "none.csv", root)
    with pytest.raises(BitfaceError, match="can't be read"):
        read_pairs(root, root)
    with pytest.raises(BitfaceError, match="no such folder"):
        read_pairs(tmp_path / "pairs.csv", tmp_path / "nowhere")


def test_identity_is_the_parent_folder() -> None:
    assert identity_of("Ann/1.jpg") == "Ann"
    assert identity_of("part/Ann/1.jpg") == "Ann"
    assert identity_of("1.jpg") == ""

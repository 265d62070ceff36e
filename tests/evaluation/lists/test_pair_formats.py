"""Small sets in exactly the published forms."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import PairList, read_pairs

Read = Callable[..., PairList]


def make(root: Path, names: Iterable[str]) -> Path:
    root.mkdir(exist_ok=True)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a list with this content, over a folder of images with these names."""

    def reader(content: str, names: Iterable[str], file: str = "list.txt", part: str | None = None) -> PairList:
        (tmp_path / file).write_text(content, encoding="utf-8", newline="")
        return read_pairs(tmp_path / file, make(tmp_path / "images", names), part)

    return reader


def rows(pairs: PairList) -> list[tuple[str, str, bool, int]]:
    """The pairs as plain values, in the order of the list."""
    return [
        (pairs.paths[left], pairs.paths[right], bool(same), int(fold))
        for left, right, same, fold in zip(pairs.left, pairs.right, pairs.same, pairs.fold, strict=True)
    ]


LFW = """\
2\t2
Ann\t1\t2
Bob\t1\t3
Ann\t1\tBob\t1
Eve\t12\tBob\t3
Eve\t1\t12
Ann\t2\t1
Eve\t1\tAnn\t2
Bob\t1\tEve\t12
"""
LFW_IMAGES = [f"{name}/{name}_{number:04}.jpg" for name, numbers in {
    "Ann": (1, 2), "Bob": (1, 3), "Eve": (1, 12),
}.items() for number in numbers]  # fmt: skip


def lfw_rows(extension: str = "jpg") -> list[tuple[str, str, bool, int]]:
    ann1, ann2, bob1, bob3, eve1, eve12 = (name.replace("jpg", extension) for name in LFW_IMAGES)
    return [
        (ann1, ann2, True, 0), (bob1, bob3, True, 0), (ann1, bob1, False, 0), (eve12, bob3, False, 0),
        (eve1, eve12, True, 1), (ann2, ann1, True, 1), (eve1, ann2, False, 1), (bob1, eve12, False, 1),
    ]  # fmt: skip


def test_lfw(read: Read) -> None:
    pairs = read(LFW, LFW_IMAGES)
    assert rows(pairs) == lfw_rows()
    assert pairs.paths == tuple(LFW_IMAGES)
    assert pairs.identities == ("Ann", "Ann", "Bob", "Bob", "Eve", "Eve")


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\t", " "),
    lambda text: text.replace("\n", "\r\n"),
    lambda text: "\ufeff" + text + "\n\n",
    lambda text: text.replace("\t", "\t ").replace("\n", " \n"),
])  # fmt: skip
def test_lfw_with_other_spaces(read: Read, change: Callable[[str], str]) -> None:
    assert rows(read(change(LFW), LFW_IMAGES)) == lfw_rows()


@pytest.mark.parametrize("extension", ["png", "jpeg", "bmp"])
def test_lfw_images_of_another_type(read: Read, extension: str) -> None:
    assert rows(read(LFW, [name.replace("jpg", extension) for name in LFW_IMAGES])) == lfw_rows(extension)


def test_lfw_view_1_has_no_folds_and_gets_ten_contiguous_ones(read: Read) -> None:
    names = [f"P{index}/P{index}_{number:04}.jpg" for index in range(20) for number in (1, 2)]
    genuine = [f"P{index}\t1\t2" for index in range(20)]
    impostor = [f"P{index}\t1\tP{(index + 1) % 20}\t1" for index in range(20)]
    pairs = read("\n".join(["20", *genuine, *impostor]), names)
    assert pairs.same.tolist() == [True] * 20 + [False] * 20
    assert pairs.fold.tolist() == [index // 2 for index in range(20)] * 2
    assert rows(read("\n".join([*genuine, *impostor]), names)) == rows(pairs)


def test_lfw_counts_what_the_header_promises(read: Read) -> None:
    short = "\n".join(LFW.splitlines()[:-1])
    with pytest.raises(BitfaceError, match=r"list.txt:1: the header speaks of 2 times 2 pairs of each kind, but 7"):
        read(short, LFW_IMAGES)
    lines = LFW.splitlines()
    lines[2], lines[3] = lines[3], lines[2]
    with pytest.raises(BitfaceError, match=r"list.txt:3: an impostor pair where the header \(2 2\) puts a genuine one"):
        read("\n".join(lines), LFW_IMAGES)


CALFW_IMAGES = [f"Person_{index:02}_{number:04}.jpg" for index in range(30) for number in (1, 2)]


def calfw(labels: Iterable[int]) -> str:
    """Pair k shows person k of 30, or this and the next one, twice on two lines."""
    lines = []
    for index, label in enumerate(labels):
        other = f"Person_{index % 30:02}_0002.jpg" if label else f"Person_{(index + 1) % 30:02}_0001.jpg"
        lines += [f"Person_{index % 30:02}_0001.jpg {label}", f"{other} {label}"]
    return "\n".join(lines) + "\n"


def test_calfw_as_published_lists_genuine_pairs_first_with_the_numbers_of_their_folds(read: Read) -> None:
    pairs = read(calfw([*np.repeat(np.arange(1, 11), 3), *[0] * 30]), CALFW_IMAGES)
    assert pairs.same.tolist() == [True] * 30 + [False] * 30
    assert pairs.fold.tolist() == np.repeat(np.arange(10), 3).tolist() * 2
    assert rows(pairs)[0] == ("Person_00_0001.jpg", "Person_00_0002.jpg", True, 0)
    assert rows(pairs)[30 + 29] == ("Person_29_0001.jpg", "Person_00_0001.jpg", False, 9)
    assert pairs.identities[:3] == ("Person_00", "Person_00", "Person_01")


def test_calfw_fold_by_fold_or_with_labels_0_and_1(read: Read) -> None:
    blocks = [label for fold in range(1, 11) for label in (fold, fold, fold, 0, 0, 0)]
    folds = np.repeat(np.arange(10), 6).tolist()
    assert read(calfw(blocks), CALFW_IMAGES).fold.tolist() == folds
    assert read(calfw([min(label, 1) for label in blocks]), CALFW_IMAGES).fold.tolist() == folds
    first = read(calfw([1] * 30 + [0] * 30), CALFW_IMAGES)
    assert first.fold.tolist() == np.repeat(np.arange(10), 3).tolist() * 2


def test_calfw_labels_are_folds_in_any_order_of_the_file(read: Read) -> None:
    pairs = read(calfw([10, 9, 10, 9, 0, 0, 0]), CALFW_IMAGES)
    assert pairs.fold.tolist() == [1, 0, 1, 0, 0, 0, 1]


def test_calfw_images_in_folders_of_people_and_of_another_type(read: Read) -> None:
    names = [f"{name.rpartition('_')[0]}/{name.replace('jpg', 'png')}" for name in CALFW_IMAGES]
    pairs = read(calfw([1, 1, 0, 0]), names)
    assert rows(pairs)[0][:2] == ("Person_00/Person_00_0001.png", "Person_00/Person_00_0002.png")
    assert pairs.identities[0] == "Person_00"


def test_sllfw(read: Read) -> None:
    names = [f"{name}/{name}_{number:04}.jpg" for name in ("Ann", "Bob", "Eve", "Zoe") for number in (1, 2)]
    genuine = [(names[2 * k], names[2 * k + 1]) for k in range(4)]
    impostor = [(names[2 * k], names[(2 * k + 2) % 8]) for k in range(4)]
    blocks = [*genuine[:2], *impostor[:2], *genuine[2:], *impostor[2:]]
    pairs = read("\n".join(f"{a}\n{b}" for a, b in blocks), names)
    assert [row[:2] for row in rows(pairs)] == blocks
    assert pairs.same.tolist() == [True, True, False, False] * 2
    # Four pairs of a kind make four folds, which are contiguous for either kind.
    assert pairs.fold.tolist() == [0, 1, 0, 1, 2, 3, 2, 3]


AGEDB = "00001.jpg 00002.jpg 1\n00003.jpg 00004.jpg -1\n00005.jpg 00006.jpg 1\n00007.jpg 00008.jpg -1\n"
AGEDB_IMAGES = [f"{index:05}.jpg" for index in range(1, 9)]


@pytest.mark.parametrize(("label", "parted"), [("-1", " "), ("0", " "), ("0", "\t")])
def test_two_paths_and_a_label(read: Read, label: str, parted: str) -> None:
    pairs = read(AGEDB.replace("-1", label).replace(" ", parted), AGEDB_IMAGES)
    assert rows(pairs) == [
        ("00001.jpg", "00002.jpg", True, 0), ("00003.jpg", "00004.jpg", False, 0),
        ("00005.jpg", "00006.jpg", True, 1), ("00007.jpg", "00008.jpg", False, 1),
    ]  # fmt: skip


def test_two_paths_of_a_balanced_list_fall_into_tenths_of_the_file(read: Read) -> None:
    lines = [f"{2 * k:05}.jpg {2 * k + 1:05}.jpg {int(k % 6 < 3)}" for k in range(60)]
    pairs = read("\n".join(lines), [f"{index:05}.jpg" for index in range(120)])
    assert pairs.fold.tolist() == [k // 6 for k in range(60)]


def test_two_paths_a_label_and_a_fold(read: Read) -> None:
    text = "my a.jpg\tmy b.jpg\t1\t7\nmy a.jpg\tc.jpg\t0\t7\nmy b.jpg\tc.jpg\tfalse\t3\nc.jpg\td.jpg\tTrue\t3\n"
    assert read(text, ["my a.jpg", "my b.jpg", "c.jpg", "d.jpg"]).fold.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("kind", [bool, np.int64])
def test_flags_of_numbered_images(tmp_path: Path, first: int, kind: type) -> None:
    root = make(tmp_path / "images", [f"{index}.jpg" for index in range(first, first + 24)] + ["notes.txt"])
    flags = np.arange(12) % 3 == 0
    np.save(tmp_path / "agedb_30_list.npy", flags.astype(kind))
    pairs = read_pairs(tmp_path / "agedb_30_list.npy", root)
    assert [row[:3] for row in rows(pairs)] == [
        (f"{first + 2 * k}.jpg", f"{first + 2 * k + 1}.jpg", k % 3 == 0) for k in range(12)
    ]


def test_flags_that_dont_fit_their_images(tmp_path: Path) -> None:
    root = make(tmp_path / "images", [f"{index}.jpg" for index in (0, 1, 2, 3, 4, 6)])
    path = tmp_path / "list.npy"
    np.save(path, np.array([True, False, True]))
    with pytest.raises(BitfaceError, match=r"3 pairs need 6 images numbered without a gap.* holds 6 images"):
        read_pairs(path, root)
    np.save(path, np.array([0.5, 1.0]))
    with pytest.raises(BitfaceError, match=r"holds float64 of the shape \(2,\); expected one flag"):
        read_pairs(path, root)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(BitfaceError, match=r"no \.npy file of flags.*Python objects"):
        read_pairs(path, root)
    np.save(path, np.zeros(10**4, dtype=bool))
    path.write_bytes(path.read_bytes().replace(b"10000", b"9" * 5)[:500])
    with pytest.raises(BitfaceError, match=r"no \.npy file of flags"):
        read_pairs(path, root)
    np.save(path, np.array([True, False]))
    (root / "__rootdirs__").touch()
    with pytest.raises(BitfaceError, match=r"a bcolz array, which isn't read; give the \.bin pack"):
        read_pairs(path, root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hello\n", r"list.txt:1: 'hello' begins no list of pairs that is known: the header a,b,same,fold"),
        ("\n\na b c d e\n", r"list.txt:3: 'a b c d e' begins no list"),
        ("one two\n", r":1: 'one two' begins no list"),
        ("2\t2\nAnn\t1\n", r":2: 'Ann 1'; expected 'Name n n' or 'Name n Name n'"),
        ("1 1\nAnn 1 2\nAnn 1 Bob x\n", r":3: 'Ann 1 Bob x'; expected"),
        ("1 1\nAnn 1 1\nAnn 1 Bob 1\n", r":2: pairs Ann/Ann_0001.jpg with itself"),
        ("1 1\nAnn 1 2\nAnn 1 Ann 2\n", r":3: an impostor pair of Ann with the same person"),
        ("1 1\n.. 1 2\nAnn 1 Bob 1\n", r":2: .* leads out of the image folder"),
        ("1 1\n/etc 1 2\nAnn 1 Bob 1\n", r":2: .* leads out of the image folder"),
        ("1 1\n", r":1: the header speaks of 1 times 1 pairs of each kind, but 0 pairs follow"),
        ("99999999999\nAnn 1 2\n", r":1: '99999999999' begins no list"),
        ("0 300\n", r"holds no pairs"),
        ("a_0001.jpg 1\na_0002.jpg 0\n", r":2: label 0, but 1 in the line before; both are one pair"),
        ("a_0001.jpg 1\na_0002.jpg 1\nb_0001.jpg 0\n", r":3: the last image has no partner"),
        ("a_0001.jpg 1\na_0002.jpg x\n", r":2: 'a_0002.jpg x'; expected an image and a label"),
        ("a_0001.jpg 1\na_0002.jpg\n", r":2: 'a_0002.jpg'; expected an image and a label"),
        ("a_0001.jpg 1\n./a_0001.jpg 1\n", r":1: pairs a_0001.jpg with itself"),
        ("..\\a_0001.jpg 1\na_0002.jpg 1\n", r":1: .* leads out"),
        ("A/1.jpg\nA/2.jpg\nA/1.jpg\n", r":3: the last image has no partner"),
        ("A/1.jpg\nA/2.jpg x\n", r":2: 'A/2.jpg x'; expected one image"),
        ("A/1.jpg\nB.jpg\n", r":2: 'B.jpg'; expected one image"),
        ("A/1.jpg\n../2.jpg\n", r":2: .* leads out"),
        ("a.jpg b.jpg 1\na.jpg c.jpg 2\n", r":2: label is '2'; expected 'image image label' with 1, 0 or -1"),
        ("a.jpg b.jpg 1\na.jpg c.jpg 0 1\n", r":2: 4 columns, but 3 in the first line"),
        ("a.jpg b.jpg 1\na.jpg a.jpg 0\n", r":2: pairs a.jpg with itself"),
        ("a.jpg b.jpg 1\n/c.jpg a.jpg 0\n", r":2: .* leads out"),
        ("a.jpg b.jpg 1\n", r"holds only genuine pairs"),
    ],
)
def test_bad_lists_are_refused_in_one_line(read: Read, content: str, message: str) -> None:
    with pytest.raises(BitfaceError, match=message) as caught:
        read(content, ["a.jpg"])
    assert "\n" not in str(caught.value)
    assert "list.txt" in str(caught.value)


def test_a_part_is_for_cfp_only(read: Read) -> None:
    with pytest.raises(UsageError, match="has no part 'cfp-fp'"):
        read(AGEDB, AGEDB_IMAGES, part="cfp-fp")


def test_a_huge_binary_file_is_refused_early(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    with open(path, "wb") as file:
        file.write(b"\x80" * 100)
        file.truncate(1 << 40)
    with pytest.raises(BitfaceError, match=r"images\.tar: isn't UTF-8 text"):
        read_pairs(path, tmp_path)


def test_a_long_text_is_cut_between_bytes_of_a_character(read: Read) -> None:
    name = "é" * 100
    text = "".join(f"{name}{k}.jpg x{k % 7}.jpg {k % 2}\n" for k in range(1000))
    for shift in ("", "\n"):
        assert (
            len(read(shift + text, [f"{name}{k}.jpg" for k in range(1000)] + [f"x{k}.jpg" for k in range(7)])) == 1000
        )


@pytest.mark.parametrize("again", ["Ann/1.jpg Ann/2.jpg", "Ann/2.jpg Ann/1.jpg"])
def test_repeated_pairs_are_noted_and_contradictory_ones_refused(read: Read, again: str) -> None:
    names = ["Ann/1.jpg", "Ann/2.jpg", "Bob/1.jpg", "Bob/2.jpg"]
    text = "Ann/1.jpg Ann/2.jpg 1\nAnn/1.jpg Bob/1.jpg 0\nBob/1.jpg Bob/2.jpg 1\nAnn/2.jpg Bob/1.jpg 0\n"
    assert read(text, names).notes == ()
    pairs = read(f"{text}{again} 1\n", names)
    assert len(pairs) == 5
    assert len(pairs.notes) == 1
    assert "1 pair is listed again, first Ann/" in pairs.notes[0]
    assert "list.txt:5 as in" in pairs.notes[0]
    with pytest.raises(BitfaceError, match=r"list.txt:5: .* are an impostor pair here and a genuine one in .*txt:1$"):
        read(f"{text}{again} 0\n", names)


def test_missing_images_are_counted_and_the_first_row_is_named(read: Read) -> None:
    with pytest.raises(BitfaceError, match=r"list.txt:3: 2 of 6 images aren't in .*, first Bob/Bob_0003.jpg"):
        read(LFW, [*LFW_IMAGES[:3], "Eve/Eve_0001.jpg", "Eve/Eve_0012.txt"])
    with pytest.raises(BitfaceError, match=r"list.txt:1: 4 of 8 images aren't in .*, first 00002.jpg"):
        read(AGEDB, [*AGEDB_IMAGES[::2], "00002.png"])


@pytest.mark.data
def test_lfw_as_published_is_the_list_in_csv(data_dir: Path) -> None:
    lfw = data_dir / "lfw"
    ours, theirs = (read_pairs(lfw / name, lfw / "images") for name in ("pairs.txt", "pairs.csv"))
    assert ours.paths == theirs.paths
    for field in ("left", "right", "same", "fold"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
    assert ours.notes == theirs.notes == ()


@pytest.mark.data
@pytest.mark.parametrize(("name", "count"), [("pairsDevTrain.txt", 1100), ("pairsDevTest.txt", 500)])
def test_lfw_view_1_as_published(data_dir: Path, name: str, count: int) -> None:
    pairs = read_pairs(data_dir / "lfw" / name, data_dir / "lfw" / "images")
    assert (pairs.genuine, pairs.impostor) == (count, count)
    assert np.bincount(pairs.fold).tolist() == [count // 5] * 10


words = st.sampled_from(
    ["A", "B", "a.jpg", "b.jpg", "A/a.jpg", "B/b.jpg", "0", "1", "-1", "2", "..", "\t", ",", "é", "\0"]
)


@settings(max_examples=300)
@given(st.lists(st.lists(words, max_size=5).map(" ".join), max_size=8).map("\n".join))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    root = make(folder, ["a.jpg", "b.jpg", "A/a.jpg", "B/b.jpg", "A/A_0001.jpg", "A/A_0002.jpg", "B/B_0001.jpg"])
    (folder / "list.txt").write_text(text, encoding="utf-8")
    try:
        assert len(read_pairs(folder / "list.txt", root)) >= 2
    except BitfaceError as error:
        refusal = str(error)
    else:
        refusal = ""
    assert "\n" not in refusal

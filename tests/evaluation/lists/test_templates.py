from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.figures.operating import Distinct
from bitface.evaluation.lists import template_files
from bitface.evaluation.lists.templates import (
    TemplateList,
    read_media_list,
    read_searches,
    read_template_files,
    read_template_pairs,
)

Writer = Callable[..., Path]

MEDIA = """\
1.jpg 1 69544
2.jpg 1 69544
3.jpg 1 70000
4.jpg 7 69544
5.jpg 12 3
6.jpg 12 4
"""
POINTS = """\
1.jpg 46.060 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.450 98.648 0.999
3.jpg 3 2 3 4 5 6 7 8 9 10 0.5
2.jpg 2 2 3 4 5 6 7 8 9 10 0.25
4.jpg 4 2 3 4 5 6 7 8 9 10 0
5.jpg 5 2 3 4 5 6 7 8 9 10 1
6.jpg 6 2 3 4 5 6 7 8 9 10 0.75
"""
ENROLL = """\
TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT
1,50,img/10.jpg,900,1,2,30,40
1,50,frames/11.png,901,1,2,30,40
1,50,frames/12.png,901,1,2,30,40
3,51,img/13.jpg,902,1,2,30,40
"""
VERIF = """\
TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT
7,51,img/14.jpg,903,1,2,30,40
9,50,img/15.jpg,904,1,2,30,40
"""


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def writer(content: str | bytes, name: str = "list.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


@pytest.fixture
def csv(write: Writer) -> Callable[..., list[Path]]:
    return lambda *contents: [write(content, f"{index}.csv") for index, content in enumerate(contents)]


def refused(call: Callable[[], object], match: str) -> str:
    with pytest.raises(BitfaceError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows_of(listed: TemplateList) -> tuple[list[tuple[str, int]], list[int]]:
    """Every row as (path, template number), and the rows that share a medium, as plain values."""
    rows = [(listed.paths[i], int(listed.ids[t])) for i, t in zip(listed.image, listed.template, strict=True)]
    return rows, listed.medium.tolist()


def test_media_list(write: Writer) -> None:
    listed = read_media_list(write(MEDIA))
    assert listed.paths == ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg")
    assert listed.ids.tolist() == [1, 7, 12]
    assert listed.template.tolist() == [0, 0, 0, 1, 2, 2]
    media = listed.medium.tolist()
    assert media[0] == media[1] != media[2]
    assert media[4] != media[5]
    assert listed.subject is None
    assert listed.quality is None


def test_an_image_may_be_in_several_templates_and_rows_in_any_order(write: Writer) -> None:
    listed = read_media_list(write("b.jpg 9 1\na/1.jpg 2 1\n\nb.jpg 2 5\n"))
    assert listed.paths == ("b.jpg", "a/1.jpg")
    assert rows_of(listed)[0] == [("b.jpg", 9), ("a/1.jpg", 2), ("b.jpg", 2)]


def test_points_and_scores_are_matched_by_name(write: Writer) -> None:
    listed = read_media_list(write(MEDIA), write(POINTS, "points.txt"))
    assert listed.quality.tolist() == [np.float32(0.999), 0.25, 0.5, 0, 1, 0.75]
    assert listed.landmarks.shape == (6, 5, 2)
    assert listed.landmarks[0, 1].tolist() == [np.float32(87.785), np.float32(60.323)]
    assert listed.landmarks[2, 0, 0] == 3


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "lists no image"),
        ("1.jpg 1\n", r"list.txt:1: '1.jpg 1' has 2 columns; expected 3: image name, template, medium"),
        ("1.jpg 1 2\n2.jpg 1 2 3\n", r"list.txt:2: .* has 4 columns"),
        ("1.jpg one 2\n", r":1: the template is 'one'; expected a whole number"),
        ("1.jpg 1 2.5\n", r":1: the medium is '2.5'"),
        ("1.jpg -1 2\n", r":1: the template is '-1'"),
        ("1.jpg 99999999999 2\n", r":1: the template is '99999999999'"),
        ("1.jpg 1 2\n2.jpg 1 2\n1.jpg 1 2\n", r":3: 1.jpg is in template 1 already, by line 1"),
        ("1.jpg 1 2\n1.jpg 1 3\n", r":2: 1.jpg is in template 1 already"),
        ("../1.jpg 1 2\n", r":1: .* leads out"),
        (b"\xff.jpg 1 2\n", "isn't UTF-8"),
    ],
)
def test_bad_media_lists(write: Writer, content: str | bytes, match: str) -> None:
    path = write(content)
    refused(lambda: read_media_list(path), match)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("2.jpg 2", "9.jpg 2", r"points.txt:3: 9.jpg isn't in .*list.txt; use the two files of one release"),
        ("2.jpg 2", "3.jpg 2", r"points.txt:3: 3.jpg has a row already"),
        ("2.jpg 2 2 3 4 5 6 7 8 9 10 0.25\n", "", r"points.txt: has no row for 1 of the 6 images .*2.jpg the first"),
        ("10 0.25", "10", r"points.txt:3: .* has 11 columns; expected 12: image name, five points, score"),
        ("10 0.25", "10 x", r"points.txt:3: .* isn't ten coordinates and a score"),
        ("10 0.25", "10 nan", r"points.txt:3: .* isn't ten coordinates and a score"),
        ("10 0.25", "10 -1", r"points.txt:3: .* score from 0 up"),
    ],
)
def test_bad_points(write: Writer, old: str, new: str, match: str) -> None:
    assert old in POINTS
    media, points = write(MEDIA), write(POINTS.replace(old, new), "points.txt")
    refused(lambda: read_media_list(media, points), match)


def test_missing_files(tmp_path: Path) -> None:
    refused(lambda: read_media_list(tmp_path / "none.txt"), "none.txt: can't be read")
    refused(lambda: read_template_files([tmp_path / "none.csv"]), "none.csv: can't be read")
    refused(lambda: read_template_files([]), "no template is listed")


def test_template_files(csv: Callable[..., list[Path]]) -> None:
    listed = read_template_files(csv(ENROLL, VERIF))
    assert listed.paths[:2] == ("img/10.jpg", "frames/11.png")
    assert listed.ids.tolist() == [1, 3, 7, 9]
    assert rows_of(listed)[0][-1] == ("img/15.jpg", 9)
    media = listed.medium.tolist()
    assert media[0] != media[1] == media[2]
    assert len(set(media)) == 5
    first, second, third, fourth = listed.subject.tolist()
    assert first == fourth != second == third
    assert listed.notes == ()


def test_older_header_and_further_columns_in_any_order(csv: Callable[..., list[Path]]) -> None:
    text = "SIGHTING_ID,FRAME,file, Subject_ID ,TEMPLATE_ID,MEDIA_ID\n900,1,10.jpg,S 1,4,m1\n901,2,11.jpg,S 1,4,m1\n"
    listed = read_template_files(csv("\ufeff" + text.replace("\n", "\r\n")))
    assert listed.paths == ("10.jpg", "11.jpg")
    # The medium's column wins over that of the sighting.
    assert listed.medium.tolist() == [0, 0]


def test_without_a_column_of_media_every_image_is_one_and_the_result_is_told(csv: Callable[..., list[Path]]) -> None:
    text = (
        "TEMPLATE_ID,SUBJECT_ID,FILENAME,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT\n1,5,a.jpg,1,2,3,4\n1,5,b.jpg,1,2,3,4\n"
    )
    listed = read_template_files(csv(text))
    assert listed.medium.tolist() == [0, 1]
    assert len(listed.notes) == 1
    assert "has no column MEDIA_ID or SIGHTING_ID" in listed.notes[0]


def test_crops_of_one_photo_are_told_apart_by_a_pattern(csv: Callable[..., list[Path]]) -> None:
    text = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID\n1,5,img/a.jpg,1\n2,6,img/a.jpg,2\n"
    files = csv(text)
    message = refused(lambda: read_template_files(files), r"0.csv:3: img/a.jpg shows subject 6, and subject 5 by .*:2")
    assert "{STEM}-{SUBJECT_ID}.jpg" in message
    assert read_template_files(files, "{STEM}-{SUBJECT_ID}.jpg").paths == ("img/a-5.jpg", "img/a-6.jpg")
    assert read_template_files(files, "{TEMPLATE_ID}/{SIGHTING_ID}.png").paths == ("1/1.png", "2/2.png")
    with pytest.raises(UsageError, match=r"names \{SUBJECTID\}, which is no column .* did you mean 'SUBJECT_ID'"):
        read_template_files(files, "{SUBJECTID}.jpg")
    refused(lambda: read_template_files(files, "../{FILENAME}"), "leads out")


HEAD = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID\n"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", r"0.csv: the header '' has no column TEMPLATE_ID"),
        ("1,50,img/10.jpg,900\n", "has no column TEMPLATE_ID"),
        (HEAD.replace("SUBJECT_ID,", ""), "has no column SUBJECT_ID"),
        (HEAD.replace("FILENAME,", ""), "has no column FILENAME"),
        (HEAD.replace("SIGHTING_ID", "FILENAME"), "has the column 'FILENAME' twice"),
        (HEAD, "no template is listed"),
        (HEAD + "1,5,a.jpg\n", r"0.csv:2: '1,5,a.jpg' has 3 cells, the header 4 columns"),
        (HEAD + "1,5,a.jpg,1,9\n", r"0.csv:2: .* has 5 cells"),
        (HEAD + "x,5,a.jpg,1\n", r"0.csv:2: TEMPLATE_ID is 'x'"),
        (HEAD + "1,,a.jpg,1\n", r"0.csv:2: SUBJECT_ID is ''"),
        (HEAD + "1,NaN,a.jpg,1\n", r"0.csv:2: SUBJECT_ID is 'NaN'"),
        (HEAD + "1,5,,1\n", r"0.csv:2: an image path is empty"),
        (HEAD + "1,5,a.jpg,\n", r"0.csv:2: the medium .* is empty"),
        (HEAD + "1,5,/a.jpg,1\n", r"0.csv:2: .* leads out"),
        (HEAD + "1,5,a.jpg,1\n2,6,b.jpg,1\n1,5,a.jpg,1\n", r"0.csv:4: repeats .*0.csv:2"),
        (HEAD + "1,5,a.jpg,1\n1,6,b.jpg,1\n", r"0.csv:3: template 1 shows subject 6, by .*0.csv:2 5"),
        (HEAD + '1,5,"a.jpg,1\n', "not a CSV row"),
        (HEAD.encode() + b"1,5,\xff.jpg,1\n", "isn't UTF-8"),
    ],
)
def test_bad_template_files(csv: Callable[..., list[Path]], content: str | bytes, match: str) -> None:
    files = csv(content)
    refused(lambda: read_template_files(files), match)


def test_a_template_number_in_two_files(csv: Callable[..., list[Path]]) -> None:
    files = csv(ENROLL, VERIF.replace("7,51", "3,51"))
    refused(lambda: read_template_files(files), r"1.csv:2: template 3 is in .*0.csv too")


@pytest.mark.parametrize(
    "text", ["1 7 1\n7 12 0\n1 12 0\n", "1,7,1\r\n7, 12,0\r\n\r\n1\t12\t0", "\ufeff1 7 1\n7 12 0\n1 12 0"]
)
def test_pairs_with_labels(write: Writer, text: str) -> None:
    pairs = read_template_pairs(write(text, "pairs.txt"), read_media_list(write(MEDIA)))
    assert pairs.left.tolist() == [0, 1, 0]
    assert pairs.right.tolist() == [1, 2, 2]
    assert pairs.same.tolist() == [True, False, False]
    assert (len(pairs), pairs.repeated_genuine, pairs.repeated_impostor) == (3, 0, 0)


def test_matches_take_their_labels_from_the_subjects(write: Writer, csv: Callable[..., list[Path]]) -> None:
    templates = read_template_files(csv(ENROLL, VERIF))
    pairs = read_template_pairs(write("1,7\n1,9\n3,7\n3,9\n"), templates)
    assert pairs.same.tolist() == [False, True, True, False]
    assert read_template_pairs(write("1 7 0\n1 9 1\n"), templates).same.tolist() == [False, True]


def test_repeated_pairs_are_kept_and_counted(write: Writer) -> None:
    pairs = read_template_pairs(write("1 7 1\n7 12 0\n7 1 1\n7 12 0\n7 12 0\n"), read_media_list(write(MEDIA, "m.txt")))
    assert (len(pairs), pairs.repeated_genuine, pairs.repeated_impostor) == (5, 1, 2)
    assert pairs.distinct == Distinct(1, 1)


GOOD = "1 7 1\n7 12 0\n"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "is empty; expected rows of two templates"),
        ("\n \n", "is empty"),
        ("1\n", r"pairs.txt:1: '1' isn't 3 whole numbers"),
        ("1 7 1 0.5\n", r"pairs.txt:1: '1 7 1 0.5' isn't 3 whole numbers"),
        ("a 7 1\n", r"pairs.txt:1: 'a 7 1' isn't 3"),
        ("ENROLL_TEMPLATE_ID,VERIF_TEMPLATE_ID\n1,7\n", r"pairs.txt:1: 'ENROLL_TEMPLATE_ID,VERIF_TEMPLATE_ID' isn't 2"),
        (GOOD + "\n1 12\n", r"pairs.txt:4: '1 12' isn't 3"),
        (GOOD + "1 12 0 1\n1 12\n", r"pairs.txt:3: '1 12 0 1' isn't 3"),
        (GOOD + "1 12 -0\n", r"pairs.txt:3: '1 12 -0' isn't 3"),
        (GOOD + "1 12 4294967296\n", r"pairs.txt:3: .* isn't 3"),
        (GOOD + "1 99999999999 0\n", r"pairs.txt:3: .* isn't 3"),
        (GOOD + f"1 {2**64 + 7} 0\n", r"pairs.txt:3: .* isn't 3"),
        (GOOD + "1 " + "9" * 5000 + " 0\n", r"pairs.txt:3: .* isn't 3"),
        ("1,7,1\n7,12,,0\n", r"pairs.txt:2: '7,12,,0' isn't 3"),
        (GOOD + "\n1 99 0\n", r"pairs.txt:4: '1 99 0' names a template of which no image is listed"),
        (GOOD + "99 1 0\n", r"pairs.txt:3: '99 1 0' names a template"),
        (GOOD + "0 1 0\n", r"pairs.txt:3: '0 1 0' names a template"),
        (GOOD + "12 12 1\n", r"pairs.txt:3: '12 12 1' pairs a template with itself"),
        (GOOD + "1 12 2\n", r"pairs.txt:3: '1 12 2' has a label other than 0 and 1"),
        (GOOD + "1 12 0\n12 7 1\n", r"pairs.txt:4: '12 7 1' contradicts a row before"),
        ("1 7 1\n", "holds only genuine pairs"),
        ("1 7 0\n", "holds only impostor pairs"),
        ("1 7\n7 12\n", "says not who is the same person"),
        (bytes(range(256)), r"pairs.txt:1: .* isn't 3"),
    ],
)
def test_bad_pairs(write: Writer, content: str | bytes, match: str) -> None:
    templates, path = read_media_list(write(MEDIA)), write(content, "pairs.txt")
    refused(lambda: read_template_pairs(path, templates), match)


def test_labels_that_contradict_the_subjects(write: Writer, csv: Callable[..., list[Path]]) -> None:
    templates, path = read_template_files(csv(ENROLL, VERIF)), write("1 9 1\n1 7 1\n", "pairs.txt")
    refused(lambda: read_template_pairs(path, templates), r"pairs.txt:2: '1 7 1' contradicts the subjects")


def test_missing_pairs(tmp_path: Path, write: Writer) -> None:
    templates = read_media_list(write(MEDIA))
    refused(lambda: read_template_pairs(tmp_path / "none.txt", templates), "none.txt: can't be read")


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_blocks_of_a_file_change_nothing(write: Writer, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    rng = np.random.default_rng(block)
    rows = rng.integers(0, 3000, (200, 3))
    text = "".join(f"{a} {b}  {c}\n" + "\n" * (a % 3 == 0) for a, b, c in rows.tolist())
    monkeypatch.setattr(template_files, "_BLOCK", block)
    for ending in (text, text.rstrip("\n")):
        columns = template_files.number_columns(write(ending), (3,), "numbers")
        assert [column.tolist() for column in columns] == rows.T.tolist()
        assert columns[0].dtype == np.int32


GALLERY = HEAD + "1,50,a.jpg,1\n3,51,b.jpg,2\n"
OTHER = HEAD + "5,60,c.jpg,3\n"
PROBES = HEAD + "7,51,d.jpg,4\n9,60,e.jpg,5\n9,60,f.jpg,5\n11,70,g.jpg,6\n"


def test_searches(csv: Callable[..., list[Path]]) -> None:
    first, second, probes = csv(GALLERY, OTHER, PROBES)
    lists = read_searches({"G1": first, "G2": second}, probes)
    ids, subject = lists.templates.ids, lists.templates.subject
    assert {name: ids[members].tolist() for name, members in lists.galleries.items()} == {"G1": [1, 3], "G2": [5]}
    assert ids[lists.probes].tolist() == [7, 9, 11]
    at = {number: int(subject[index]) for index, number in enumerate(ids.tolist())}
    assert at[3] == at[7]
    assert at[5] == at[9]
    assert len(set(at.values())) == 4


def test_searches_among_the_templates_of_a_media_list(csv: Callable[..., list[Path]], write: Writer) -> None:
    listed = read_media_list(write("a.jpg 1 1\nb.jpg 3 1\nd.jpg 7 1\ne.jpg 9 1\ng.jpg 11 1\nx.jpg 40 1\n"))
    gallery, probes = csv(GALLERY, PROBES)
    lists = read_searches({"G1": gallery}, probes, listed)
    assert lists.templates.paths == listed.paths
    assert lists.templates.subject[5] == -1
    assert lists.templates.subject[1] == lists.templates.subject[2]
    assert lists.galleries["G1"].tolist() == [0, 1]
    assert lists.probes.tolist() == [2, 3, 4]
    few = read_media_list(write("a.jpg 1 1\n"))
    refused(lambda: read_searches({"G1": gallery}, probes, few), r"0.csv:3: template 3 has no image in the list")


@pytest.mark.parametrize(
    ("gallery", "probes", "match"),
    [
        (GALLERY + "4,51,z.jpg,1\n", PROBES, r"0.csv: the subject of template 3 has another one"),
        (OTHER.replace("60", "61"), PROBES, r"0.csv: gallery G1 holds no subject of .*1.csv"),
        (HEAD, PROBES, r"0.csv: lists no template"),
        (GALLERY, HEAD, r"1.csv: lists no template"),
        (GALLERY, PROBES.replace("7,51", "3,51"), r"1.csv:2: template 3 is in .*0.csv too"),
    ],
)
def test_bad_searches(csv: Callable[..., list[Path]], gallery: str, probes: str, match: str) -> None:
    first, second = csv(gallery, probes)
    refused(lambda: read_searches({"G1": first}, second), match)


def test_searches_need_a_gallery_and_files_of_their_own(csv: Callable[..., list[Path]]) -> None:
    (probes,) = csv(PROBES)
    refused(lambda: read_searches({}, probes), "needs a gallery")
    refused(lambda: read_searches({"G1": probes}, probes), "is given twice")

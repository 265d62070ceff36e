"""A small copy of the protocol folder of CFP."""

from pathlib import Path

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import read_pairs
from bitface.evaluation.mixed import matrix
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.pairs import PairProtocol

from .test_pair_formats import make, rows

FF = {"01": (["1,2", "4,5"], ["1,4", "2,5"]), "02": (["7,8"], ["7,1"])}
FP = {"01": (["1,1", "4,2"], ["1,2", "5,1"]), "02": (["8,3"], ["7,1"])}


@pytest.fixture
def cfp(tmp_path: Path) -> Path:
    """Three people with three frontal images and one profile each."""
    release = tmp_path / "cfp-dataset"
    frontal = [f"Data/Images/{person:03}/frontal/{image:02}.jpg" for person in (1, 2, 3) for image in (1, 2, 3)]
    profile = [f"Data/Images/{person:03}/profile/01.jpg" for person in (1, 2, 3)]
    make(release, [*frontal, *profile])
    protocol = release / "Protocol"
    for part, folds in {"FF": FF, "FP": FP}.items():
        for fold, (same, diff) in folds.items():
            folder = protocol / "Split" / part / fold
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "same.txt").write_text("\n".join(same) + "\n")
            (folder / "diff.txt").write_text("\r\n".join(diff) + "\r\n")
        (protocol / "Split" / part / ".DS_Store").touch()
    for name, images in (("F", frontal), ("P", profile)):
        lines = [f"{number} ../{image}" for number, image in enumerate(images, start=1)]
        (protocol / f"Pair_list_{name}.txt").write_text("\n".join(lines) + "\n")
    return release


def test_cfp_frontal_to_profile(cfp: Path) -> None:
    pairs = read_pairs(cfp, cfp, "cfp-fp")
    short = [(a.removeprefix("Data/Images/"), b.removeprefix("Data/Images/"), *rest) for a, b, *rest in rows(pairs)]
    assert short == [
        ("001/frontal/01.jpg", "001/profile/01.jpg", True, 0), ("002/frontal/01.jpg", "002/profile/01.jpg", True, 0),
        ("001/frontal/01.jpg", "002/profile/01.jpg", False, 0), ("002/frontal/02.jpg", "001/profile/01.jpg", False, 0),
        ("003/frontal/02.jpg", "003/profile/01.jpg", True, 1), ("003/frontal/01.jpg", "001/profile/01.jpg", False, 1),
    ]  # fmt: skip
    assert set(pairs.identities) == {"001", "002", "003"}


@pytest.mark.parametrize("word", ["cfp-ff", "CFP_FF", "ff"])
def test_cfp_frontal_to_frontal_by_any_of_its_folders(cfp: Path, word: str) -> None:
    pairs = read_pairs(cfp, cfp, word)
    images = "Data/Images/"
    assert rows(pairs)[0] == (f"{images}001/frontal/01.jpg", f"{images}001/frontal/02.jpg", True, 0)
    assert rows(pairs)[-1] == (f"{images}003/frontal/01.jpg", f"{images}001/frontal/01.jpg", False, 1)
    assert rows(read_pairs(cfp / "Protocol", cfp, word)) == rows(pairs)
    assert rows(read_pairs(cfp / "Protocol" / "Split" / "FF", cfp)) == rows(pairs)


@pytest.mark.parametrize("kept", ["Images/", ""])
def test_cfp_aligned_elsewhere(cfp: Path, tmp_path: Path, kept: str) -> None:
    names = [f"{path.relative_to(cfp / 'Data' / 'Images').with_suffix('.png')}" for path in cfp.rglob("*.jpg")]
    aligned = make(tmp_path / "aligned", [kept + name for name in names])
    pairs = read_pairs(cfp, aligned, "fp")
    assert rows(pairs)[0][:2] == (f"{kept}001/frontal/01.png", f"{kept}001/profile/01.png")
    assert set(pairs.identities) == {"001", "002", "003"}


def test_cfp_mistakes(cfp: Path) -> None:
    with pytest.raises(UsageError, match="holds FF and FP; say cfp-ff or cfp-fp"):
        read_pairs(cfp, cfp)
    with pytest.raises(UsageError, match="'agedb' is no part of CFP"):
        read_pairs(cfp, cfp, "agedb")
    with pytest.raises(BitfaceError, match=r"images: can't be read: a folder, and not that of the CFP protocol"):
        read_pairs(make(cfp.parent / "images", []), cfp, "fp")
    with pytest.raises(BitfaceError, match=r"Pair_list_F.txt:1: a number and a path.* give the folder Protocol"):
        read_pairs(cfp / "Protocol" / "Pair_list_F.txt", cfp)
    folder = cfp / "Protocol" / "Split" / "FP" / "02"
    for content, message in [
        ("8;3", r"02/same.txt:1: '8;3'; expected the numbers of two images"),
        ("8,3,1", r"same.txt:1: '8,3,1'"),
        ("8,3\n8,x", r"same.txt:2: '8,x'"),
        ("8,33", r"02/same.txt:1: image 33 isn't in Pair_list_P.txt"),
        ("0,3", r"image 0 isn't in Pair_list_F.txt"),
    ]:
        (folder / "same.txt").write_text(content)
        with pytest.raises(BitfaceError, match=message):
            read_pairs(cfp, cfp, "fp")
    (folder / "same.txt").unlink()
    with pytest.raises(BitfaceError, match=r"02/same.txt: can't be read"):
        read_pairs(cfp, cfp, "fp")
    images = cfp / "Protocol" / "Pair_list_P.txt"
    for content, message in [
        ("1 ../../../etc/passwd/x/y.jpg", r"Pair_list_P.txt:1: .* leads out of the image folder"),
        ("1 ../Data/Images/001/profile/01.jpg\n1 ../Data/Images/002/profile/01.jpg", r":2: image 1 has been Data"),
        ("../Data/Images/001/profile/01.jpg", r":1: .*; expected a number and a path"),
        ("1 01.jpg", r"expected a path such as ../Data"),
    ]:
        images.write_text(content)
        with pytest.raises(BitfaceError, match=message):
            read_pairs(cfp, cfp, "fp")


def test_who_is_found_beside_a_baseline_is_known_from_the_list(cfp: Path) -> None:
    """Innermost folders are called frontal and profile."""
    pairs = read_pairs(cfp, cfp, "cfp-fp")
    names = sorted(set(pairs.identities))
    apart = np.eye(len(names))[[names.index(one) for one in pairs.identities]]
    cells = matrix(PairProtocol("cfp-fp", pairs), Embeddings(apart), Embeddings(apart), (0.5,))
    for cell in cells:
        assert {figure.name: figure.value for figure in cell.figures}["rank-1"] == 1.0

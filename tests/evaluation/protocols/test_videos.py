import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import fold_accuracy
from bitface.evaluation.lists.videos import VideoPairs, read_video_pairs
from bitface.evaluation.protocols import videos as video
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.videos import YtfProtocol
from support import evaluation_oracles as oracles

Case = tuple[VideoPairs, np.ndarray]
Reader = Callable[..., VideoPairs]
Rows = list[list[float]]

HEADER = "split number, pair number in split, first name, second name, is same:\n"
ROWS = """\
1, 1, Ann_Lee/0, Ann_Lee/2, 1
1, 2, Ann_Lee/0, Bob/1, 0
2, 1, Bob/1, Bob/3, 1
2, 2, Ann_Lee/2, Bob/3, 0
"""
FRAMES = {
    "Ann_Lee/0": ["0.2.jpg", "0.10.jpg", "0.9.jpg"],
    "Ann_Lee/2": ["aligned_detect_2.1.png", "aligned_detect_2.0.png"],
    "Bob/1": ["1.jpg"],
    "Bob/3": ["3.JPG", "notes.txt", ".hidden.jpg"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "frame_images_DB"
    for name, frames in FRAMES.items():
        (folder / name).mkdir(parents=True)
        for frame in frames:
            (folder / name / frame).touch()
    return folder


@pytest.fixture
def read(tmp_path: Path, root: Path) -> Reader:
    def reader(content: str | bytes, frames: int | None = None) -> VideoPairs:
        path = tmp_path / "splits.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_video_pairs(path, root, frames)

    return reader


def test_the_published_list(read: Reader) -> None:
    pairs = read(HEADER + ROWS)
    assert pairs.videos == ("Ann_Lee/0", "Ann_Lee/2", "Bob/1", "Bob/3")
    # Frames in the order of their numbers.
    assert pairs.paths == (
        "Ann_Lee/0/0.2.jpg", "Ann_Lee/0/0.9.jpg", "Ann_Lee/0/0.10.jpg",
        "Ann_Lee/2/aligned_detect_2.0.png", "Ann_Lee/2/aligned_detect_2.1.png",
        "Bob/1/1.jpg", "Bob/3/3.JPG",
    )  # fmt: skip
    assert pairs.video.tolist() == [0, 0, 0, 1, 1, 2, 3]
    assert pairs.left.tolist() == [0, 0, 2, 1]
    assert pairs.right.tolist() == [1, 2, 3, 3]
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    assert len(pairs) == 4


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("split number, first name, second name, is same", "{0}, {2}, {3}, {4}"),
        ("Split_Number,First_Name,Second_Name,L2,Is_Same", "{0},{2},{3},0.25,{4}"),
        ("second name,first name,is same,split number", "{3},{2},{4},{0}"),
    ],
)
def test_columns_are_found_by_their_names(read: Reader, header: str, row: str) -> None:
    rows = [row.format(*line.split(", ")) for line in ROWS.splitlines()]
    expected, pairs = read(HEADER + ROWS), read("\n".join([header, "", *rows]).replace("\n", "\r\n"))
    for name in ("left", "right", "same", "fold"):
        assert getattr(pairs, name).tolist() == getattr(expected, name).tolist()


def test_the_corrected_label_counts(read: Reader) -> None:
    header = "split number, pair number in split, first name, second name, is same, corrected:\n"
    rows = ["1, 1, Ann_Lee/0, Ann_Lee/2, 1, 0", "2, 1, Bob/1, Bob/3, 1, 1"]
    assert read(header + "\n".join(rows)).same.tolist() == [False, True]


def test_splits_are_ordered_by_number(read: Reader) -> None:
    text = "".join(line.replace(line[0], {"1": "10", "2": "9"}[line[0]], 1) for line in ROWS.splitlines(True))
    assert read(HEADER + text).fold.tolist() == [1, 1, 0, 0]


def test_frames_are_limited_to_evenly_spaced_ones(read: Reader, root: Path) -> None:
    for number in range(11, 100):
        (root / f"Ann_Lee/0/0.{number}.jpg").touch()
    pairs = read(HEADER + ROWS, frames=4)
    # 92 frames, those of number 2, 9 and 10 to 99: the middles of four stretches of 23.
    numbers = [2, 9, *range(10, 100)]
    assert [path for path in pairs.paths if path.startswith("Ann_Lee/0")] == [
        f"Ann_Lee/0/0.{numbers[place]}.jpg" for place in (11, 34, 57, 80)
    ]
    assert read(HEADER + ROWS, frames=1).video.tolist() == [0, 1, 2, 3]
    assert len(read(HEADER + ROWS, frames=1000).paths) == 96
    with pytest.raises(UsageError, match="can't use 0 frames"):
        read(HEADER + ROWS, frames=0)


def test_a_pair_may_be_listed_again_where_pairs_have_no_numbers(read: Reader) -> None:
    header = "split number, first name, second name, is same\n"
    rows = [", ".join([cells[0], *cells[2:]]) for cells in (line.split(", ") for line in ROWS.splitlines())]
    assert len(read(header + "\n".join([*rows, rows[0]]))) == 5


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "holds no pairs"),
        (HEADER, "holds no pairs"),
        (ROWS, r"the header '1, 1, Ann_Lee/0, Ann_Lee/2, 1' has no columns for the split number"),
        (HEADER.replace("first", "some") + ROWS, "has no columns for the first name"),
        (HEADER.replace("second", "first") + ROWS, "has 2 columns for the first name"),
        (HEADER.replace("is same:", "L2") + ROWS, "has no columns for the same label"),
        (
            HEADER + "1, 1, Ann_Lee/0, Ann_Lee/2\n",
            r"splits.txt:2: '1, 1, Ann_Lee/0, Ann_Lee/2' has 4 cells, the header 5",
        ),
        (HEADER + "\n" + ROWS + "x, 9, Bob/1, Bob/3, 1\n", r"splits.txt:7: the split is 'x'"),
        (HEADER + ROWS + "2, 9, Bob/1, Ann_Lee/2, 2\n", r"splits.txt:6: the label is '2'; expected 0 or 1"),
        (HEADER + ROWS + "2, 9, Bob, Ann_Lee/2, 0\n", r"splits.txt:6: 'Bob' isn't a video; expected Person_Name/0"),
        (HEADER + ROWS + "2, 9, a/Bob/1, Ann_Lee/2, 0\n", r"splits.txt:6: 'a/Bob/1' isn't a video"),
        (HEADER + ROWS + "2, 9, ../Bob, Ann_Lee/2, 0\n", r"splits.txt:6: .* leads out"),
        (HEADER + ROWS + "2, 9, , Ann_Lee/2, 0\n", r"splits.txt:6: an image path is empty"),
        (HEADER + ROWS + "2, 9, Bob/1, Bob/1, 1\n", r"splits.txt:6: pairs Bob/1 with itself"),
        (
            HEADER + ROWS + "2, 9, Bob/1, Ann_Lee/0, 1\n",
            r"splits.txt:6: contradicts .*splits.txt:3 on Bob/1 and Ann_Lee/0",
        ),
        (
            HEADER + ROWS + "2, 1, Bob/1, Ann_Lee/2, 0\n",
            r"splits.txt:6: pair 1 of split 2 is at .*splits.txt:4 already",
        ),
        (HEADER + ROWS.replace(", 0\n", ", 1\n"), "holds only genuine pairs"),
        (HEADER + ROWS.replace(", 1\n", ", 0\n"), "holds only impostor pairs"),
        (HEADER + "".join(ROWS.splitlines(True)[:2]), "all pairs are in one split"),
        (HEADER + "1, 1, Cy/0, Cy/1, 1\n2, 1, Cy/0, Di/1, 0\n", r"has no frame of any of the 3 videos, Cy/0 the first"),
        (HEADER.encode() + b"1, 1, \xff/0, Ann/0, 1\n", "isn't UTF-8"),
    ],
)
def test_bad_lists_are_refused_in_one_line(read: Reader, content: str | bytes, match: str) -> None:
    with pytest.raises(BitfaceError, match=match) as caught:
        read(content)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path, root: Path) -> None:
    with pytest.raises(BitfaceError, match=r"none.txt: can't be read"):
        read_video_pairs(tmp_path / "none.txt", root)
    with pytest.raises(BitfaceError, match="no such folder"):
        read_video_pairs(tmp_path / "none.txt", tmp_path / "nowhere")


@pytest.fixture(scope="module")
def case() -> Case:
    """60 videos of 20 people, of 1 to 12 frames each, and 400 pairs of them in ten splits."""
    rng = np.random.default_rng(0)
    person = np.arange(60) // 3
    frames = rng.integers(1, 13, 60)
    whose = np.repeat(np.arange(60, dtype=np.int32), frames)
    first, second = np.triu_indices(60, 1)
    same = person[first] == person[second]
    keep = rng.permutation(np.concatenate((np.flatnonzero(same), rng.choice(np.flatnonzero(~same), 340, False))))
    pairs = VideoPairs(
        tuple(f"p/{v}/{i}.jpg" for i, v in enumerate(whose)), whose, tuple(f"p/{v}" for v in range(60)),
        first[keep].astype(np.int32), second[keep].astype(np.int32), same[keep], np.arange(400) % 10,
    )  # fmt: skip
    values = rng.normal(size=(20, 16))[person[whose]] + rng.normal(size=(len(whose), 16)) * 1.6
    return pairs, (values * rng.uniform(0.2, 5, (len(whose), 1))).astype(np.float32)


def unit_frames(values: np.ndarray, valid: np.ndarray | None, pairs: VideoPairs) -> list[Rows]:
    """The unit vectors of each video's usable frames, as plain lists."""
    found: list[Rows] = [[] for _ in pairs.videos]
    for row, good, which in zip(values.astype(np.float64), valid, pairs.video, strict=True):
        if good and np.isfinite(row).all() and row.any():
            length = math.sqrt(sum(x * x for x in row.tolist()))
            found[which].append([x / length for x in row.tolist()])
    return found


def by_loops(gallery: list[Rows], probe: list[Rows], pairs: VideoPairs) -> tuple[np.ndarray, np.ndarray]:
    """Both scores of every pair: the cosine of the means, and the mean over every pair of frames."""

    def dot(a: Sequence[float], b: Sequence[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    mean, pairwise = [], []
    for a, b in zip(pairs.left, pairs.right, strict=True):
        first, second = gallery[a], probe[b]
        if not first or not second:
            mean.append(-1.0)
            pairwise.append(-1.0)
            continue
        means = [[sum(column) / len(side) for column in zip(*side, strict=True)] for side in (first, second)]
        mean.append(dot(*means) / math.sqrt(dot(means[0], means[0]) * dot(means[1], means[1])))
        pairwise.append(sum(dot(x, y) for x in first for y in second) / (len(first) * len(second)))
    return np.array(mean), np.array(pairwise)


def scores_of(
    monkeypatch: pytest.MonkeyPatch, protocol: YtfProtocol, *sides: Embeddings
) -> tuple[Any, np.ndarray, np.ndarray]:
    """The scores that the protocol forms by either way."""
    seen: list[np.ndarray] = []

    def spy(scores: np.ndarray, *rest: Any) -> Any:
        seen.append(scores)
        return fold_accuracy(scores, *rest)

    monkeypatch.setattr(video, "fold_accuracy", spy)
    result = protocol.score(*sides, fars=(0.1, 0.01))
    by_mean, by_pairs = seen
    return result, by_mean, by_pairs


@pytest.mark.parametrize("mixed", [False, True])
def test_scores_match_the_double_loop(case: Case, monkeypatch: pytest.MonkeyPatch, mixed: bool) -> None:
    pairs, values = case
    rng = np.random.default_rng(1)
    count = len(values)
    values, valid = values.copy(), rng.random(count) > 0.1
    values[3] = np.nan
    values[5] = 0
    gallery = Embeddings(values, valid)
    probe = Embeddings(values + rng.normal(size=values.shape), rng.random(count) > 0.1) if mixed else None
    result, mean, pairwise = scores_of(monkeypatch, YtfProtocol("YTF", pairs), gallery, probe)
    left = unit_frames(values, valid, pairs)
    right = unit_frames(probe.values, probe.valid, pairs) if probe else left
    expected = by_loops(left, right, pairs)
    np.testing.assert_allclose(mean, expected[0], atol=2e-7)
    np.testing.assert_allclose(pairwise, expected[1], atol=2e-7)
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    assert ((expected[0] == -1) == (mean == -1)).all()
    assert (pairwise[expected[1] == -1] == -1).all()
    assert result.mean.counts.failed_pairs == np.count_nonzero(expected[0] == -1) > 0


def test_the_result_is_that_of_the_scores(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, values = case
    result, *both = scores_of(monkeypatch, YtfProtocol("YTF", pairs), Embeddings(values))
    for found, scores in zip((result.mean, result.pairwise), both, strict=True):
        genuine, impostor = scores[pairs.same].tolist(), scores[~pairs.same].tolist()
        assert found.auc == oracles.auc(genuine, impostor)
        assert found.eer == pytest.approx(oracles.eer(genuine, impostor), abs=1e-12)
        threshold, accepted, false = oracles.tar_at_far(genuine, impostor, 0.1)
        point = found.tar[0]
        assert (point.threshold, point.accepted, point.false_accepts) == (threshold, accepted, false)
        assert not found.tar[1].supported
        folds = oracles.fold_accuracies(scores.tolist(), pairs.same.tolist(), pairs.fold.tolist())
        assert found.accuracy.accuracies == tuple(accuracy for accuracy, _ in folds)
    assert result.mean.accuracy.mean > result.pairwise.accuracy.mean - 0.1 > 0.5
    names = ["accuracy", "TAR@FAR 1e-1", "TAR@FAR 1e-2", "AUC", "EER"]
    figures = result.figures()
    assert [one.name for one in figures] == names + [f"{name}, pairs of frames" for name in names]
    assert (figures[0].value, figures[0].spread) == (result.mean.accuracy.mean, result.mean.accuracy.std)
    assert figures[5].value == result.pairwise.accuracy.mean
    assert figures[2].reason == "needs at least 1000 impostor pairs, has 340"
    content = json.loads(json.dumps(result.to_json(curve=True), allow_nan=False))
    assert (content["videos"], content["failed_videos"]) == (60, 0)
    assert "roc" in content["mean"]
    assert result.warnings == ()


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_blocks_change_no_bit(case: Case, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    pairs, values = case
    _, *whole = scores_of(monkeypatch, YtfProtocol("YTF", pairs), Embeddings(values))
    monkeypatch.setattr(video, "_ROWS", rows)
    _, *parts = scores_of(monkeypatch, YtfProtocol("YTF", pairs), Embeddings(values))
    assert [one.tobytes() for one in whole] == [one.tobytes() for one in parts]


def test_videos_without_frames_score_minus_one_and_are_reported(case: Case) -> None:
    pairs, values = case
    kept = ~np.isin(pairs.video, [4, 9])
    fewer = VideoPairs(
        tuple(path for path, keep in zip(pairs.paths, kept, strict=True) if keep), pairs.video[kept], pairs.videos,
        pairs.left, pairs.right, pairs.same, pairs.fold,
    )  # fmt: skip
    result = YtfProtocol("YTF", fewer).score(Embeddings(values[kept]))
    touched = np.isin(pairs.left, [4, 9]) | np.isin(pairs.right, [4, 9])
    assert result.failed_videos == 2
    assert result.warnings == (
        f"2 of 60 videos have no usable frame; their {np.count_nonzero(touched)} pairs score -1",
    )
    assert (result.mean.accuracy.correct[touched] == ~pairs.same[touched]).all()
    valid = kept.copy()
    same = YtfProtocol("YTF", pairs).score(Embeddings(values, valid))
    assert same.mean.accuracy.to_json() == result.mean.accuracy.to_json()
    assert f"{np.count_nonzero(~kept)} of {len(values)} frames have no usable embedding" in same.warnings[1]


@pytest.mark.parametrize("value", [np.nan, 0.0, 1.0])
def test_a_dead_network_is_diagnosed_and_doesnt_crash(case: Case, value: float) -> None:
    pairs, values = case
    result = YtfProtocol("YTF", pairs).score(Embeddings(np.full_like(values, value)))
    assert result.warnings
    assert (result.mean.auc, result.pairwise.auc) == (0.5, 0.5)
    json.dumps(result.to_json(curve=True), allow_nan=False)


def test_embeddings_that_dont_fit(case: Case) -> None:
    pairs, values = case
    protocol = YtfProtocol("YTF", pairs)
    assert protocol.paths == pairs.paths
    with pytest.raises(BitfaceError, match=f"{len(values) - 1} embeddings for {len(values)} images"):
        protocol.score(Embeddings(values[1:]))
    with pytest.raises(BitfaceError, match="models of different sizes"):
        protocol.score(Embeddings(values), Embeddings(values[:, :8]))
    with pytest.raises(UsageError, match="FAR"):
        protocol.score(Embeddings(values), fars=())

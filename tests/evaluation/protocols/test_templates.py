import json
import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import row_scores, unit_rows, wilson
from bitface.evaluation.figures.operating import far_name
from bitface.evaluation.lists.templates import TemplateList, TemplatePairs, read_media_list, read_template_pairs
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.templates import TemplateProtocol
from bitface.evaluation.scores import pooling
from bitface.evaluation.scores.pooling import Pooled, pair_scores, pool
from support import evaluation_oracles as oracles

# Image, template and medium.
Row = tuple[int, int, int]
Case = tuple[list[Row], TemplateList, np.ndarray, TemplatePairs, np.ndarray]

FARS = (0.1, 0.01, 1e-4)


def listed(rows: Sequence[Row], images: int, **more: Any) -> TemplateList:
    """A list of templates from rows (image, template, medium)."""
    image, template, medium = (np.array(column, dtype=np.int32) for column in zip(*rows, strict=True))
    ids = np.arange(template.max() + 1)
    return TemplateList(tuple(f"{i}.jpg" for i in range(images)), ids, image, template, medium, **more)


def pooled_by_loops(
    values: np.ndarray, rows: Sequence[Row], usable: list[bool], norm: bool, quality: np.ndarray | None
) -> dict[int, list[float] | None]:
    """The unit vector of each template, by nested loops over plain lists."""
    result = {}
    for template in sorted({row[1] for row in rows}):
        media = []
        for medium in sorted({row[2] for row in rows if row[1] == template}):
            vectors = []
            for image, where, of in rows:
                if (where, of) != (template, medium) or not usable[image]:
                    continue
                vector = [float(x) for x in values[image]]
                length = 1.0 if norm else math.sqrt(sum(x * x for x in vector))
                weight = float(quality[image]) if quality is not None else 1.0
                vectors.append([x / length * weight for x in vector])
            if vectors:
                media.append([sum(column) / len(vectors) for column in zip(*vectors, strict=True)])
        total = [sum(column) / len(media) for column in zip(*media, strict=True)]
        length = math.sqrt(sum(x * x for x in total))
        result[template] = [x / length for x in total] if length else None
    return result


@pytest.fixture(scope="module")
def case() -> Case:
    """60 templates of 20 people, of 300 images in 150 media, some images in several templates, rows in any order."""
    rng = np.random.default_rng(0)
    person = np.arange(60) % 20
    template = np.concatenate((np.arange(60), rng.integers(0, 60, 340)))
    image = np.concatenate((rng.permutation(300), rng.integers(0, 300, 100)))
    listings = sorted({(int(i), int(t)) for i, t in zip(image, template, strict=True)}, key=lambda row: hash(row) % 97)
    rows = [(i, t, i // 3) for i, t in listings]
    whose = np.zeros(300, dtype=int)
    for i, t, _ in rows:
        whose[i] = person[t]
    values = (rng.normal(size=(20, 24))[whose] + rng.normal(size=(300, 24)) * 0.8) * rng.uniform(0.5, 2, (300, 1))
    left, right = (
        side.ravel().astype(np.int32) for side in np.meshgrid(np.arange(20), np.arange(20, 60), indexing="ij")
    )
    pairs = TemplatePairs(left, right, person[left] == person[right])
    quality = rng.uniform(0.1, 1, 300).astype(np.float32)
    return rows, listed(rows, 300, quality=quality), values.astype(np.float32), pairs, person


def embedded(values: np.ndarray, valid: np.ndarray | None = None) -> Embeddings:
    return Embeddings(values, valid)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("quality", [False, True])
def test_pooling_matches_the_loops(case: Case, norm: bool, quality: bool) -> None:
    rows, templates, values, _, _ = case
    values, valid = values.copy(), np.ones(300, bool)
    values[5], values[6], valid[7] = np.nan, 0, False
    found = pool(embedded(values, valid), templates, norm=norm, quality=quality)
    usable = [i not in (5, 6, 7) for i in range(300)]
    expected = pooled_by_loops(values, rows, usable, norm, templates.quality if quality else None)
    assert found.usable.all()
    for template, vector in expected.items():
        np.testing.assert_allclose(found.unit[template], vector, atol=3e-8)
    used = {row[0] for row in rows}
    assert np.flatnonzero(found.failed_images).tolist() == sorted({5, 6, 7} & used)


def test_a_video_counts_as_one_still() -> None:
    # Three frames of one medium against one still: their mean weighs as much as the still.
    templates = listed([(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 2)], 4)
    values = np.array([[3, 0], [1, 0], [2, 0], [0, 2]], dtype=np.float32)
    np.testing.assert_allclose(pool(embedded(values), templates).unit[0], np.array([1, 1]) / np.sqrt(2), atol=1e-8)
    unit = pool(embedded(values * [[1], [1], [1], [9]]), templates, norm=False).unit[0]
    np.testing.assert_allclose(unit, np.array([1, 1]) / np.sqrt(2), atol=1e-8)
    weighted = replace(templates, quality=np.array([0, 1, 0.5, 1], dtype=np.float32))
    # (0 * 3 + 1 * 1 + 0.5 * 2) / 3 and 2: the detector's scores weigh embeddings, and the divisor stays the number.
    unit = pool(embedded(values), weighted, quality=True).unit[0]
    np.testing.assert_allclose(unit, np.array([2 / 3, 2]) / np.hypot(2 / 3, 2), atol=1e-8)


@pytest.mark.parametrize("rows", [1, 2, 7, 50, 399, 10_000])
@pytest.mark.parametrize("norm", [False, True])
def test_blocks_change_no_bit(case: Case, rows: int, norm: bool) -> None:
    _, templates, values, _, _ = case
    whole = pool(embedded(values), templates, norm=norm, quality=True)
    parts = pool(embedded(values), templates, norm=norm, quality=True, rows=rows)
    assert whole.unit.tobytes() == parts.unit.tobytes()


def test_wanted_templates_alone_are_pooled(case: Case) -> None:
    _, templates, values, _, _ = case
    wanted = np.arange(60) % 3 == 0
    whole, part = pool(embedded(values), templates), pool(embedded(values), templates, wanted)
    assert (part.unit[wanted] == whole.unit[wanted]).all()
    assert part.usable.tolist() == wanted.tolist()
    assert not part.unit[~wanted].any()


def test_templates_without_a_usable_image_or_with_vectors_that_cancel() -> None:
    templates = listed([(0, 0, 0), (1, 1, 0), (2, 1, 1), (3, 2, 0)], 4)
    values = np.array([[np.nan, 1], [1, 0], [-1, 0], [0, 5]])
    found = pool(embedded(values), templates)
    assert found.usable.tolist() == [False, False, True]
    assert found.unit.tolist() == [[0, 0], [0, 0], [0, 1]]
    assert not pool(embedded(np.full((4, 2), np.nan)), templates).usable.any()


def test_pooling_takes_the_memory_of_a_block_from_a_mapped_file(tmp_path: Path) -> None:
    count, size = 120_000, 64
    values = np.lib.format.open_memmap(tmp_path / "e.npy", "w+", np.float32, (count, size))
    values[:] = np.random.default_rng(0).normal(size=(1, size)) + np.arange(count)[:, None] % 7
    values.flush()
    template = np.arange(count) // 60
    rows = np.arange(count, dtype=np.int32)
    templates = TemplateList(("x",) * count, np.arange(2000), rows, template.astype(np.int32), rows // 4)
    embeddings = Embeddings(np.load(tmp_path / "e.npy", mmap_mode="r"))
    tracemalloc.start()
    found = pool(embeddings, templates)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.usable.all()
    # The file is 31 MB, and 61 MB as float64; the result is 1 MB, and the sorted rows some 5 MB.
    assert peak < 18e6


def test_impossible_pooling(case: Case) -> None:
    _, templates, values, _, _ = case
    with pytest.raises(BitfaceError, match="no detector scores to weight images by"):
        pool(embedded(values), replace(templates, quality=None), quality=True)
    with pytest.raises(BitfaceError, match="299 embeddings for 300 images"):
        pool(embedded(values[1:]), templates)


@pytest.mark.parametrize("cells_per_pair", [0, 10**9], ids=["gathered", "multiplied"])
@pytest.mark.parametrize("block", [1, 17, 10_000])
def test_pair_scores_have_the_bits_of_row_scores(
    monkeypatch: pytest.MonkeyPatch, cells_per_pair: int, block: int
) -> None:
    monkeypatch.setattr(pooling, "_CELLS_PER_PAIR", cells_per_pair)
    monkeypatch.setattr(pooling, "_CELLS", 40)
    rng = np.random.default_rng(block)
    first, second = (
        Pooled(*unit_rows(rng.normal(size=(30, 512)), rng.random(30) > 0.1), np.zeros(0, bool)) for _ in range(2)
    )
    left, right = rng.integers(0, 30, (2, 400)).astype(np.int32)
    unit = np.concatenate([side.unit for side in (first, second)])
    usable = np.concatenate([side.usable for side in (first, second)])
    expected = row_scores(unit, usable, left, right + 30)
    assert (expected == -1).any()
    assert pair_scores(first, second, left, right, block).tobytes() == expected.tobytes()


def test_a_vectors_score_with_itself_stays_at_most_one() -> None:
    side = Pooled(*unit_rows(np.random.default_rng(0).normal(size=(50, 100))), np.zeros(0, bool))
    scores = pair_scores(side, side, np.arange(50, dtype=np.int32), np.arange(50, dtype=np.int32))
    assert scores.max() <= 1
    np.testing.assert_allclose(scores, 1, atol=1e-6)


def test_the_result_matches_the_loops(case: Case) -> None:
    rows, templates, values, pairs, _ = case
    result = TemplateProtocol("IJB", templates, pairs).score(embedded(values), fars=FARS)
    pooled = pooled_by_loops(values, rows, [True] * 300, True, None)
    unit, _ = unit_rows([pooled[t] for t in range(60)])
    scores = [float(unit[a] @ unit[b]) for a, b in zip(pairs.left, pairs.right, strict=True)]
    genuine = [s for s, same in zip(scores, pairs.same, strict=True) if same]
    impostor = [s for s, same in zip(scores, pairs.same, strict=True) if not same]
    assert result.summary.auc == pytest.approx(oracles.auc(genuine, impostor), abs=1e-9)
    assert result.summary.eer == pytest.approx(oracles.eer(genuine, impostor), abs=1e-9)
    assert 0.5 < result.summary.auc < 1
    for point in result.summary.tar[:1]:
        threshold, accepted, false = oracles.tar_at_far(genuine, impostor, point.far)
        assert point.threshold == pytest.approx(threshold, abs=1e-7)
        assert (point.accepted, point.false_accepts) == (accepted, false)
    counts = result.summary.counts
    assert (counts.images, counts.genuine, counts.impostor) == (300, 40, 760)
    assert (result.templates, result.failed_templates, counts.failed_pairs) == (60, 0, 0)
    assert result.warnings == ()


def test_figures_and_json(case: Case) -> None:
    _, templates, values, pairs, _ = case
    result = TemplateProtocol("IJB", templates, pairs, quality=True).score(embedded(values), fars=FARS)
    figures = result.figures()
    assert [one.name for one in figures] == ["TAR@FAR 1e-1", "TAR@FAR 1e-2", "TAR@FAR 1e-4", "AUC", "EER"]
    assert figures[0].value == result.summary.tar[0].tar
    # 760 impostor pairs are too few for ten false accepts at 1e-2.
    assert figures[1].value is None
    assert figures[1].reason == "needs at least 1000 impostor pairs, has 760"
    content = json.loads(json.dumps(result.to_json(curve=True), allow_nan=False))
    assert content["pooling"] == {"norm": True, "quality": True}
    assert content["templates"] == 60
    assert "roc" in content
    assert "roc" not in result.to_json()


def test_intervals_are_by_subject_with_or_without_names(case: Case) -> None:
    _, templates, values, pairs, person = case
    rng = np.random.default_rng(3)
    # Some people are hopeless, so that their pairs fail together.
    bad = np.isin(pairs.left, np.arange(0, 20, 4))
    noisy = values.copy()
    for template in np.unique(pairs.left[bad]):
        noisy[templates.image[templates.template == template]] = rng.normal(size=24)
    named = replace(templates, subject=person.astype(np.int32))
    first, second = (
        TemplateProtocol("IJB", one, pairs).score(embedded(noisy), fars=FARS) for one in (templates, named)
    )
    for mine, theirs in zip(first.summary.tar, second.summary.tar, strict=True):
        # Genuine pairs link all templates of a person here, so that the links say what the names say.
        assert (mine.interval is None) == (theirs.interval is None)
        if mine.interval and theirs.interval:
            assert mine.interval.method == theirs.interval.method == "subject bootstrap, threshold fixed"
            assert mine.interval.high - mine.interval.low == pytest.approx(
                theirs.interval.high - theirs.interval.low, abs=0.05
            )
            independent = wilson(mine.accepted, mine.genuine)
            assert mine.interval.low <= independent.low
            assert mine.interval.high - mine.interval.low > 1.1 * (independent.high - independent.low)
    assert first.summary.counts.identities is None
    assert second.summary.counts.identities == 20
    again = TemplateProtocol("IJB", templates, pairs).score(embedded(noisy), fars=FARS)
    assert again.to_json() == first.to_json()
    other = TemplateProtocol("IJB", templates, pairs).score(embedded(noisy), fars=FARS, seed=1)
    assert other.to_json() != first.to_json()


def test_templates_that_pairs_link_through_others_are_one_subject() -> None:
    # Four subjects with 25 genuine pairs each, every one linked with the next: 0-1, 1-2, 2-3, and so on. All pairs of
    # two subjects score 1, all of the others 0, and impostors 0.6. One resample in 16 holds good subjects alone, and
    # one bad ones alone, so that the interval is everything; 100 independent pairs would leave [0.4, 0.6].
    chains = [np.arange(26) + 26 * subject for subject in range(4)]
    templates = listed([(i, i, 0) for i in range(124)], 124)
    values = np.zeros((124, 3))
    values[:52, 0] = 1
    values[52:104:2, 1] = values[53:104:2, 2] = 1
    values[104:114], values[114:] = [1, 0, 0], [0.6, 0.8, 0]
    left = np.concatenate([*(chain[:-1] for chain in chains), np.repeat(np.arange(104, 114), 10)]).astype(np.int32)
    right = np.concatenate([*(chain[1:] for chain in chains), np.tile(np.arange(114, 124), 10)]).astype(np.int32)
    # One of the impostor pairs stands a hundred times more, and decides nothing by that.
    left, right = (np.concatenate((side, np.repeat(side[-1:], 100))) for side in (left, right))
    pairs = TemplatePairs(left, right, np.arange(300) < 100, repeated_impostor=100)
    result = TemplateProtocol("IJB", templates, pairs).score(embedded(values), fars=(0.1,))
    point = result.summary.tar[0]
    assert (point.accepted, point.genuine) == (50, 100)
    assert (point.interval.low, point.interval.high) == (0, 1)
    assert result.warnings[0] == (
        "100 pairs are listed more than once, and count as often, though not as further evidence"
    )


def test_mixed_galleries_take_left_templates_from_the_gallery(case: Case) -> None:
    _, templates, values, pairs, _ = case
    rng = np.random.default_rng(9)
    other = (values + rng.normal(size=values.shape)).astype(np.float32)
    protocol = TemplateProtocol("IJB", templates, pairs)
    mixed = protocol.score(embedded(values), embedded(other), fars=FARS)
    gallery, probe = pool(embedded(values), templates), pool(embedded(other), templates)
    scores = [float(gallery.unit[a] @ probe.unit[b]) for a, b in zip(pairs.left, pairs.right, strict=True)]
    genuine = [s for s, same in zip(scores, pairs.same, strict=True) if same]
    impostor = [s for s, same in zip(scores, pairs.same, strict=True) if not same]
    assert mixed.summary.auc == oracles.auc(genuine, impostor)
    swapped = protocol.score(embedded(other), embedded(values), fars=FARS)
    assert swapped.summary.auc != mixed.summary.auc
    same = protocol.score(embedded(values), embedded(values.copy()), fars=FARS)
    assert same.to_json() == protocol.score(embedded(values), fars=FARS).to_json()
    with pytest.raises(BitfaceError, match="models of different sizes"):
        protocol.score(embedded(values), embedded(other[:, :8]))
    with pytest.raises(BitfaceError, match="299 embeddings for 300 images"):
        protocol.score(embedded(values[1:]))
    with pytest.raises(UsageError, match="FAR"):
        protocol.score(embedded(values), fars=(2.0,))


def test_failures_are_counted_on_their_side_alone(case: Case) -> None:
    rows, templates, values, pairs, _ = case
    valid = np.ones(300, bool)
    # Template 30 stands right only: without its images the probe side lacks it, the gallery side doesn't need it.
    gone = sorted({i for i, t, _ in rows if t == 30})
    valid[gone] = False
    kept = {t for i, t, _ in rows if i not in gone}
    assert 30 not in kept
    assert len(kept) == 59
    result = TemplateProtocol("IJB", templates, pairs).score(embedded(values), embedded(values, valid), fars=FARS)
    assert (result.failed_templates, result.summary.counts.failed_pairs) == (1, 20)
    assert result.warnings[0] == "1 of 60 templates have no usable image; their 20 pairs score -1"
    assert f"{len(gone)} of 300 images have no usable embedding" in result.warnings[1]
    other = TemplateProtocol("IJB", templates, pairs).score(embedded(values, valid), embedded(values), fars=FARS)
    assert (other.failed_templates, other.summary.counts.failed_pairs) == (0, 0)


def test_a_dead_network_is_diagnosed_and_doesnt_crash(case: Case) -> None:
    _, templates, _, pairs, _ = case
    for values in (np.full((300, 4), np.nan), np.zeros((300, 4)), np.ones((300, 4))):
        result = TemplateProtocol("IJB", templates, pairs).score(embedded(values), fars=FARS)
        assert result.warnings
        assert result.summary.auc == 0.5
        assert result.summary.tar[0].tar == 0
        json.dumps(result.to_json(curve=True), allow_nan=False)


def test_from_published_files_to_a_result(tmp_path: Path) -> None:
    # Two people, two templates each; a person's embeddings are the same axis.
    (tmp_path / "media.txt").write_text("1.jpg 10 1\n2.jpg 10 1\n3.jpg 20 5\n4.jpg 30 6\n5.jpg 40 7\n6.jpg 40 8\n")
    (tmp_path / "pairs.txt").write_text("10 30 1\n10 40 0\n20 30 0\n20 40 1\n")
    templates = read_media_list(tmp_path / "media.txt")
    protocol = TemplateProtocol("tiny", templates, read_template_pairs(tmp_path / "pairs.txt", templates))
    values = np.array([[1, 0], [1, 0.1], [0, 1], [1, -0.1], [0.1, 1], [0, 2]], dtype=np.float32)
    result = protocol.score(embedded(values), fars=(0.5,))
    assert protocol.paths == ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg")
    assert (result.summary.auc, result.summary.eer) == (1.0, 0.0)
    assert result.figures()[0].reason == "needs at least 20 impostor pairs, has 2"


def test_far_names() -> None:
    assert [far_name(far) for far in (1e-6, 1e-4, 0.1, 0.05, 2.5e-3)] == ["1e-6", "1e-4", "1e-1", "5e-2", "2.5e-3"]

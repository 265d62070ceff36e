import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import unit_rows, wilson
from bitface.evaluation.lists.templates import SearchList, TemplateList, read_searches
from bitface.evaluation.protocols import open_set
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.galleries import SearchProtocol
from bitface.evaluation.protocols.open_set import Searches, rank_rates, search, tpir_at_fpir
from bitface.evaluation.scores.pooling import Pooled, pool

Case = tuple[SearchList, np.ndarray]

PEOPLE, IMAGES = 60, 6


@pytest.fixture(scope="module")
def case() -> Case:
    """60 people in two galleries (25 and 30; five in none), five probes each, templates numbered in random order."""
    rng = np.random.default_rng(0)
    templates = rng.permutation(PEOPLE * IMAGES)
    subject = templates // IMAGES
    whole = np.arange(PEOPLE * IMAGES, dtype=np.int32)
    listed = TemplateList(
        tuple(f"{i}.jpg" for i in whole), whole.astype(np.int64), whole, whole, whole, subject.astype(np.int32)
    )
    first = np.flatnonzero(templates % IMAGES == 0).astype(np.int32)
    who = subject[first]
    galleries = {"G1": first[who < 25], "G2": first[(who >= 25) & (who < 55)]}
    probes = rng.permutation(np.flatnonzero(templates % IMAGES != 0)).astype(np.int32)
    values = rng.normal(size=(PEOPLE, 16))[subject] + rng.normal(size=(len(subject), 16)) * 1.1
    return SearchList(listed, galleries, probes), values.astype(np.float32)


def searched_by_loops(
    unit: np.ndarray, usable: np.ndarray, probe_unit: np.ndarray, probe_usable: np.ndarray, lists: SearchList, name: str
) -> tuple[list[float], list[int], list[int], list[float]]:
    """Mates' scores and ranks, their subjects, and the best scores of non-mated searches, one comparison at a time."""
    subject = lists.templates.subject
    mated, ranks, whose, best = [], [], [], []
    for probe in lists.probes:
        scores = {}
        for member in lists.galleries[name]:
            score = max(-1.0, min(1.0, float(probe_unit[probe] @ unit[member])))
            scores[int(member)] = score if usable[member] and probe_usable[probe] else -1.0
        mates = [member for member in scores if subject[member] == subject[probe]]
        if not mates:
            best.append(max(scores.values()))
            continue
        mate = scores[mates[0]]
        others = sum(score >= mate for member, score in scores.items() if member != mates[0])
        failed = not (usable[mates[0]] and probe_usable[probe])
        mated.append(mate)
        ranks.append(len(scores) + 1 if failed else 1 + others)
        whose.append(int(subject[probe]))
    return mated, ranks, whose, best


def tpir_by_loops(
    mated: list[float], ranks: list[int], best: list[float], fpir: float, rank: int = 1
) -> tuple[float, float]:
    """Every score is tried as the threshold, from below."""
    for threshold in sorted({*mated, *best}):
        reached = sum(score >= threshold for score in best) / len(best)
        if reached <= fpir:
            hits = sum(score >= threshold and place <= rank for score, place in zip(mated, ranks, strict=True))
            return hits / len(mated), reached
    return 0.0, 0.0


@pytest.mark.parametrize("cells", [1, 100, 1 << 22])
@pytest.mark.parametrize("name", ["G1", "G2"])
def test_searches_match_the_loops(case: Case, monkeypatch: pytest.MonkeyPatch, cells: int, name: str) -> None:
    lists, values = case
    monkeypatch.setattr(open_set, "_CELLS", cells)
    valid = np.random.default_rng(4).random(len(values)) > 0.05
    enrolled = ~np.isin(np.arange(len(values)), lists.galleries[name][:3])
    gallery = pool(Embeddings(values, enrolled), lists.templates)
    probe = pool(Embeddings(values * 2 + 0.1, valid), lists.templates)
    found = search(gallery, lists.galleries[name], probe, lists.probes, lists.templates)
    expected = searched_by_loops(gallery.unit, gallery.usable, probe.unit, probe.usable, lists, name)
    assert [column.tolist() for column in found] == [list(column) for column in expected]
    assert max(expected[1]) == len(lists.galleries[name]) + 1
    assert min(expected[3]) == -1


def test_the_result_matches_the_loops(case: Case) -> None:
    lists, values = case
    result = SearchProtocol("IJB 1:N", lists, fpirs=(0.1, 0.5), ranks=(1, 5, 20)).score(Embeddings(values))
    unit, usable = unit_rows(values)
    named = {}
    for gallery in result.galleries:
        mated, ranks, _, best = searched_by_loops(unit, usable, unit, usable, lists, gallery.name)
        assert (len(mated), len(best)) == ((125, 175) if gallery.name == "G1" else (150, 150))
        for one in gallery.ranks:
            hits = sum(rank <= one.rank for rank in ranks)
            assert (one.rate, one.hits, one.mated) == (hits / len(ranks), hits, len(ranks))
            assert one.interval.low <= min(one.rate, wilson(hits, len(ranks)).low)
        assert [gallery.cmc[rank - 1] for rank in (1, 5, 20)] == [one.rate for one in gallery.ranks]
        assert gallery.cmc[-1] == 1
        assert len(gallery.cmc) == gallery.size
        for point in gallery.points:
            assert (point.tpir, point.reached) == tpir_by_loops(mated, ranks, best, point.fpir)
            assert point.interval.low <= point.tpir <= point.interval.high
            assert point.interval.method == "subject bootstrap, threshold fixed"
        named[gallery.name] = [*(one.rate for one in gallery.ranks), *(one.tpir for one in gallery.points)]
        assert 0 < gallery.points[0].tpir < gallery.points[1].tpir <= gallery.ranks[0].rate < 1
    figures = result.figures()
    labels = ["rank-1", "rank-5", "rank-20", "TPIR@FPIR 1e-1", "TPIR@FPIR 5e-1"]
    assert [one.name for one in figures] == labels + [f"{one} ({name})" for name in ("G1", "G2") for one in labels]
    for index in range(5):
        assert figures[index].value == pytest.approx((named["G1"][index] + named["G2"][index]) / 2, abs=1e-15)
        parts = figures[5 + index].interval, figures[10 + index].interval
        assert figures[index].interval.low == pytest.approx((parts[0].low + parts[1].low) / 2)
        assert figures[index].interval.high == pytest.approx((parts[0].high + parts[1].high) / 2)
        assert figures[index].interval.method.endswith("averaged over galleries")
    assert [one.value for one in figures[5:10]] == named["G1"]
    assert (result.probes, result.failed_templates, result.warnings) == (300, 0, ())


def test_json_is_plain_and_repeats_by_seed(case: Case) -> None:
    lists, values = case
    protocol = SearchProtocol("IJB 1:N", lists)
    first, again, other = (protocol.score(Embeddings(values), seed=seed).to_json(curve=True) for seed in (0, 0, 1))
    assert json.dumps(first, allow_nan=False) == json.dumps(again, allow_nan=False) != json.dumps(other)
    assert [one["name"] for one in first["averaged"]] == [
        "rank-1", "rank-5", "rank-10", "TPIR@FPIR 1e-1", "TPIR@FPIR 1e-2", "TPIR@FPIR 1e-3",
    ]  # fmt: skip
    assert len(first["galleries"][0]["cmc"]) == 25
    assert "cmc" not in protocol.score(Embeddings(values)).to_json()["galleries"][0]


def test_fpirs_that_too_few_searches_decide_are_refused(case: Case) -> None:
    lists, values = case
    result = SearchProtocol("IJB 1:N", lists, fpirs=(0.1, 0.06, 1e-3)).score(Embeddings(values))
    # 10 / 0.06 is 166.7: the 175 non-mated searches of G1 suffice, the 150 of G2 don't.
    assert [one.tpir is None for one in result.galleries[0].points] == [False, False, True]
    assert [one.tpir is None for one in result.galleries[1].points] == [False, True, True]
    assert result.galleries[0].points[2].reason == "needs at least 10000 non-mated searches, has 175"
    averaged = {one.name: one for one in result.figures()[:6]}
    assert averaged["TPIR@FPIR 6e-2"].value is None
    assert averaged["TPIR@FPIR 6e-2"].reason == "gallery G2: needs at least 167 non-mated searches, has 150"
    assert averaged["TPIR@FPIR 1e-1"].value is not None


def test_intervals_are_by_subject(case: Case) -> None:
    lists, values = case
    # Whole people can't be found, so that their searches fail together.
    spoilt = values.copy()
    hopeless = lists.templates.subject % 3 == 0
    spoilt[hopeless] = np.random.default_rng(1).normal(size=(np.count_nonzero(hopeless), 16))
    for gallery in SearchProtocol("IJB 1:N", lists).score(Embeddings(spoilt)).galleries:
        one = gallery.ranks[0]
        independent = wilson(one.hits, one.mated)
        assert one.interval.high - one.interval.low > 1.4 * (independent.high - independent.low)


def test_mixed_galleries(case: Case) -> None:
    lists, values = case
    other = (values + np.random.default_rng(2).normal(size=values.shape)).astype(np.float32)
    result = SearchProtocol("IJB 1:N", lists).score(Embeddings(values), Embeddings(other))
    gallery, probe = unit_rows(values), unit_rows(other)
    for one in result.galleries:
        _, ranks, _, _ = searched_by_loops(*gallery, *probe, lists, one.name)
        assert one.ranks[0].hits == sum(rank == 1 for rank in ranks)
    alike = SearchProtocol("IJB 1:N", lists).score(Embeddings(values), Embeddings(values.copy()))
    assert alike.to_json() == SearchProtocol("IJB 1:N", lists).score(Embeddings(values)).to_json()
    with pytest.raises(BitfaceError, match="models of different sizes"):
        SearchProtocol("IJB 1:N", lists).score(Embeddings(values), Embeddings(other[:, :4]))


def test_failures_are_counted_and_reported(case: Case) -> None:
    lists, values = case
    valid = np.ones(len(values), bool)
    valid[lists.galleries["G1"][:2]] = False
    valid[lists.probes[:3]] = False
    result = SearchProtocol("IJB 1:N", lists).score(Embeddings(values, valid))
    assert result.failed_templates == 5
    assert result.warnings[0].startswith("2 of 55 gallery templates have no usable embedding")
    assert result.warnings[1].startswith("3 of 300 probe templates have no usable embedding")
    assert result.galleries[0].cmc[-1] < 1


@pytest.mark.parametrize("values", [np.full((360, 4), np.nan), np.zeros((360, 4)), np.ones((360, 4))])
def test_a_dead_network_finds_nobody(case: Case, values: np.ndarray) -> None:
    result = SearchProtocol("IJB 1:N", case[0]).score(Embeddings(values))
    assert result.warnings
    assert [one.value for one in result.figures()[:4]] == [0.0, 0.0, 0.0, 0.0]
    json.dumps(result.to_json(curve=True), allow_nan=False)


def by_hand(*rows: tuple[float, int], non_mated: Sequence[float] = (0.1,) * 20) -> Searches:
    mated, rank = zip(*rows, strict=True)
    return Searches(np.array(mated), np.array(rank), np.arange(len(rows), dtype=np.int32), np.array(non_mated))


def test_a_mate_must_come_first_and_reach_the_threshold() -> None:
    searches = by_hand((0.9, 1), (0.8, 2), (0.3, 1), (0.05, 1), non_mated=[0.5, 0.4] + [0.1] * 18)
    one = tpir_at_fpir(searches, [0.5])[0]
    # Of 20 non-mated searches ten may be accepted; 18 tie at 0.1, so that two are. The lowest mate above 0.1 is 0.3.
    assert (one.tpir, one.reached, one.threshold) == (0.5, 0.1, 0.3)
    assert tpir_at_fpir(searches, [0.5], rank=2)[0].tpir == 0.75
    assert [point.fpir for point in tpir_at_fpir(searches, [0.01, 0.5, 0.01])] == [0.01, 0.5, 0.01]


def test_no_non_mated_search_refuses_every_fpir() -> None:
    searches = by_hand((0.9, 1), non_mated=[])
    assert [one.reason for one in tpir_at_fpir(searches, [0.1])] == ["needs at least 100 non-mated searches, has 0"]


def test_nobody_found_at_all() -> None:
    one = tpir_at_fpir(by_hand((-1.0, 3), (-1.0, 3), non_mated=[-1.0] * 20), [0.5])[0]
    assert (one.tpir, one.reached) == (0.0, 0.0)
    assert one.threshold > -1


def test_a_rank_that_a_gallery_cant_miss_is_refused() -> None:
    first, second, third = rank_rates(by_hand((0.9, 1), (0.8, 3)), 3, (2, 3, 10))
    assert (first.rate, second.rate, third.rate) == (0.5, None, None)
    assert second.reason == "needs a gallery of more than 3 templates, has 3"


def test_impossible_requests(case: Case) -> None:
    lists, values = case
    searches = by_hand((0.9, 1))
    for ranks in ((), (0,), (1, -1)):
        with pytest.raises(UsageError, match="ranks are"):
            rank_rates(searches, 5, ranks)
    for fpirs in ((), (0.0,), (1.0,)):
        with pytest.raises(UsageError, match="FAR"):
            tpir_at_fpir(searches, fpirs)
    with pytest.raises(BitfaceError, match="359 embeddings for 360 images"):
        SearchProtocol("IJB 1:N", lists).score(Embeddings(values[1:]))
    side = Pooled(*unit_rows(values), np.zeros(360, bool))
    strangers = lists.probes[lists.templates.subject[lists.probes] >= 55]
    with pytest.raises(BitfaceError, match="no probe shows a subject of the gallery"):
        search(side, lists.galleries["G1"], side, strangers, lists.templates)


def test_from_published_files_to_a_result(tmp_path: Path) -> None:
    head = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT\n"
    (tmp_path / "g1.csv").write_text(head + "1,70,img/1.jpg,1,0,0,9,9\n2,71,img/2.jpg,2,0,0,9,9\n")
    (tmp_path / "probe.csv").write_text(
        head + "5,71,frames/3.png,3,0,0,9,9\n5,71,frames/4.png,3,0,0,9,9\n6,70,img/5.jpg,4,0,0,9,9\n"
        "7,99,img/6.jpg,5,0,0,9,9\n"
    )
    protocol = SearchProtocol("tiny", read_searches({"G1": tmp_path / "g1.csv"}, tmp_path / "probe.csv"), ranks=(1,))
    assert protocol.paths == ("img/1.jpg", "img/2.jpg", "frames/3.png", "frames/4.png", "img/5.jpg", "img/6.jpg")
    # Template 5 is nearer to its mate by the mean of its frames; 6 is nearer to the wrong one.
    values = np.array([[1, 0], [0, 1], [1, 0.5], [0, 4], [0.4, 0.6], [1, 1]])
    (rank, *points) = protocol.score(Embeddings(values)).figures()
    assert (rank.name, rank.value) == ("rank-1", 0.5)
    assert [one.reason for one in points] == [
        f"needs at least {count} non-mated searches, has 1" for count in (100, 1000, 10000)
    ]


def test_failed_images_and_searches_are_counted(case: Case) -> None:
    lists, values = case
    subject = lists.templates.subject
    assert subject is not None
    mated = np.isin(subject, subject[np.concatenate(list(lists.galleries.values()))])
    failed = np.concatenate((lists.probes[~mated[lists.probes]][:3], lists.probes[mated[lists.probes]][:2]))
    valid = np.ones(len(values), bool)
    valid[failed] = False
    result = SearchProtocol("toy", lists).score(Embeddings(values, valid), fars=(0.1,))
    summary = result.verification()
    assert summary is not None
    # Each of the two galleries is searched for all probes; of it every mated one's mate is in one gallery alone.
    galleries = [subject[members] for members in lists.galleries.values()]
    genuine = sum(int(subject[probe] in people) for probe in failed for people in galleries)
    assert (summary.counts.failed_images, summary.failed_genuine) == (5, genuine)
    assert summary.counts.failed_pairs == 2 * len(failed)
    acquired = summary.failure_to_acquire()
    assert acquired is not None
    assert (acquired.errors, acquired.trials) == (5, len(values))

"""One evaluation for every protocol: figures, thresholds found elsewhere, groups, and a baseline."""

import json
from pathlib import Path

import numpy as np
import pytest

from bitface.evaluation.evaluate import Questions, evaluate
from bitface.evaluation.groups import Groups
from bitface.evaluation.protocols.base import FaceProtocol
from bitface.evaluation.scores.similarity import row_scores
from bitface.inputs.protocols import open_protocol
from support.protocol_sets import SPECS, faces, person_of, write_sets

FARS = (0.5, 0.1)
# Of these nothing is known within a group, or at a threshold, or of single decisions.
SILENT = {"distractors": ["single threshold", "one by one", "figures of groups"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("sets"))


def halves(protocol: FaceProtocol, kind: str) -> Groups:
    """Two groups with comparisons of both kinds: impostors are neighbours in the lists, and of two galleries each holds
    one half of the people.
    """
    person = np.array([person_of(path) for path in protocol.paths])
    first = person % 2 == 0 if kind == "galleries" else person < 10
    return Groups({"half": {"one": (person >= 0) & first, "other": ~first}}, 0)


@pytest.mark.parametrize("kind", SPECS)
def test_everything_of_every_protocol(kind: str, base: Path) -> None:
    protocol = open_protocol("mine", SPECS[kind], base).protocol
    model, baseline = faces(protocol, 1.5), faces(protocol, 0.5, seed=2)
    questions = Questions(FARS, 0, [(1e-3, 0.3), (1e-4, 0.6)], halves(protocol, kind))
    found = evaluate(protocol, model, baseline, questions)
    plain = protocol.score(model, fars=FARS)
    assert [one.to_json() for one in found.result.figures()] == [one.to_json() for one in plain.figures()]
    assert found.baseline is not None
    cells = {(cell.gallery, cell.probe) for cell in found.baseline.mixed}
    assert cells == {(a, b) for a in ("baseline", "model") for b in ("baseline", "model")}
    for words in SILENT.get(kind, []):
        assert any(words in note for note in found.notes)
    assert len(found.notes) == len(SILENT.get(kind, []))
    json.dumps([found.baseline.compared(), found.groups_json()], allow_nan=False)
    if kind in SILENT:
        return
    assert [one.target for one in found.stored] == [1e-3, 1e-4]
    assert found.stored[0].rates.tar >= found.stored[1].rates.tar
    groups = found.groups_json()
    assert groups is not None
    assert [row["group"] for row in groups["model"]] == ["one", "other"]
    for row in groups["model"]:
        assert row["figures"], row
        assert row["rates"], row
    if found.baseline.comparison is None:
        shares = {one.name: one.value for one in found.result.figures()}
        for change in found.baseline.changes:
            assert change.interval.low <= change.model - change.baseline <= change.interval.high
            if kind != "videos" or change.name != "accuracy":  # the mean of folds; decisions taken together
                assert change.model == pytest.approx(shares[change.name])
        assert found.baseline.changes


def test_rates_of_a_closed_set_by_hand(base: Path) -> None:
    protocol = open_protocol("mine", SPECS["people"], base).protocol
    model = faces(protocol, 1.5)
    (rates,) = evaluate(protocol, model, questions=Questions(FARS, thresholds=[(0.1, 0.4)])).stored
    people = np.array([person_of(path) for path in protocol.paths])
    enrolled = np.unique(people, return_index=True)[1]
    probes = np.setdiff1d(np.arange(len(people)), enrolled)
    unit, usable = protocol.vectors(model)
    left, right = (rows.ravel() for rows in np.meshgrid(enrolled, probes))
    scores, same = row_scores(unit, usable, left, right), people[left] == people[right]
    assert rates.rates.tar == (scores[same] >= 0.4).mean()
    assert rates.rates.far == (scores[~same] >= 0.4).mean()
    assert (rates.rates.genuine, rates.rates.impostor) == (same.sum(), (~same).sum())


def test_a_model_beside_itself_changes_nothing(base: Path) -> None:
    protocol = open_protocol("mine", SPECS["galleries"], base).protocol
    model = faces(protocol, 1.5)
    beside = evaluate(protocol, model, model, Questions(FARS)).baseline
    assert beside is not None
    assert beside.changes
    for change in beside.changes:
        assert change.mcnemar.flipped == 0
        assert (change.interval.low, change.interval.high) == (0, 0)

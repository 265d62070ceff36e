import json
from typing import Any

import numpy as np
import pytest
from scipy.integrate import trapezoid

from bitface.evaluation import all_pairs
from bitface.report import card, render
from bitface.report.drawings import curves
from bitface.report.drawings.plots import plot
from report.test_page import HOSTILE, Page
from support.report_example import full


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    """The JSON of a verification of 40 people, 4 images each, whom the network tells apart only roughly."""
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(40, 16)), 4, 0) + 1.2 * rng.normal(size=(160, 16))
    return json.loads(json.dumps(all_pairs(rows, np.repeat(np.arange(40), 4), (0.1, 0.01, 1e-6)).to_json(curve=True)))


def test_both_curves_go_through_their_operating_points(summary: dict[str, Any]) -> None:
    roc, det = curves.plots({"series": [{"name": "a", **summary}]})
    assert (roc["x"]["log"], roc["y"]["log"], det["x"]["log"], det["y"]["log"]) == (True, False, True, True)
    supported = [point for point in summary["tar"] if point["tar"] is not None]
    for drawing, value in ((roc, lambda tar: tar), (det, lambda tar: 1 - tar)):
        (one,) = drawing["series"]
        assert [point[:2] for point in one["points"]] == [(p["reached"], value(p["tar"])) for p in supported]
        for far, share, words, (low, high) in one["points"]:
            assert low <= share <= high
            assert "threshold" in words
            # 200 corners are kept: the curve passes close by.
            line = np.array(one["line"])
            assert np.interp(np.log(far), np.log(line[:, 0]), line[:, 1]) == pytest.approx(share, abs=0.01)
        assert min(far for far, _ in one["line"]) == min(far for far in summary["roc"]["far"] if far > 0)
        assert plot(drawing) is not None


def test_what_no_false_accept_costs_begins_the_curve(summary: dict[str, Any]) -> None:
    (one,) = curves.plots({"series": [{"name": "a", **summary}]})[0]["series"]
    free = max(tar for far, tar in zip(summary["roc"]["far"], summary["roc"]["tar"], strict=True) if far == 0)
    assert one["line"][0][1] == free > 0
    assert one["line"][0][0] == one["line"][1][0]


def test_a_perfect_model_has_no_det_curve() -> None:
    series = [{"name": "a", "roc": {"far": [0, 0, 1], "tar": [0, 1, 1], "frr": [1, 0, 0]}, "tar": []}]
    roc, det = (plot(drawing) for drawing in curves.plots({"series": series}))
    assert roc is not None
    assert det is None


def test_scores_are_shares_of_their_own_kind(summary: dict[str, Any]) -> None:
    drawing = curves.scores({"integer": summary["bins"], "baseline": summary["bins"]})
    assert drawing is not None
    names = [one.name for one in drawing.outlines]
    assert names == ["genuine, integer", "genuine, baseline", "impostor, integer", "impostor, baseline"]
    assert len({one.tone for one in drawing.outlines}) == 4
    areas = []
    for one in drawing.outlines:
        corners = np.array([list(map(float, corner.split(","))) for corner in one.points.split()])
        assert 0 <= corners.min() <= corners.max() <= 100
        areas.append(trapezoid(100 - corners[:, 1], corners[:, 0]))
    assert areas == pytest.approx([areas[0]] * 4, rel=1e-2)
    assert f"{summary['counts']['impostor']:,} pairs" in drawing.outlines[2].figures
    empty = {**summary["bins"], "genuine": [0] * 256, "impostor": [0] * 256}
    assert curves.scores({"integer": empty}) is None


def test_the_page_and_the_card_hold_them_and_escape_them(summary: dict[str, Any]) -> None:
    report = full()
    report["curves"] = [{"title": HOSTILE, "series": [{"name": HOSTILE, **summary}]}]
    table = {"title": HOSTILE, "caption": HOSTILE, "columns": [HOSTILE], "rows": [[HOSTILE]]}
    report["models"][0] |= {
        "name": HOSTILE,
        "scores": [{"title": HOSTILE, "sides": {HOSTILE: summary["bins"]}}],
        "figures": [{"name": HOSTILE, "value": 0.9, "interval": {"low": 0.8, "high": 0.95}}],
        "tables": [table],
        "latency": {"median_ms": 1.0, "ratio": None, "note": HOSTILE},
    }
    report["warnings"] = [HOSTILE]
    page = Page(render(report))
    assert not page.all("script")
    assert page.text().count("<script>alert(1)</script>") >= 10
    assert "95.00 %" in page.text()
    written = card.card(report)
    assert "<" not in written
    assert "\x00" not in written
    assert all(line.count("|") >= 2 for line in written.splitlines() if line.startswith("|"))


@pytest.mark.parametrize("word", ["a|b", "`code`", "# title", "<img src=x>", "two\nlines", "a\\|b", "\u202ex"])
def test_text_is_one_cell_of_text(word: str) -> None:
    written = card.text(word)
    assert "\n" not in written
    assert "<" not in written
    assert "\u202e" not in written
    # A bar ends the cell unless an odd number of backslashes stands before it.
    for place, character in enumerate(written):
        if character in "|`":
            before = written[:place]
            assert (len(before) - len(before.rstrip("\\"))) % 2 == 1

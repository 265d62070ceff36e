"""What a card fills in of the EU AI Act's Annex IV, and what it leaves to whoever uses the model."""

from bitface.report.annex_iv import ATTACKS, YOURS, points
from bitface.report.card import card

REPORT = {
    "title": "net w8a8",
    "models": [
        {
            "name": "net w8a8", "bits": "w8a8", "parameters": 1200, "macs": 3_000_000,
            "files": [{"name": "model.bitface", "bytes": 1300}],
            "tables": [{"title": "Groups of people", "columns": ["Group"], "rows": [["age: old"]]}],
        }
    ],
    "warnings": ["one"],
    "provenance": {
        "fingerprint": "f00d", "method": "ptq", "calibration faces (manifest)": "abc", "cpu": "EPYC", "torch": "2.13",
        "evaluated in a.json on": "pairs.csv",
    },
}  # fmt: skip


def test_what_is_measured_is_filled_in_and_the_rest_is_marked() -> None:
    rows = {(point, question): answer for point, question, answer in points(REPORT)}
    answers = {point: [one for (other, _), one in rows.items() if other == point] for point, _ in rows}
    assert answers["1 (a)"] == [f"fingerprint: f00d; purpose and provider: {YOURS}"]
    assert answers["1 (c)"] == ["torch 2.13"]
    assert answers["1 (e)"] == ["tested on EPYC"]
    assert answers["2 (a)"] == ["method: ptq"]
    assert answers["2 (c)"] == ["net w8a8: w8a8, 1,200 parameters, 3,000,000 multiply-adds, model.bitface 1.30\u00a0kB"]
    assert answers["2 (d)"][0].startswith("calibration faces (manifest): abc")
    assert answers["2 (g)"][0].startswith("evaluated in a.json on: pairs.csv")
    assert answers["2 (g)"][1] == "the tables Groups of people and Differences between groups, above"
    assert ATTACKS in answers["3"][0]
    for point in ("1 (b)", "1 (d)", "2 (e)", "5", "6", "7", "8", "9"):
        assert answers[point] == [YOURS]


def test_the_points_are_in_the_order_of_the_annex() -> None:
    order = [point for point, _, _ in points(REPORT)]
    assert order == sorted(order)
    assert {point[0] for point in order} == set("123456789")


def test_nothing_looks_filled_without_results() -> None:
    answers = [answer for _, question, answer in points({"title": "x", "models": [{"name": "x"}]})]
    assert answers.count(YOURS) >= 15
    assert "not measured (bitface evaluate --groups)" in answers


def test_the_card_has_the_section_where_it_is_of_a_model() -> None:
    text = card(REPORT)
    assert "## Technical documentation (EU AI Act, Annex IV)" in text
    assert "not tested" in text
    assert "Annex IV" not in card({"title": "x"})

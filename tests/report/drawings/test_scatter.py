import pytest

from bitface.report.drawings.scatter import scatter

POINTS = [
    {"number": 1, "name": "a", "x": 4_000_000, "y": 0.98, "interval": {"low": 0.97, "high": 0.99}, "best": True},
    {"number": 2, "name": "b", "x": 1_000_000, "y": 0.95, "interval": None, "best": True},
    {"number": 3, "name": "c", "x": 3_000_000, "y": 0.90, "interval": {"low": 0.9, "high": 0.9}, "best": False},
]


def test_places() -> None:
    drawn = scatter({"unit": "bytes", "of": "TAR", "points": POINTS})
    assert drawn is not None
    assert "TAR (%) against MB" in drawn.title
    right = max(float(text) / position * 100 for position, text in drawn.across[1:])
    assert [spot.left for spot in drawn.spots] == pytest.approx([100 * mega / right for mega in (4, 1, 3)], abs=0.01)
    first, second, third = drawn.spots
    assert first.high < first.top < first.low  # from the top
    assert second.high == second.top == second.low
    assert first.top < second.top < third.top <= 100
    # A staircase from the cheapest: to the right, then up.
    assert drawn.steps == ((second.left, second.top), (first.left, second.top), (first.left, first.top))
    assert "not beaten: a, b" in drawn.summary


def test_one_point_and_none() -> None:
    alone = scatter({"unit": "ms", "of": "accuracy", "points": [{**POINTS[1], "y": 1.0}]})
    assert alone is not None
    assert 0 <= alone.spots[0].top <= 100
    assert scatter({"unit": "ms", "of": "accuracy", "points": [{**POINTS[1], "y": None}]}) is None

import numpy as np
import pytest

from bitface.analysis.distributions import distributions


@pytest.mark.parametrize(("low", "high"), [(0, 0.3), (0, 5), (60, 118), (0, 180), (89.9, 90.1), (0, 0)])
def test_every_value_is_in_its_bin(low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    groups = {"a": np.append(rng.uniform(low, high, 300), [low, high]), "b": rng.uniform(low, high, 50)}
    found = distributions(groups)
    for name, values in groups.items():
        one = found[name]
        assert (one["low"], one["width"], len(one["counts"])) == (
            found["a"]["low"], found["a"]["width"], len(found["a"]["counts"]),
        )  # fmt: skip
        places = np.floor((values - one["low"]) / one["width"])
        assert places.min() >= 0
        assert places.max() < len(one["counts"])
        assert one["counts"] == [int((places == place).sum()) for place in range(len(one["counts"]))]
        assert one["mean"] == pytest.approx(values.mean())
        assert one["count"] == len(values)
    assert len(found["a"]["counts"]) <= 62


def test_missing_values_and_empty_groups_are_left_out() -> None:
    found = distributions({"a": np.array([1.0, np.nan]), "b": np.array([np.nan]), "c": np.array([])})
    assert set(found) == {"a"}
    assert found["a"]["count"] == 1
    assert distributions({}) == {}

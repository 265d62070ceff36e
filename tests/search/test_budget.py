import pytest

from bitface.errors import UsageError
from bitface.search.budget import BITS, BYTES, TIME, Budget


@pytest.mark.parametrize(
    ("word", "axis", "value"),
    [
        ("400KB", BYTES, 400_000),
        ("400 kb", BYTES, 400_000),
        ("1.5MB", BYTES, 1_500_000),
        ("2KiB", BYTES, 2048),
        ("123B", BYTES, 123),
        ("3.5bits", BITS, 3.5),
        (".5ms", TIME, 0.5),
    ],
)
def test_budgets(word: str, axis: str, value: float) -> None:
    assert (Budget.parse(word).axis, Budget.parse(word).value) == (axis, pytest.approx(value))


@pytest.mark.parametrize("word", ["400", "400GBs", "KB", "", "-3bits", "0ms", "3,5bits", "nanms", "1e3KB", "x"])
def test_no_budgets(word: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        Budget.parse(word)


def test_an_unknown_unit_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'bits'"):
        Budget.parse("3bit")


def test_labels_sort() -> None:
    budget = Budget.parse("400KB")
    labels = [budget.label(value, 2e6) for value in (40e3, 400e3, 1.2e6)]
    assert labels == sorted(labels) == ["0040KB", "0400KB", "1200KB"]

import pytest

from bitface.report import format

NBSP = "\N{NO-BREAK SPACE}"


def spaced(text: str) -> str:
    return text.replace(NBSP, " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_499, "999 kB"),
        (999_999, "1.00 MB"),
        (38_696_353, "38.7 MB"),
        (2_500_000_000, "2.50 GB"),
        (3e15, "3,000 TB"),
        (None, "–"),
        (float("nan"), "–"),
        (True, "–"),
    ],
)
def test_size(value: float | None, text: str) -> None:
    assert spaced(format.size(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9953, "99.53 %"),
        (1.0, "100.00 %"),
        (0.0, "0.00 %"),
        (0.99997, "99.997 %"),
        (0.999999, "99.9999 %"),
        (0.00001, "0.001 %"),
        (-0.05, "-5.00 %"),
        (None, "–"),
        (float("inf"), "–"),
    ],
)
def test_percent_never_rounds_to_all_or_nothing(value: float | None, text: str) -> None:
    assert spaced(format.percent(value)) == text


def test_unit_keeps_what_is_missing_to_one() -> None:
    assert [format.unit(value) for value in (0.98765, 0.99997, 1.0, 0.99999, -0.25, None)] == [
        "0.9877", "0.99997", "1.0000", "0.99999", "-0.2500", "–"
    ]  # fmt: skip


def test_spread_and_interval() -> None:
    assert spaced(format.spread(0.9953, 0.0031)) == "99.53 ± 0.31 %"
    assert spaced(format.spread(0.9953, None)) == "99.53 %"
    assert format.spread(None, None) == "–"
    assert spaced(format.interval({"low": 0.9913, "high": 0.998})) == "99.13–99.80 %"
    assert spaced(format.interval({"low": 0.9913, "high": 0.99999})) == "99.130–99.999 %"
    assert format.interval(None) == format.interval({}) == format.interval({"low": None, "high": 1}) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(1e-4, "1e-4"), (0.1, "1e-1"), (5e-3, "5e-3"), (2.5e-7, "2.5e-7"), (None, "–")]
)
def test_far(value: float | None, text: str) -> None:
    assert format.far(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04567, "0.0457"), (2.218, "2.22"), (9.996, "10.0"), (84.12, "84.1"), (1234.5, "1,230"), (0, "0.00")],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert format.number(value) == text
    assert format.milliseconds(value) == f"{text}{NBSP}ms"
    assert format.ratio(value) == f"{text}×"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4213, "0.421 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (None, "–"),
    ],
)
def test_duration(value: float | None, text: str) -> None:
    assert spaced(format.duration(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2026-03-14", "2026-03-14"),
        ("2026-03-14T09:26:53+00:00", "2026-03-14 09:26 UTC"),
        ("2026-03-14T09:26:53+02:00", "2026-03-14 09:26 UTC+02:00"),
        ("2026-03-14T09:26", "2026-03-14 09:26"),
        ("yesterday", "yesterday"),
    ],
)
def test_date(value: str, text: str) -> None:
    assert format.date(value) == text


def test_plain() -> None:
    value = {"per_channel": True, "bits": [8, 4.5, None], "none": {}, "seed": 1234567}
    assert format.plain(value) == "per channel: yes, bits: 8, 4.5, –, none: –, seed: 1234567"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (4_213_000, "4.21 M"), (999_999, "1.00 M"), (2.5e9, "2.50 G"),
     (None, "–")],
)  # fmt: skip
def test_amount(value: float | None, text: str) -> None:
    assert format.amount(value).replace("\N{NO-BREAK SPACE}", " ") == text


def test_the_unit_of_a_size_is_the_one_it_is_written_in() -> None:
    assert format.size_unit(999) == (1, "B")
    assert format.size_unit(999_999) == (1e6, "MB")
    assert format.size_unit(4_200) == (1e3, "kB")

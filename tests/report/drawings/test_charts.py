import numpy as np
import pytest

from bitface.report.drawings import charts


def test_bars_start_at_zero() -> None:
    assert charts.shares([4, 1, None, float("nan"), 2]) == [100, 25, 0, 0, 50]
    assert charts.shares([]) == []
    assert charts.shares([0, None]) == [0, 0]


@pytest.mark.parametrize(("width", "most", "step"), [(1, 4, 0.5), (1, 5, 0.2), (0.0124, 40, 0.0005), (2, 40, 0.05)])
def test_round_step(width: float, most: int, step: float) -> None:
    assert charts.round_step(width, most) == pytest.approx(step)


@pytest.mark.parametrize("lowest", [0.99991, 0.9876, 0.97, 0.5, 0.0, -0.3, -1.0, 1.0])
def test_histogram_holds_every_value_on_a_round_axis(lowest: float) -> None:
    values = np.linspace(lowest, 1.0, 317).tolist()
    low, high = charts.cosine_range([values])
    assert low <= lowest + 1e-9
    assert high == 1.0
    drawing = charts.histogram(values, (low, high), marker=values[3])
    assert drawing is not None
    assert 1 <= 100 / drawing.width <= 41
    lefts = [column.left for column in drawing.columns]
    assert min(lefts) >= 0
    assert max(lefts) + drawing.width <= 100.01
    assert max(column.height for column in drawing.columns) == 100
    assert drawing.marker is not None
    assert 0 <= drawing.marker <= 100
    assert len(drawing.ticks) >= 2 or lowest == 1.0
    assert drawing.ticks[-1] == (100, drawing.ticks[-1][1])
    assert float(drawing.ticks[-1][1]) == 1.0


def test_histogram_counts_by_an_independent_rule() -> None:
    values = np.random.default_rng(0).uniform(0.9, 1.0, 500)
    low, high = charts.cosine_range([values.tolist()])
    drawing = charts.histogram(values.tolist(), (low, high))
    assert drawing is not None
    expected, _ = np.histogram(values, bins=round(100 / drawing.width), range=(low, high))
    assert [column.height for column in drawing.columns] == pytest.approx(
        100 * expected[expected > 0] / expected.max(), abs=1e-3
    )


def test_histogram_of_nothing() -> None:
    assert charts.histogram([], charts.cosine_range([])) is None
    assert charts.histogram([float("nan")], (0.0, 1.0)) is None


def test_rounding_beyond_one_stays_in_the_last_bin() -> None:
    drawing = charts.histogram([0.95, 1.0000001], (0.95, 1.0))
    assert drawing is not None
    assert drawing.columns[-1].left + drawing.width == pytest.approx(100)


def layer(weight: int | None, activation: int | None, parameters: int) -> dict[str, object]:
    return {"name": "l", "weight_bits": weight, "activation_bits": activation, "parameters": parameters}


def test_strip_is_drawn_by_parameters_and_counted_by_bits() -> None:
    strip = charts.strip([layer(8, 8, 100), layer(4, 8, 600), layer(4, 8, 300), layer(32, 32, 0)])
    assert [cell.width for cell in strip.cells] == [6, 36, 18, 0]
    assert [(kind.tone, kind.bits, kind.layers, kind.share) for kind in strip.kinds] == [
        ("b8", "w8a8", 1, 0.1),
        ("b4", "w4a8", 2, 0.9),
        ("float", "w32a32", 1, 0),
    ]
    assert strip.summary == "Bit plan of 4 layers in the order of the network: 1 w8a8, 2 w4a8, 1 w32a32"


def test_the_largest_cell_fits_into_a_line() -> None:
    strip = charts.strip([layer(8, 8, 1)] * 50 + [layer(8, 8, 950)])
    assert max(cell.width for cell in strip.cells) == 60


def test_strip_without_parameters() -> None:
    strip = charts.strip([layer(8, None, None), layer(None, 8, None)])
    assert [cell.width for cell in strip.cells] == [0, 0]
    assert [(kind.bits, kind.share) for kind in strip.kinds] == [("w8a–", None), ("w–a8", None)]

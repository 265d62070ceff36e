from bitface.search.pareto import alike, pareto_front


def test_nobody_cheaper_is_better() -> None:
    assert pareto_front([1, 2, 3, 2], [0.5, 0.9, 0.9, 0.7]) == [True, True, False, False]
    assert pareto_front([1, 1], [0.5, 0.5]) == [True, True]  # equals don't beat each other
    assert pareto_front([1, 1], [0.5, 0.6]) == [False, True]


def test_costs_that_are_nearly_the_same() -> None:
    assert alike([100, 300, 109, 111, 320]) == [[0, 2], [1, 4]]
    assert alike([1, 2, 4]) == []

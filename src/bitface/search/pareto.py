"""Which of several networks are worth having: none is better that costs no more."""

from collections.abc import Sequence


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """Whether each is on the Pareto front: no other costs no more and gains no less, and differs in one of them."""
    points = list(zip(costs, gains, strict=True))
    return [
        not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
        for point in points
    ]


def alike(costs: Sequence[float], tolerance: float = 0.1) -> list[list[int]]:
    """Those of nearly equal costs, as lists of at least two places, the cheapest lists first.

    Everything in a list costs at most `tolerance` more than the cheapest in it.
    """
    lists: list[list[int]] = []
    for place in sorted(range(len(costs)), key=lambda one: costs[one]):
        if lists and costs[place] <= costs[lists[-1][0]] * (1 + tolerance):
            lists[-1].append(place)
        else:
            lists.append([place])
    return [places for places in lists if len(places) > 1]

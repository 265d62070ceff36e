from functools import partial
from pathlib import Path

from bitface.search.measured_plans import Figures, MeasuredPlans
from bitface.search.sweep import SweptNetwork
from support.quantized import Mixed, faces, network


def measured(value: float) -> Figures:
    return {"agreement": value}


def test_a_plan_of_another_convention_is_measured_again(tmp_path: Path) -> None:
    first, second, third = (faces(4, 16, seed=seed) for seed in range(3))
    experiment = SweptNetwork(network(Mixed(), 16), first, second, third, "real", [], [])
    found = []
    for number, channels in enumerate((4, 8, 4)):
        plans = MeasuredPlans(tmp_path, experiment, f"channels {channels}")  # as by a search that goes on
        found.append(plans.figures("judged", (4, 4), partial(measured, float(number)))["agreement"])
    assert found == [0, 1, 0]

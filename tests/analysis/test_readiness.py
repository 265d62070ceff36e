from pathlib import Path

import pytest
import torch
from torch import nn

from bitface.analysis.readiness import as_integers, readiness, stays_float, tried
from bitface.errors import BitfaceError
from bitface.graph import Network
from bitface.quant import BitPlan
from support.quantized import faces, network


class Partly(nn.Module):
    """Two layers, a sigmoid that no engine computes in integers, and a product of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.fc = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 1), nn.Linear(8 * 49, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).relu()
        result: torch.Tensor = self.fc((x * self.gate(x).sigmoid()).flatten(1))
        return result


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    return network(Partly(), 16)


def test_layers_are_counted_by_target(net: Network) -> None:
    student = as_integers(net)
    for facts in readiness(student):
        assert (facts.layers, facts.in_integers, facts.share) == (3, 3, 1.0)
        assert facts.obstacle is facts.agreement is facts.failure is None
    (simulation,) = readiness(student, ["torch"])
    assert (simulation.in_integers, simulation.share) == (0, 0.0)
    assert {kind for entry in stays_float(student) for kind in entry["kinds"]} <= {"Mul", "Sigmoid"}


def test_what_a_plan_leaves_in_float_is_not_counted(net: Network) -> None:
    student = as_integers(net, faces(4, 16), BitPlan.from_json({"bits": "w8a8", "layers": {"*gate*": "w32a32"}}))
    products = {"conv": 7 * 7 * 8 * 27, "gate": 7 * 7 * 8 * 8, "fc": 4 * 8 * 49}
    for facts in readiness(student):
        assert (facts.layers, facts.in_integers) == (3, 2)
        assert facts.share == pytest.approx(1 - products["gate"] / sum(products.values()))
    assert any("the plan leaves" in entry["reason"] for entry in stays_float(student))


def test_wide_activations_are_held_and_not_computed_in_integers(net: Network) -> None:
    openvino, onnxruntime = readiness(as_integers(net, plan=BitPlan.parse("w8a16")))
    assert openvino.obstacle
    assert onnxruntime.obstacle is None
    assert onnxruntime.in_integers == 0


def test_it_is_written_and_run(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    student = as_integers(net)
    for facts in readiness(student):
        after = tried(student, facts)
        assert after.failure is None
        assert after.agreement is not None
        assert after.agreement > 0.99

    def refuse(name: str, network: Network, facts: dict[str, str], path: Path) -> None:
        raise BitfaceError("no room on the disk")

    monkeypatch.setattr("bitface.analysis.readiness.write", refuse)
    assert tried(student, readiness(student)[0]).failure == "no room on the disk"

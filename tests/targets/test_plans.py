"""Plans as targets hold them, and what is refused before anything is computed."""

from pathlib import Path

import pytest

from bitface.errors import UsageError
from bitface.quant import BitPlan
from bitface.targets import TARGETS, Holds, Target
from bitface.targets.plans import for_targets

WITHOUT_SUMS = Holds(unsigned=False, zero_points=False, weight_zero_points=False, fewer_bits=False, sums=False)


def emit(network: object, facts: object, path: Path) -> None:
    raise AssertionError("nothing is written")


@pytest.fixture(autouse=True)
def targets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "torch" in TARGETS  # ours come first
    monkeypatch.setitem(TARGETS._things, "signed", Target(title="Signed", holds=WITHOUT_SUMS, emit=emit))
    monkeypatch.setitem(TARGETS._things, "level", Target(title="Level", holds=Holds(zero_points=False), emit=emit))


def test_without_targets_the_default_ones_change_nothing() -> None:
    assert for_targets(BitPlan(), ()) == (BitPlan(), ("openvino", "onnxruntime"), [])
    plan, names, notes = for_targets(BitPlan.parse("w8a16"), ())
    assert (plan, names) == (BitPlan.parse("w8a16"), ("onnxruntime",))
    assert notes[0] == "not written for OpenVINO, which has no activations of 16 bits"


def test_the_strictest_decides_and_it_is_said() -> None:
    plan, names, notes = for_targets(BitPlan(), ("openvino", "level", "signed"))
    assert names == ("openvino", "level", "signed")
    assert (plan.activations, str(plan.sums)) == ("signed", "w32a32")
    assert notes == [
        "activations are symmetric and signed, as Signed has no others",
        "sums are in floating point, as in Signed",
    ]
    plan, _, notes = for_targets(BitPlan(), ("openvino", "level"))
    assert (plan.activations, plan.sums) == ("symmetric", None)
    assert notes == ["activations are symmetric, as Level has no zero points"]


def test_what_a_plan_says_of_sums_stays() -> None:
    plan = BitPlan.from_json({"bits": "w8a8", "sums": "w8a8"})
    assert str(for_targets(plan, ("signed",))[0].sums) == "w8a8"
    assert BitPlan.from_json(plan.to_json()) == plan
    assert "sums" not in BitPlan().to_json()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"activations": "asymmetric"}, "the target 'signed' has no zero points, and the plan's activations are asym"),
        ({"weights": {"symmetric": False}}, "the target 'signed' has no weights with zero points"),
        ({"bits": "w4a4"}, "the target 'signed' has no activations of 4 bits, only of 8"),
        ({"bits": "w8a16"}, "the target 'signed' has no activations of 16 bits, at most 8"),
    ],
)
def test_what_a_plan_says_outright_is_refused(plan: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        for_targets(BitPlan.from_json(plan), ("signed",))


def test_unknown_targets() -> None:
    with pytest.raises(UsageError, match="unknown target 'sgned'; did you mean 'signed'"):
        for_targets(BitPlan(), ("sgned",))
    with pytest.raises(UsageError, match="'torch' isn't written as a file"):
        for_targets(BitPlan(), ("torch",))

"""The plans of a search: what is written of each."""

from dataclasses import asdict, dataclass, field
from typing import Any

from bitface.analysis.probe import Probe
from bitface.artifact.packing import packed_size
from bitface.graph import ops
from bitface.quant import BitPlan
from bitface.quant.plan import FLOAT, escaped
from bitface.search.budget import Budget

# (weights or activations, name, bits) → cost
Costs = dict[tuple[str, str, int], float]


@dataclass
class Front:
    """Plans by their file names, the rows that describe them, and uniform ones beside them."""

    plans: dict[str, BitPlan] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    uniform: list[dict[str, Any]] = field(default_factory=list)
    layers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    best: str = ""
    notes: list[str] = field(default_factory=list)

    def add(self, file: str, plan: BitPlan, row: dict[str, Any], layers: list[dict[str, Any]]) -> None:
        """A plan; one of the same name gives way."""
        self.plans[file], self.layers[file] = plan, layers
        self.rows = [one for one in self.rows if one["file"] != file] + [{**row, "file": file}]

    def summary(self, budget: Budget, notes: list[str]) -> dict[str, Any]:
        """The part of `result.json` that says what was found."""
        return {
            "budget": asdict(budget),
            "front": self.rows,
            "uniform": self.uniform,
            "best": next(row for row in self.rows if row["file"] == self.best),
            "layers": self.layers[self.best],
            "notes": [*notes, *self.notes],
        }


def weights_of(probe: Probe) -> dict[str, int]:
    """Layer → number of weights, in the network's order."""
    return {step.name: step.module.weight.numel() for step in probe.walk.steps if isinstance(step.module, ops.LAYERS)}


def probe_layers(probe: Probe) -> list[str]:
    """Everything that a plan knows, in the network's order."""
    return [layer.name for layer in probe.student.layers]


def edges(probe: Probe) -> set[str]:
    """The layers that read the image and that write the embedding."""
    return {layer.name for layer in probe.student.layers if layer.reason in ("first layer", "last layer")}


def weight_bytes(count: int, bits: int) -> int:
    """Bytes of so many weights as an artifact stores them."""
    return 4 * count if bits == FLOAT else packed_size(count, bits)


def layer_rows(plan: BitPlan, probe: Probe, sizes: dict[str, int]) -> list[dict[str, Any]]:
    """The layers of a plan as the report draws them."""
    bits = dict(plan.layers)
    rows = []
    for layer in probe.student.layers:
        own, count = bits.get(escaped(layer.name), plan.sums or plan.bits), sizes.get(layer.name, 0)
        rows.append(
            {
                "name": layer.name,
                "kind": layer.kind,
                "weight_bits": own.weight if count else None,
                "activation_bits": own.activation,
                "reason": "search",
                "parameters": count,
                "bytes": weight_bytes(count, own.weight),
            }
        )
    return rows

"""The bit plan: which layer gets how many bits, and why. `w4a8` is its shortest form, a YAML file the longest.

Below 8 bits there are two conventions, which figures are only comparable within. `w4a4` is strict: every tensor that a
layer or an addition reads, and every weight. `w4a4s8` leaves the sums of residual streams and the weights of depthwise
layers at 8 bits, as most papers do, which costs no bytes for the one and few for the other.
"""

import difflib
import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from bitface.config import File, Name, check, named
from bitface.errors import UsageError
from bitface.files import read_yaml

FLOAT = 32
_NUMBERS = re.compile(r"#(\d{1,6})(?:-(\d{1,6}))?")
_BITS = re.compile(r"w(\d{1,2})a(\d{1,2})")
_SIDES = re.compile(r"(.*)s(\d{1,2})")
_WITH_WEIGHTS = ("Conv", "Linear")


@dataclass(frozen=True)
class LayerBits:
    """Bits of a layer's weights and of the activations it reads; 32 stands for floating point."""

    weight: int
    activation: int

    def __str__(self) -> str:
        return f"w{self.weight}a{self.activation}"

    @staticmethod
    def parse(word: str, allow_float_weights: bool = False) -> "LayerBits":
        """`w4a8` and the like: weights of 1 to 8 bits, activations of 2 to 8, 16 or 32.

        Raises:
            UsageError: anything else.
        """
        match = _BITS.fullmatch(str(word).strip().lower())
        weight, activation = (int(digits) for digits in match.groups()) if match else (0, 0)
        weights = {*range(1, 9), FLOAT} if allow_float_weights else {*range(1, 9)}
        if weight not in weights or activation not in {*range(2, 9), 16, FLOAT}:
            raise UsageError(
                f"unknown bits '{word}': write w8a8, w6a6, w4a8, w4a4, … with weights of 1 to 8 bits and activations "
                "of 2 to 8 or 16 bits, or a32 for float activations; w4a4s8 leaves sums and depthwise layers at 8"
            )
        return LayerBits(weight, activation)


class Layer(NamedTuple):
    """What a plan has to know of a layer, or of an operator on two tensors.

    Attributes:
        first, last: it reads the image, or writes the embedding.
        depthwise: a convolution of each channel by itself.
    """

    name: str
    kind: str
    first: bool = False
    last: bool = False
    depthwise: bool = False


@dataclass(frozen=True)
class PlannedLayer:
    """What the plan gives one layer, and the rule that says so."""

    name: str
    kind: str
    bits: LayerBits
    reason: str


@dataclass(frozen=True)
class BitPlan:
    """Bits for every layer, and how they are laid out.

    Attributes:
        bits: of every layer that no other rule names.
        first, last: of the layers that read the image and that write the embedding; None: like the rest.
        layers: glob pattern over layer names → bits, or `#3-17`: the third to the seventeenth layer with weights, in
            the network's order, with the additions behind them. The first that fits wins, before every other rule.
        weights_symmetric: no zero point in the weights.
        weights_per_channel: one scale for each output channel.
        sums: of additions, and of other operators on two tensors; None: like the rest.
        depthwise: of convolutions of each channel by itself; None: like the rest.
        activations: `symmetric`, `asymmetric`, or `auto`: symmetric from 8 bits (which engines run fastest),
            asymmetric below (where no level can be spared). All of them are unsigned without a zero point where a
            tensor can't be negative; with `signed` they are symmetric and signed even there.
    """

    bits: LayerBits = LayerBits(8, 8)
    first: LayerBits | None = LayerBits(8, 8)
    last: LayerBits | None = LayerBits(8, 8)
    layers: tuple[tuple[str, LayerBits], ...] = ()
    weights_symmetric: bool = True
    weights_per_channel: bool = True
    activations: str = "auto"
    sums: LayerBits | None = None
    depthwise: LayerBits | None = None

    @property
    def word(self) -> str:
        """The bits of most layers and the convention, such as w4a4 or w4a4s8; what else a plan says isn't in it.

        Weights of depthwise layers belong to the convention, unless the plan gives layers their bits by name.
        """
        sides = self.sums.activation if self.sums else None
        named = self.layers and not self.depthwise
        return f"{self.bits}s{sides}" if sides and (named or self == self.with_sides(sides)) else str(self.bits)

    def with_sides(self, bits: int) -> "BitPlan":
        """The plan with sums, and weights of depthwise layers, of so many bits, as `s8` at the end of a word says."""
        return replace(self, sums=LayerBits(min(bits, 8), bits), depthwise=LayerBits(bits, self.bits.activation))

    @property
    def activation_widths(self) -> set[int]:
        """The bits that integers of activations get anywhere."""
        layer_bits = [self.bits, self.first, self.last, self.sums, self.depthwise, *(bits for _, bits in self.layers)]
        return {bits.activation for bits in layer_bits if bits and bits.activation != FLOAT}

    @property
    def widest_activation(self) -> int:
        """The most of them; 0: all activations are in floating point."""
        return max(self.activation_widths, default=0)

    @staticmethod
    def parse(word: str | Path) -> "BitPlan":
        """A plan from its short form (`w4a8`, `w4a4s8`) or from a YAML file.

        Raises:
            UsageError: unknown bits, an unreadable file, an unknown key (the nearest known one is named).
        """
        if str(word).lower().endswith((".yaml", ".yml")):
            with named(Path(word)):
                return BitPlan.from_json(read_yaml(Path(word), "bit plan"))
        return BitPlan.from_json({"bits": word})

    def with_edges(self, first: str | None = None, last: str | None = None) -> "BitPlan":
        """The plan with other bits for the first or the last layer; `plan` means like the rest, None as it was.

        Raises:
            UsageError: unknown bits.
        """

        def edge(word: str | None, current: LayerBits | None) -> LayerBits | None:
            return current if word is None else None if word == "plan" else LayerBits.parse(word, True)

        return replace(self, first=edge(first, self.first), last=edge(last, self.last))

    def resolve(self, layers: Sequence[Layer]) -> list[PlannedLayer]:
        """The bits of each layer, in the order of the network.

        Raises:
            UsageError: a pattern fits no layer.
        """
        names = [layer.name for layer in layers]
        numbers = list(accumulate(layer.kind in _WITH_WEIGHTS for layer in layers))
        for pattern, _ in self.layers:
            if not any(_fits(pattern, name, number) for name, number in zip(names, numbers, strict=True)):
                near = difflib.get_close_matches(pattern, names, 1, 0.3)
                hint = f"; the nearest is '{near[0]}'" if near else ""
                raise UsageError(f"the plan names '{pattern}', which is no layer of this network{hint}")
        return [
            PlannedLayer(layer.name, layer.kind, *self._of(number, layer))
            for number, layer in zip(numbers, layers, strict=True)
        ]

    def _of(self, number: int, layer: Layer) -> tuple[LayerBits, str]:
        for pattern, bits in self.layers:
            if _fits(pattern, layer.name, number):
                return bits, f"pattern {pattern}"
        if layer.first and self.first:
            return self.first, "first layer"
        if layer.last and self.last:
            return self.last, "last layer"
        if self.sums and layer.kind not in _WITH_WEIGHTS:
            return self.sums, "sums"
        if self.depthwise and layer.depthwise:
            return self.depthwise, "depthwise"
        return self.bits, "plan"

    def to_json(self) -> dict[str, Any]:
        """The plan in the keys of its YAML form."""
        return {
            "bits": str(self.bits),
            "first": str(self.first) if self.first else None,
            "last": str(self.last) if self.last else None,
            "layers": {pattern: str(bits) for pattern, bits in self.layers},
            "weights": {"symmetric": self.weights_symmetric, "per_channel": self.weights_per_channel},
            "activations": self.activations,
            **{key: str(bits) for key, bits in (("sums", self.sums), ("depthwise", self.depthwise)) if bits},
        }

    @staticmethod
    def from_json(value: Any) -> "BitPlan":
        """A plan from the keys of its YAML form. Raises UsageError."""
        plan = check(value, PlanFile, "the plan")
        bits, sides = plan.bits
        edge = LayerBits(8, max(8, bits.activation))
        layout = plan.weights or WeightLayout()
        result = BitPlan(
            bits=bits,
            first=plan.first if "first" in plan.model_fields_set else edge,
            last=plan.last if "last" in plan.model_fields_set else edge,
            layers=tuple((plan.layers or {}).items()),
            weights_symmetric=layout.symmetric,
            weights_per_channel=layout.per_channel,
            activations=plan.activations,
        )
        result = result.with_sides(sides) if sides else result
        return replace(result, sums=plan.sums or result.sums, depthwise=plan.depthwise or result.depthwise)


def _word(word: str) -> tuple[LayerBits, int | None]:
    """The bits of a word such as `w4a4` or `w4a4s8`, and those of sums and depthwise layers.

    Raises:
        UsageError: it is none.
    """
    match = _SIDES.fullmatch(str(word).strip().lower())
    if not match:
        return LayerBits.parse(word), None
    sides = int(match[2])
    if sides not in range(2, 9):
        raise UsageError(f"unknown bits '{word}': sums and depthwise layers have 2 to 8, as in w4a4s8")
    return LayerBits.parse(match[1]), sides


def _layers(value: Any) -> Any:
    if not isinstance(value, dict | None):
        raise UsageError("'layers' of the plan must map patterns to bits, such as 'features.*: w4a8'")
    return value


_WORD = WithJsonSchema({"type": "string", "pattern": "^[wW][0-9]+[aA][0-9]+$"})
_PLAN_WORD = WithJsonSchema({"type": "string", "pattern": "^[wW][0-9]+[aA][0-9]+([sS][0-9]+)?$"})
Bits = Annotated[tuple[LayerBits, int | None], PlainValidator(_word), _PLAN_WORD]
# Of a layer that is named: its weights may stay in floating point.
OwnBits = Annotated[LayerBits, PlainValidator(lambda word: LayerBits.parse(word, True)), _WORD]


class WeightLayout(File):
    """How weights are laid out."""

    symmetric: bool = True
    per_channel: bool = True


class PlanFile(File):
    """Bits for every layer: of the whole network, its ends, its sums, its depthwise layers, and layers by pattern."""

    bits: Bits = (LayerBits(8, 8), None)
    first: OwnBits | None = None
    last: OwnBits | None = None
    layers: Annotated[
        dict[Name, OwnBits] | None, BeforeValidator(_layers, json_schema_input_type=dict[str, OwnBits] | None)
    ] = None
    weights: WeightLayout | None = None
    activations: Literal["auto", "symmetric", "asymmetric", "signed"] = "auto"
    sums: OwnBits | None = None
    depthwise: OwnBits | None = None


def escaped(name: str) -> str:
    """The pattern that fits this name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _fits(pattern: str, name: str, number: int) -> bool:
    if numbers := _NUMBERS.fullmatch(pattern):
        return int(numbers[1]) <= number <= int(numbers[2] or numbers[1])
    return fnmatch.fnmatchcase(name, pattern)

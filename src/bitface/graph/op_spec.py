"""What the program knows about an operator, in one place: `OpSpec`, and the registry of all of them.

A file in `operators/` holds a module (or names one of torch's), how it is read from ONNX and from torch, how it is
written, and its traits. Everything else asks here, by the module at hand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from torch import Tensor, nn
from torch.fx import Node

from bitface.errors import BitfaceError
from bitface.graph.attributes import construct, defaults
from bitface.registry import Registry

Key = TypeVar("Key")
Value = TypeVar("Value")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Traits:
    """What may be assumed of an operator. What nobody says of it isn't assumed.

    Attributes:
        never_negative: gives no number below zero, whatever it reads.
        keeps_sign: gives none below zero where the tensors that it reads have none.
        keeps_levels: gives some of the numbers that it reads, or 0, which is always a level: integers stay integers.
        moves: only moves or picks numbers. Engines fuse through it.
        border: the number that it sets around what it reads; None: it sets none.
        arithmetic: computes on two tensors alike, so that a plan gives bits to both.
        rectifier: slope below zero (one, or one per channel) and largest value of a module, where it computes
            `min(max(x, 0) + slope · min(x, 0), largest)`: positive scaling per channel passes it but for the limit,
            and it may become part of the quantizer that follows.
        activation: a function of single numbers that engines compute in the accumulator of the operator before it.
        limiter: an activation that only limits.
        in_float: why it is computed in floating point wherever it isn't part of an integer operator; empty: nothing of
            its own keeps it there.
        channel_affine: `x · scale + shift` per channel, its own numbers.
        zero_padded: sets zeros around what it reads before it computes.
        numbers: what its own float tensors are called in tables.
        channels: whether pruning can follow channels through it; `reduced`: it reduces over them, which only what
            stands after the last layer may.
    """

    never_negative: bool = False
    keeps_sign: bool = False
    keeps_levels: bool = False
    moves: bool = False
    border: float | None = None
    arithmetic: bool = False
    rectifier: Callable[[Any], tuple[Tensor, float]] | None = None
    activation: bool = False
    limiter: bool = False
    in_float: str = ""
    channel_affine: bool = False
    zero_padded: bool = False
    numbers: Literal["affine", "slope"] = "affine"
    channels: Literal["kept", "reduced", "lost"] = "lost"


@dataclass(frozen=True)
class OnnxReader:
    """How one ONNX operator becomes modules of a graph.

    Attributes:
        read: is called with the `onnx_context.Context` and the node's operands, of which at least one depends on the
            image: a `Node`, `onnx_integers.Integers`, a numpy array or None each. Gives a value, or a list of them
            where the operator has several outputs.
        on_integers: takes the integers between a QuantizeLinear and its DequantizeLinear.
        elementwise: computes number by number, of tensors that broadcast: how their axes are arranged is nothing to it.
        moves_integers: moves or picks such integers, which thereby does the same to the numbers they stand for.
        in_training: whether a node (of constants, too) does something else at every inference.
    """

    read: Callable[..., Any]
    on_integers: bool = False
    elementwise: bool = False
    moves_integers: bool = False
    in_training: Callable[[Any, Sequence[Any]], bool] | None = None


@dataclass(frozen=True)
class OpSpec:
    """An operator of the vocabulary.

    Attributes:
        name: under which it is stored.
        module: what a graph holds of it; None: it leaves nothing of its own in a graph.
        onnx: ONNX operator → how it is read.
        torch_calls: name of a tensor's method, or function → how a call is read: called with the
            `torch_context.TorchContext` and the call's arguments, gives a `Node` or what Python computes with.
        torch_modules: kind of torch module, with its subclasses → how it is read: called with the context, the module
            and what it reads. `module` itself needs none.
        accept: changes a module of the kind `module`, a copy, into the form that a graph holds; None: this form of it
            isn't supported.
        write: appends the operator to an ONNX file: called with the `onnx_writer.Writer`, the node, the module and
            the names of its inputs; gives the name of its output, by which further nodes read it.
        check: raises ValueError where a module doesn't fit to the shapes that it reads, of what torch lets pass
            without an image.
        mixes_images: whether a module would mix the images of a batch, where the shapes alone don't show it.
        multiply_adds: of a module for one image, from its inputs' shapes and its output's, batch first.
        largest_tensor: name and shape of the tensor that decides how much memory a module takes, from its stored
            attributes; None: it has no tensors.
        traits: or a function of the module, where they depend on its attributes.
    """

    name: str
    module: type[nn.Module] | None = None
    onnx: Mapping[str, OnnxReader] = field(default_factory=dict)
    torch_calls: Mapping[Any, Callable[..., Any]] = field(default_factory=dict)
    torch_modules: Mapping[type[nn.Module], Callable[..., Node | None]] = field(default_factory=dict)
    accept: Callable[[Any], nn.Module | None] = lambda module: module
    write: Callable[[Any, Node, Any, list[str]], str] | None = None
    check: Callable[[Any, Sequence[Shape]], None] = lambda module, inputs: None
    mixes_images: Callable[[Any, Sequence[Shape]], bool] = lambda module, inputs: False
    multiply_adds: Callable[[Any, Sequence[Shape], Shape], int] = lambda module, inputs, output: 0
    largest_tensor: Callable[[Mapping[str, Any]], tuple[str, list[int]]] | None = None
    traits: Traits | Callable[[Any], Traits] = field(default_factory=Traits)


OPERATORS: Registry[OpSpec] = Registry("operator", "bitface.operators", package="bitface.graph.operators")


def register(spec: OpSpec) -> OpSpec:
    """Adds an operator to the vocabulary, under its name."""
    return OPERATORS.register(spec.name)(spec)


class _Table(Generic[Key, Value]):
    """What all operators say in one of their mappings. One that is registered later counts, too."""

    def __init__(self, entries: Callable[[OpSpec], Mapping[Key, Value]]) -> None:
        self._entries = entries
        self._values: dict[Key, Value] = {}
        self._operators = 0

    def get(self, key: Key) -> Value | None:
        if key not in self._values and self._operators != len(OPERATORS):
            self._values, self._operators = self._merged(), len(OPERATORS)
        return self._values.get(key)

    def _merged(self) -> dict[Key, Value]:
        result: dict[Key, Value] = {}
        names: dict[Key, str] = {}
        for name, spec in OPERATORS.items():
            if spec.name != name:
                raise BitfaceError(f"the operator '{name}' calls itself '{spec.name}'; repair or remove its package")
            for key, value in self._entries(spec).items():
                if key in result:
                    raise BitfaceError(f"the operators '{names[key]}' and '{name}' both claim '{key}'")
                result[key], names[key] = value, name
        return result


_OF_MODULES: _Table[type[nn.Module], OpSpec] = _Table(lambda spec: {spec.module: spec} if spec.module else {})
_ONNX: _Table[str, OnnxReader] = _Table(lambda spec: spec.onnx)
_TORCH_CALLS: _Table[Any, Callable[..., Any]] = _Table(lambda spec: spec.torch_calls)
_TORCH_MODULES: _Table[type[nn.Module], Callable[..., Node | None]] = _Table(lambda spec: spec.torch_modules)
_NOTHING = Traits()


def vocabulary() -> dict[str, type[nn.Module]]:
    """Every module that a graph may hold, by the name it is stored under."""
    return {name: spec.module for name, spec in OPERATORS.items() if spec.module}


def spec_of(module: nn.Module) -> OpSpec | None:
    """The operator of a module, None where it is outside the vocabulary. Subclasses are other modules."""
    return _OF_MODULES.get(type(module))


def op_name(module: nn.Module) -> str | None:
    """The name of a module's operator, or None where it is outside the vocabulary."""
    spec = spec_of(module)
    return spec.name if spec else None


def traits_of(module: nn.Module | None) -> Traits:
    """What may be assumed of a module, of a subclass what may be of its operator; nothing of any other."""
    spec = next(filter(None, map(_OF_MODULES.get, type(module).__mro__)), None)
    if spec is None:
        return _NOTHING
    return spec.traits if isinstance(spec.traits, Traits) else spec.traits(module)


def onnx_reader(kind: str) -> OnnxReader | None:
    """How an ONNX operator is read; None: it isn't known."""
    return _ONNX.get(kind)


def torch_call(key: Any) -> Callable[..., Any] | None:
    """How a call of a method (by its name) or a function is read; None: it isn't known."""
    return _TORCH_CALLS.get(key)


def torch_module(kind: type[nn.Module]) -> Callable[..., Node | None] | None:
    """How a kind of module outside the vocabulary is read; None: it isn't known."""
    return next(filter(None, map(_TORCH_MODULES.get, kind.__mro__)), None)


def rebuild(name: str, values: dict[str, Any]) -> nn.Module:
    """The module of an operator name and its attributes; weights are still to be filled in.

    Raises:
        ValueError: unknown name or attribute.
    """
    kind = OPERATORS[name].module if name in OPERATORS else None
    if kind is None:
        raise ValueError(f"unknown operator {name!r}")
    unknown = set(values) - set(defaults(kind))
    if unknown:
        raise ValueError(f"operator {name} has no attribute {sorted(unknown)}")
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return construct(kind, **plain)

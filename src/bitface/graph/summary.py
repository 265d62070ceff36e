"""What a graph consists of: operators, parameters, multiply-accumulates, and the bits of every tensor."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from torch.fx import GraphModule, Node

from bitface.graph import ops
from bitface.graph.builder import shape_of
from bitface.graph.integer import INTEGER_LAYERS, QuantizeDequantize
from bitface.graph.network import Network, normalises
from bitface.graph.op_spec import spec_of, traits_of
from bitface.graph.passes import module_of

_FLOAT = 32
_FUSED = "fused"


@dataclass(frozen=True)
class LayerSummary:
    """An operator that has parameters or multiplies.

    Attributes:
        kind: its name in the vocabulary.
        parameters: what training would set: weights and biases, not running statistics or scales.
        macs: multiply-accumulates of convolutions and matrix products for one image, biases not counted.
        output_shape: without the batch.
        weight_bits: of integer weights; None where they are floating point or there are none.
    """

    name: str
    kind: str
    parameters: int
    macs: int
    output_shape: tuple[int, ...]
    weight_bits: int | None = None


@dataclass(frozen=True)
class Summary:
    """What a network consists of.

    Attributes:
        operators: how many of each name in the vocabulary, the most frequent first.
        parameters, macs: totals over `layers`; parameters with the constants of the graph.
        weight_bytes: of all numbers it computes with (running statistics included), were each a float32.
        input_size: height and width of the image.
    """

    name: str
    operators: dict[str, int]
    parameters: int
    macs: int
    weight_bytes: int
    layers: tuple[LayerSummary, ...]
    input_size: tuple[int, int]
    embedding_size: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(network: Network) -> Summary:
    """Counts what is in a network, in floating point or integers."""
    graph = network.graph
    layers, kinds, others = [], [], 0
    for node in graph.graph.nodes:
        module = module_of(graph, node)
        if module is None:
            continue
        kinds.append(ops.op_name(module) or type(module).__name__)
        parameters, macs = _parameters(module), _macs(node, module)
        others += _statistics(module)
        if parameters or macs:
            bits = module.bits if isinstance(module, INTEGER_LAYERS) else None
            shape = shape_of(node)[1:]
            layers.append(LayerSummary(str(node.target), kinds[-1], parameters, macs, shape, bits))
    constants = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    parameters = sum(layer.parameters for layer in layers)
    parameters += sum(graph.get_buffer(name).numel() for name in constants)
    notes = ("normalises the image itself",) if normalises(graph) else ()
    return Summary(
        name=network.name,
        operators=dict(Counter(kinds).most_common()),
        parameters=parameters,
        macs=sum(layer.macs for layer in layers),
        weight_bytes=4 * (parameters + others),
        layers=tuple(layers),
        input_size=network.size,
        embedding_size=network.embedding_size,
        notes=(*network.notes, *notes),
    )


def _parameters(module: nn.Module) -> int:
    tensors = [module.weight, module.bias] if isinstance(module, INTEGER_LAYERS) else module.parameters()
    return sum(tensor.numel() for tensor in tensors if tensor is not None)


def _statistics(module: nn.Module) -> int:
    """How many numbers a module in floating point computes with besides its parameters."""
    buffers = () if isinstance(module, INTEGER_LAYERS) else module.buffers()
    return sum(buffer.numel() for buffer in buffers if buffer.is_floating_point())


def _macs(node: Node, module: Any) -> int:
    spec = spec_of(module)
    inputs = [shape_of(source) for source in node.args if isinstance(source, Node)]
    return spec.multiply_adds(module, inputs, shape_of(node)) if spec else 0


def tensor_table(network: Network) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Every tensor of an integer network with its bits, and all that stays in floating point, with reasons.

    Returns:
        tensors: `name`, `role`, `bits` and `detail` of each weight, bias, constant and output of an operator.
            Roles: image, activation, weight, bias, scale, slope, affine, constant. Bits: a number, 32 for
            float32 and for the int32 of a bias (the detail says which), or "fused": rounded, or passed on to an
            activation function, before an engine that fuses these stores it.
        unquantized: `name`, `role` and `reason`; the role "operator" is arithmetic in floating point without
            parameters of its own, or a whole layer. Scales aren't listed: they are what the integers mean.
    """
    rows = list(_Table(network.graph).rows())
    tensors = [dict(zip(_KEYS, row, strict=False)) for row in rows if row[1] != "operator"]
    return tensors, [{"name": row[0], "role": row[1], "reason": row[4]} for row in rows if row[4]]


def _in_integers(module: nn.Module) -> bool:
    """Whether engines compute an operator on integers, with an accumulator for what follows."""
    return isinstance(module, INTEGER_LAYERS) or traits_of(module).arithmetic


_KEYS = ("name", "role", "bits", "detail")
_Row = tuple[str, str, int | str, str, str]


class _Table:
    """Walks a graph in its order. The bits of a node's inputs are known before the node is met."""

    def __init__(self, graph: GraphModule) -> None:
        self.graph = graph
        self.bits: dict[Node, int | str] = {}

    def rows(self) -> Iterator[_Row]:
        for node in self.graph.graph.nodes:
            name, module = str(node.target), module_of(self.graph, node)
            if node.op == "get_attr":
                self.bits[node] = _FLOAT
                yield name, "constant", _FLOAT, "float32", self._why_float(node)
            elif node.op == "placeholder":
                self.bits[node] = bits = _FUSED if self._never_stored(node) else _FLOAT
                yield "image", "image", bits, "float32 as given", self._why_float(node)
            elif module is not None:
                yield from self._parameters(node, name, module)
                reason = self._why_float_operator(node, module)
                # Slopes and affines have rows of their own that say the same.
                if reason and (isinstance(module, ops.LAYERS + INTEGER_LAYERS) or not module.state_dict()):
                    yield name, "operator", _FLOAT, "", reason
                self.bits[node] = bits = self._bits_of(node, module)
                yield name, "activation", bits, self._detail(node, module), self._why_float(node)

    def _parameters(self, node: Node, name: str, module: nn.Module) -> Iterator[_Row]:
        integer = module if isinstance(module, INTEGER_LAYERS) else None
        for key, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            full, detail = f"{name}.{key}", f"{str(value.dtype).removeprefix('torch.')}, {list(value.shape)}"
            if integer and key == "weight":
                scheme = "asymmetric" if integer.asymmetric else "symmetric"
                spread = "per channel" if integer.per_channel else "per tensor"
                yield full, "weight", integer.bits, f"{scheme}, {spread}", ""
            elif integer and key != "bias":
                yield full, "scale", 8 if key == "zero_point" else _FLOAT, detail, ""
            elif integer:
                reason = "" if integer.input_scale else "the plan leaves the layer's input in floating point"
                yield full, "bias", 32, detail, reason
            elif isinstance(module, ops.LAYERS):
                yield full, key, _FLOAT, detail, "the plan leaves the layer in floating point"
            elif value.is_floating_point():
                yield full, traits_of(module).numbers, _FLOAT, detail, self._why_float_operator(node, module)

    def _why_float_operator(self, node: Node, module: nn.Module) -> str:
        """Why an operator computes in floating point; empty where it doesn't or only applies a limit."""
        rounded = all(self.bits[source] not in (_FLOAT, _FUSED) for source in node.all_input_nodes)
        if isinstance(module, ops.LAYERS):
            return "the plan leaves its weights in floating point"
        if isinstance(module, INTEGER_LAYERS) and not (rounded and module.input_scale):
            return "the plan leaves its input in floating point"
        traits = traits_of(module)
        if isinstance(module, QuantizeDequantize) or traits.moves:
            return ""
        if rounded and (traits.keeps_levels or _in_integers(module)):
            return ""
        if traits.activation and (before := self._fuses_into(node)):
            return "" if traits.limiter else f"fused into {before} as a float post-operation"
        if traits.in_float:
            return traits.in_float
        if self._of_image(node):
            return "normalises the image ahead of its first rounding"
        after = [self._module(reader) for reader in self._readers(node) if reader.op == "call_module"]
        if traits.channel_affine and any(traits_of(layer).zero_padded for layer in after):
            return "BatchNorm before a zero-padded convolution can't be folded into it"
        if (
            traits.arithmetic
            and not rounded
            and all(traits_of(one).in_float or traits_of(one).arithmetic for one in after)
        ):
            return "what reads it computes in floating point"
        return "computes in floating point between roundings" if rounded else "reads what isn't rounded"

    def _fuses_into(self, node: Node) -> str | None:
        """The integer operator in whose accumulator an activation function is computed, if there is one."""
        source = node.all_input_nodes[0]
        module = self._module(source)
        if module is None or len(source.users) != 1:
            return None
        if traits_of(module).activation or traits_of(module).moves:
            return self._fuses_into(source)
        integer = _in_integers(module) and not self._why_float_operator(source, module)
        return str(source.target) if integer else None

    def _bits_of(self, node: Node, module: nn.Module) -> int | str:
        if isinstance(module, QuantizeDequantize):
            return module.bits
        source = self.bits[node.all_input_nodes[0]]
        traits = traits_of(module)
        if (traits.keeps_levels or traits.border == 0) and source not in (_FLOAT, _FUSED):
            return source
        return _FUSED if self._never_stored(node) else _FLOAT

    def _never_stored(self, node: Node) -> bool:
        """Whether a tensor is only read by what an engine does to it before it writes it: an activation function that
        alone reads it, views, and rounding."""
        readers = [(user, self._module(user)) for user in node.users]
        if len(readers) == 1 and traits_of(readers[0][1]).activation and self._fuses_into(readers[0][0]):
            return True
        return all(
            isinstance(module, QuantizeDequantize)
            or ((traits_of(module).activation or traits_of(module).moves) and self._never_stored(user))
            for user, module in readers
        )

    def _detail(self, node: Node, module: nn.Module) -> str:
        if isinstance(module, QuantizeDequantize):
            sign = "signed" if module.signed else "unsigned"
            return f"{sign}, scale {module.scale:.6g}, zero point {module.zero_point}"
        if self.bits[node] == _FUSED:
            apart = isinstance(module, INTEGER_LAYERS) and module.output_scale
            return "never stored" + (", or in 8 bits where an engine can't fuse what follows" if apart else "")
        return "float32" if self.bits[node] == _FLOAT else "the levels it reads"

    def _why_float(self, node: Node) -> str:
        """Why a tensor is stored in floating point; empty where it isn't."""
        if self.bits[node] != _FLOAT:
            return ""
        if any(reader.op == "output" for reader in self._readers(node)):
            return "the embedding (the network's output)"
        if self._of_image(node):
            return "the image ahead of its first rounding"
        return "read in floating point by " + ", ".join(str(reader.target) for reader in self._readers(node))

    def _readers(self, node: Node) -> list[Node]:
        """What reads a tensor, seen through quantizers and views."""
        readers: list[Node] = []
        for user in node.users:
            module = self._module(user)
            through = isinstance(module, QuantizeDequantize) or traits_of(module).moves
            readers += self._readers(user) if through else [user]
        return readers

    def _of_image(self, node: Node) -> bool:
        """Whether a tensor is the image, or made from it by arithmetic ahead of any rounding or layer."""
        if node.op == "placeholder":
            return True
        if isinstance(self._module(node), (QuantizeDequantize, *ops.LAYERS, *INTEGER_LAYERS)):
            return False
        return any(self._of_image(source) for source in node.all_input_nodes)

    def _module(self, node: Node) -> Any:
        return module_of(self.graph, node)

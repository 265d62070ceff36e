"""Where quantizers sit, and that nothing slips past them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface import backbones
from bitface.errors import UsageError
from bitface.graph import from_module, ops, passes
from bitface.graph.builder import Builder
from bitface.graph.integer import INTEGER_LAYERS
from bitface.quant import BitPlan, LayerBits, quantize
from bitface.quant.quantizers import UniformQuantizer
from bitface.quant.student import QuantizedConv2d, QuantizedLinear, Student, build, never_negative
from support.quantized import Mixed, PreActivation, faces, network

READERS = (QuantizedConv2d, QuantizedLinear, ops.Add, ops.Mul)
BACKBONES = {
    "mobilefacenet": lambda: backbones.create("mobilefacenet:0.25", input_size=32),
    "iresnet18": lambda: backbones.create("iresnet18", input_size=16),
    "resnet18": lambda: backbones.create("resnet18", input_size=32),
    "mobilenetv2": lambda: backbones.create("mobilenetv2", input_size=32),
}


def student_of(module: nn.Module, plan: BitPlan, size: int = 16, **options: bool) -> Student:
    return build(passes.fold(from_module(module, size=(size, size)).graph), plan, **options)


def quantizer_behind(graph: GraphModule, node: Node) -> UniformQuantizer:
    """What quantizes a value, through views."""
    while isinstance(passes.module_of(graph, node), ops.Reshape):
        node = node.all_input_nodes[0]
    module = passes.module_of(graph, node)
    assert isinstance(module, UniformQuantizer), node
    return module


def inputs_of(student: Student, name: str) -> list[UniformQuantizer]:
    node = next(node for node in student.graph.graph.nodes if str(node.target) == name)
    return [quantizer_behind(student.graph, source) for source in node.all_input_nodes]


def check_placement(student: Student) -> None:
    """Every reader reads what its bits say; a tensor has one quantizer for each width and no other readers."""
    graph, bits = student.graph, {layer.name: layer.bits for layer in student.layers}
    modules = {node: passes.module_of(graph, node) for node in graph.graph.nodes}
    readers = [node for node in modules if isinstance(modules[node], READERS)]
    assert {str(node.target) for node in readers} == set(bits)
    for node in readers:
        assert {q.bits for q in inputs_of(student, str(node.target))} == {bits[str(node.target)].activation}
    sources = {node.all_input_nodes[0] for node in modules if isinstance(modules[node], UniformQuantizer)}
    for source in sources:
        copies = [modules[user] for user in source.users if user.op != "output"]
        assert all(isinstance(copy, UniformQuantizer) for copy in copies), source
        assert len({copy.bits for copy in copies}) == len(copies), source
    names = {name for name, module in graph.named_modules() if isinstance(module, UniformQuantizer)}
    assert set(student.activation_quantizers) == {name for name in names if not name.endswith("weight_quantizer")}


@pytest.mark.parametrize(("name", "word"), [("mobilefacenet", "w8a8"), *((name, "w4a4") for name in BACKBONES)])
def test_backbones(name: str, word: str) -> None:
    size = 16 if name == "iresnet18" else 32
    student = student_of(BACKBONES[name](), BitPlan.parse(word), size)
    check_placement(student)
    assert student.activation_quantizers["image_a8"].signed
    edges = [layer.name for layer in student.layers if layer.reason in ("first layer", "last layer")]
    assert len(edges) == 2
    for layer in student.layers:
        assert str(layer.bits) == ("w8a8" if layer.name in edges else word)
        if layer.kind in ("Conv", "Linear"):
            assert student.quantized_layers()[layer.name].weight_quantizer.bits == layer.bits.weight


def test_a_batchnorm_reads_the_quantized_tensor_and_is_quantized_itself() -> None:
    student = student_of(PreActivation(), BitPlan.parse("w8a8"), 8)
    check_placement(student)
    graph = student.graph
    norm = next(node for node in graph.graph.nodes if isinstance(passes.module_of(graph, node), ops.ChannelAffine))
    add = next(node for node in graph.graph.nodes if isinstance(passes.module_of(graph, node), ops.Add))
    assert quantizer_behind(graph, norm.all_input_nodes[0]) is quantizer_behind(graph, add.all_input_nodes[0])
    names = {"image_a8", "stem.1_a8", "norm_a8", "conv_a8", f"{add.target}_a8"}
    assert set(student.activation_quantizers) == names


class TwoReaders(nn.Module):
    """One tensor, read by three layers and an addition; 4 x 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.pool = nn.AvgPool2d(2)
        self.one, self.two, self.three = nn.Linear(64, 5), nn.Linear(64, 5), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = x + self.a(x) + self.b(x)
        flat = torch.flatten(y, 1)
        return self.one(flat) + self.two(flat) + self.three(torch.flatten(self.pool(x), 1))


def test_mixed_bits_on_one_tensor() -> None:
    rules = (("a", LayerBits(4, 4)), ("two", LayerBits(4, 4)), ("add", LayerBits(8, 6)))
    student = student_of(TwoReaders(), BitPlan(first=None, last=None, layers=rules), 4)
    check_placement(student)
    widths = {name: [q.bits for q in inputs_of(student, name)] for name in ("a", "b", "add", "one", "two")}
    assert widths == {"a": [4], "b": [8], "add": [6, 6], "one": [8], "two": [4]}
    assert {"stem.1_a4", "stem.1_a6", "stem.1_a8"} <= set(student.activation_quantizers)


def test_whatever_else_reads_a_tensor_reads_the_widest() -> None:
    student = student_of(TwoReaders(), BitPlan(LayerBits(4, 4), layers=(("b", LayerBits(4, 6)),)), 4)
    pool = next(node for node in student.graph.graph.nodes if str(node.target) == "pool")
    assert quantizer_behind(student.graph, pool.all_input_nodes[0]).bits == 6


@pytest.mark.parametrize("scheme", ["auto", "symmetric", "asymmetric"])
def test_a_tensor_that_is_never_negative_gets_no_sign(scheme: str) -> None:
    student = student_of(TwoReaders(), BitPlan(LayerBits(4, 4), activations=scheme), 4, unsigned_image=True)
    zero_point = scheme == "asymmetric"
    for name in ("image_a8", "stem.1_a4", "pool_a8"):  # behind its quantizer, an average of a ReLU
        quantizer = student.activation_quantizers[name]
        assert (quantizer.signed, quantizer.symmetric) == (False, not zero_point), name
    quantizer = student.activation_quantizers["a_a4"]
    assert (quantizer.signed, quantizer.symmetric) == (scheme == "symmetric", scheme == "symmetric")


class Extreme(nn.Module):
    """What a function of two maps gives is read by a layer."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(3, 8, 3, 1, 1)
        self.function = function
        self.fc = nn.Linear(8 * 4 * 4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.function(self.a(x), self.b(x)), 1))


@pytest.mark.parametrize(
    ("function", "signed"),
    [
        (lambda a, b: torch.minimum(torch.relu(a), b), True),
        (lambda a, b: torch.minimum(b, torch.relu(a)), True),
        (lambda a, b: torch.minimum(torch.relu(a), torch.sigmoid(b)), False),
        (lambda a, b: torch.maximum(torch.relu(a), b), False),
        (lambda a, b: torch.maximum(a, torch.relu(b)), False),
        (lambda a, b: torch.maximum(a, b), True),
        (lambda a, b: torch.minimum(torch.relu(a + b), torch.linspace(-1, 1, 8).view(8, 1, 1)), True),
        (lambda a, b: torch.minimum(torch.relu(a + b), torch.linspace(0, 1, 8).view(8, 1, 1)), False),
        (lambda a, b: torch.clamp(a + b, 0, -1), True),
    ],
)
def test_the_sign_of_extremes(function: Callable[[Tensor, Tensor], Tensor], signed: bool) -> None:
    """Numbers below zero would be cut off by integers without a sign."""
    torch.manual_seed(0)
    module = Extreme(function)
    student = student_of(module, BitPlan(), 4)
    (quantizer,) = inputs_of(student, "fc")
    assert quantizer.signed == signed
    net, images = network(module, 4), faces(16, 4)
    assert net.preprocess is not None
    integer, _ = quantize(net, images, BitPlan())
    inputs = torch.from_numpy(net.preprocess(images))
    with torch.no_grad():
        assert float(nn.functional.cosine_similarity(integer.graph(inputs), net.graph(inputs)).min()) > 0.99


def test_the_sign_of_many_extremes_is_found_in_time() -> None:
    def both(x: Tensor, _: Tensor) -> Tensor:
        for _turn in range(40):
            x = torch.maximum(nn.functional.max_pool2d(x, 3, 1, 1), nn.functional.avg_pool2d(x, 3, 1, 1))
        return x

    (quantizer,) = inputs_of(student_of(Extreme(both), BitPlan(), 4), "fc")
    assert quantizer.signed


def test_first_and_last_like_the_rest_where_the_plan_says_so() -> None:
    student = student_of(Mixed(), BitPlan(LayerBits(4, 4), first=None, last=None))
    check_placement(student)
    assert {str(layer.bits) for layer in student.layers} == {"w4a4"}
    assert "image_a4" in student.activation_quantizers


def test_float_activations_and_float_weights() -> None:
    student = student_of(Mixed(), BitPlan.parse("w4a32"))
    assert not student.activation_quantizers
    assert len(student.quantized_layers()) == 5
    student = student_of(Mixed(), BitPlan(layers=(("wide.0", LayerBits(32, 8)), ("stem.0", LayerBits(8, 32)))))
    assert type(student.graph.get_submodule("wide.0")) is nn.Conv2d
    assert inputs_of(student, "wide.0")[0].bits == 8
    assert "image_a8" not in student.activation_quantizers


def test_a_missing_layer_is_named() -> None:
    with pytest.raises(UsageError, match="names 'nowhere'"):
        student_of(Mixed(), BitPlan(layers=(("nowhere", LayerBits(4, 4)),)))


def test_the_graph_is_left_as_it_was() -> None:
    graph = passes.fold(from_module(Mixed(), size=(16, 16)).graph)
    before = (
        [str(node) for node in graph.graph.nodes],
        {key: value.clone() for key, value in graph.state_dict().items()},
    )
    build(graph, BitPlan.parse("w4a4"))
    assert [str(node) for node in graph.graph.nodes] == before[0]
    assert all(torch.equal(value, before[1][key]) for key, value in graph.state_dict().items())


def levels_read(graph: GraphModule, images: Tensor) -> dict[str, int]:
    """How many different numbers each integer layer and each addition reads at most, on any of its inputs."""
    counts: dict[str, int] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            counts[name] = max(x.unique().numel() for x in inputs)

        return hook

    for name, module in graph.named_modules():
        if isinstance(module, (*INTEGER_LAYERS, ops.Add, ops.Mul)):
            module.register_forward_pre_hook(watch(name))
    with torch.no_grad():
        graph(images)
    return counts


@pytest.mark.parametrize("activation", ["prelu", "relu6"])
def test_a_w4a4_network_reads_16_levels_everywhere_but_at_its_ends(activation: str) -> None:
    net = network(backbones.create("mobilefacenet:0.25", input_size=48, activation=activation), 48)
    images = faces(4, 48)
    integer, layers = quantize(net, images, BitPlan.parse("w4a4"))
    assert net.preprocess is not None
    counts = levels_read(integer.graph, torch.from_numpy(net.preprocess(images)))
    ends = {layer.name for layer in layers if layer.reason != "plan"}
    assert set(counts) == {layer.name for layer in layers}
    assert len(ends) == 2
    for name, count in counts.items():
        assert count <= (256 if name in ends else 16), name
    for name, module in integer.graph.named_modules():
        if isinstance(module, INTEGER_LAYERS):
            assert module.weight.unique().numel() <= (255 if name in ends else 16), name


@pytest.mark.parametrize("rectified", [True, False])
def test_the_sign_of_thousands_of_operators_in_a_row(rectified: bool) -> None:
    builder = Builder((3, 4, 4))
    last = builder.add("first", nn.ReLU() if rectified else nn.Tanh(), builder.input)
    for number in range(2000):
        last = builder.add(f"pool{number}", nn.MaxPool2d(1), last)
    assert never_negative(builder.finish(last), last) == rectified

"""ExecuTorch, PyTorch's engine for phones and boards: a `.pte` file whose integers XNNPACK computes.

The graph is exported by torch itself, so whatever the vocabulary holds is written. Its integers become operators of
`quantized_decomposed`, in the pattern that XNNPACK's partitioner takes for an integer operator: a Dequantize of every
reader's own before it, a limit perhaps, and a Quantize behind it. What isn't in that pattern is in float.
"""

import copy
import json
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError
from bitface.files import muted, write_bytes
from bitface.graph import Network, ops, passes
from bitface.graph.attributes import defaults
from bitface.graph.builder import shape_of, tidy
from bitface.graph.integer import INTEGER_LAYERS, IntegerConv2d, QuantizeDequantize, limits
from bitface.targets.base import Holds, Run, Settings, Target
from bitface.targets.registry import TARGETS

# The method of a file that gives what it says of itself, as JSON.
FACTS = "facts"
# What XNNPACK computes on integers of any scales. Others, a concatenation for example, take integers of one scale
# alone, and nothing holds them to it; so they are in float.
_ON_INTEGERS = {"ConvolutionConfig", "LinearConfig", "AddConfig", "SubConfig", "MulConfig"}
# XNNPACK has one GELU, and takes the approximation by a tanh for it.
_WRONG = {"GeluConfig"}
_BYTE = (-128, 127, torch.int8)


def simulate(graph: GraphModule) -> GraphModule:
    """The graph that computes what ExecuTorch does: the sums of a layer are rounded before whatever else than a limit
    reads them. A layer whose output's range nobody has measured is in float there.
    """
    graph = copy.deepcopy(graph)
    for node in list(graph.graph.nodes):
        layer = passes.module_of(graph, node)
        if not isinstance(layer, INTEGER_LAYERS) or not layer.output_scale:
            continue
        if _takes_integers(graph, node) and not _rounded(graph, node):
            pair = QuantizeDequantize(layer.output_scale, layer.output_zero_point, 8, False)
            rounded = passes.insert_after(graph, node, f"{node.target}_rounded", pair)
            node.replace_all_uses_with(rounded, delete_user_cb=partial(_is_not, rounded))
    return tidy(graph)


def _is_not(one: Node, other: Node) -> bool:
    return one is not other


def _takes_integers(graph: GraphModule, node: Node) -> bool:
    """Whether a node is a layer of integers that reads integers."""
    layer = passes.module_of(graph, node)
    reads = passes.input_module(graph, node)
    return isinstance(layer, INTEGER_LAYERS) and bool(layer.input_scale) and isinstance(reads, QuantizeDequantize)


def _rounded(graph: GraphModule, node: Node) -> bool:
    """Whether a quantizer alone reads a node, perhaps through a limit that nothing else reads."""
    if len(node.users) != 1:
        return False
    (reader,) = node.users
    if _limits(passes.module_of(graph, reader)) and len(reader.users) == 1:
        (reader,) = reader.users
    return isinstance(passes.module_of(graph, reader), QuantizeDequantize)


def _limits(module: nn.Module | None) -> tuple[float, float] | None:
    """What a module limits to, if that is all it does, in the one operator for it that XNNPACK takes into a layer."""
    if isinstance(module, nn.ReLU):
        return 0.0, ops.UNBOUNDED
    return (module.low, module.high) if isinstance(module, ops.Clip) and module.low <= module.high else None


def lowered(graph: GraphModule) -> GraphModule:
    """The graph in operators that torch exports, its integers in XNNPACK's pattern."""
    import_module("torch.ao.quantization.fx._decomposed")  # registers the operators
    graph = simulate(graph)
    layers = [node for node in graph.graph.nodes if isinstance(passes.module_of(graph, node), INTEGER_LAYERS)]
    in_integers = {node for node in layers if _takes_integers(graph, node) and _rounded(graph, node)}
    for node in layers:
        if node in in_integers:
            _write_layer(graph, node)
        else:
            _write_in_float(graph, node)
    for node in list(graph.graph.nodes):
        if isinstance(module := passes.module_of(graph, node), QuantizeDequantize):
            _write_quantizer(graph, node, module)
    return tidy(graph)


def _write_in_float(graph: GraphModule, node: Node) -> None:
    layer = passes.module_of(graph, node)
    assert isinstance(layer, INTEGER_LAYERS)
    kind: type[nn.Module] = nn.Conv2d if isinstance(layer, IntegerConv2d) else nn.Linear
    own = {key: value for key, value in ops.attributes(layer).items() if key in defaults(kind)}
    module = ops.construct(kind, **own, bias=layer.bias is not None)
    passes.replace_module(graph, node, ops.fill(module, weight=layer.float_weight(), bias=layer.float_bias()))


def _write_layer(graph: GraphModule, node: Node) -> None:
    layer, source = passes.module_of(graph, node), node.all_input_nodes[0]
    quantizer = passes.input_module(graph, node)
    assert isinstance(layer, INTEGER_LAYERS)
    assert isinstance(quantizer, QuantizeDequantize)
    if not isinstance(passes.module_of(graph, source), QuantizeDequantize):
        # Integers must be what the layer itself reads; once more on the same levels changes nothing.
        source = passes.insert_after(graph, source, f"{node.target}_input", copy.copy(quantizer), source)
    channels = len(layer.weight)
    bias = layer.float_bias()
    with graph.graph.inserting_before(node):
        constant = partial(_constant, graph, str(node.target))
        weight = graph.graph.call_function(
            torch.ops.quantized_decomposed.dequantize_per_channel.default,
            (
                constant("weight", layer.weight), constant("scale", layer.scale.expand(channels)),
                constant("zero_points", torch.zeros(channels, dtype=torch.int64)), 0, *_BYTE,
            ),
        )  # fmt: skip
        operands = (source, weight, constant("bias", torch.zeros(channels) if bias is None else bias))
        if isinstance(layer, IntegerConv2d):
            window = (layer.stride, layer.padding, layer.dilation, layer.groups)
            result = graph.graph.call_function(torch.conv2d, (*operands, *window))
        else:
            result = graph.graph.call_function(nn.functional.linear, operands)
    result.meta["shape"] = shape_of(node)
    node.replace_all_uses_with(result)
    graph.graph.erase_node(node)


def _constant(graph: GraphModule, layer: str, what: str, value: Tensor) -> Node:
    name = f"{layer}_{what}".replace(".", "_")
    while hasattr(graph, name):
        name += "_"
    graph.register_buffer(name, value.detach().clone())
    return graph.graph.get_attr(name)


def _write_quantizer(graph: GraphModule, node: Node, module: QuantizeDequantize) -> None:
    """A Quantize, and a Dequantize for every reader; before them a limit where the integers have fewer than 8 bits, as
    XNNPACK keeps to those of the type alone.
    """
    source, zero_point = node.all_input_nodes[0], module.zero_point
    with graph.graph.inserting_before(node):
        if module.bits < 8:
            low, high = ((bound - zero_point) * module.scale for bound in limits(module.bits, module.signed))
            source, low, high = _merged(graph, source, low, high)
            source = graph.graph.call_function(nn.functional.hardtanh, (source, low, high))
        elif not module.signed:
            zero_point -= 128
        numbers = (module.scale, zero_point, *_BYTE)
        quantize, dequantize = (
            getattr(torch.ops.quantized_decomposed, f"{way}_per_tensor").default for way in ("quantize", "dequantize")
        )
        integers = graph.graph.call_function(quantize, (source, *numbers))
        for reader in list(node.users):
            with graph.graph.inserting_before(reader):
                reader.args = torch.fx.map_arg(
                    reader.args,
                    lambda one: graph.graph.call_function(dequantize, (integers, *numbers)) if one is node else one,
                )
    graph.graph.erase_node(node)


def _merged(graph: GraphModule, source: Node, low: float, high: float) -> tuple[Node, float, float]:
    """Limits after limits become one with them: XNNPACK takes a single one into a layer."""
    before = _limits(passes.module_of(graph, source))
    if before is None or len(source.users) > 1:
        return source, low, high
    least, most = (min(max(bound, low), high) for bound in before)
    return source.all_input_nodes[0], least, most


def program(network: Network, facts: Mapping[str, str]) -> bytes:
    """The file of a network.

    Raises:
        BitfaceError: the package isn't there, or it can't express an operator.
    """
    _require()
    with _quiet():
        from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
        from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        float_alone = {"supported_precision_types": lambda self: [ConfigPrecisionType.FP32]}
        configs = [
            one
            if one.__name__ in _ON_INTEGERS or "uantize" in one.__name__
            else type(one.__name__, (one,), float_alone)
            for one in ALL_PARTITIONER_CONFIGS
            if one.__name__ not in _WRONG
        ]
        image = torch.zeros(1, network.channels, *network.size)
        with torch.no_grad():
            exported = torch.export.export(lowered(network.graph), (image,))
        edge = to_edge_transform_and_lower(
            exported,
            partitioner=[XnnpackPartitioner(configs)],
            constant_methods={FACTS: json.dumps(dict(facts), ensure_ascii=False)},
        )
        for node in edge.exported_program().graph.nodes:
            if node.op == "call_function" and "quantized_decomposed" in str(node.target):
                raise BitfaceError(
                    f"{network.name}: XNNPACK computes '{node.name}' in no integers; use a plan that leaves the layers "
                    "around it in float"
                )
        content: bytes = edge.to_executorch().buffer
    return content


def emit(network: Network, facts: Mapping[str, str], path: Path) -> None:
    content = program(network, facts)
    _Method(content, 1)  # what the engine doesn't load is no file
    write_bytes(path, content)


def _require() -> None:
    if find_spec("executorch") is None:
        raise BitfaceError("ExecuTorch isn't installed: pip install 'bitface[executorch]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the package says of other packages, and of its own future, to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# The engine has one pool of threads in a process, and what is loaded keeps the pool that it was loaded with. So calls
# take turns, and after another number of threads everything is loaded anew before it runs again.
_TURN = threading.Lock()
_POOLS: list[int] = []  # the threads of each there was
if hasattr(os, "register_at_fork"):  # no process is forked while one runs
    os.register_at_fork(before=_TURN.acquire, after_in_parent=_TURN.release, after_in_child=_TURN.release)


class _Method:
    """A program that computes one image at a time, in any thread and process."""

    def __init__(self, content: bytes, threads: int) -> None:
        self._content, self._threads = content, threads
        with _TURN:
            self._load()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with _TURN:
            if self._where != (os.getpid(), len(_POOLS)):
                self._load()
            rows = [self._forward.execute([torch.from_numpy(image[None])])[0] for image in images]
            return torch.cat(rows).numpy()

    def _load(self) -> None:
        with _quiet(), muted():
            from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
            from executorch.runtime import Runtime

            if _POOLS[-1:] != [self._threads]:
                _unsafe_reset_threadpool(self._threads)
                _POOLS.append(self._threads)
            self._forward: Any = Runtime.get().load_program(self._content).load_method("forward")
        self._where = os.getpid(), len(_POOLS)


def start(source: Network | Path, settings: Settings) -> Run:
    """Calls take turns, whatever the streams are; an image is computed by all threads."""
    _require()
    content = source.read_bytes() if isinstance(source, Path) else program(source, {})
    return _Method(content, settings.threads or os.cpu_count() or 1)


def usage(network: Network) -> str:
    sides = f"1, {network.channels}, {network.size.height}, {network.size.width}"
    return f"""\
Python (`pip install executorch`):

```python
import torch
from executorch.runtime import Runtime

method = Runtime.get().load_program("model.pte").load_method("forward")
embedding = method.execute([torch.from_numpy(image)])[0]  # of a float32 array [{sides}]
```

C++, not run here (link `extension_module`, `extension_tensor`, `xnnpack_backend` and `optimized_native_cpu_ops_lib`):

```cpp
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

executorch::extension::Module module("model.pte");
auto image = executorch::extension::from_blob(pixels, {{{sides}}});  // float *pixels
const auto outputs = module.forward(image);
const float *embedding = outputs->at(0).toTensor().const_data_ptr<float>();  // where outputs.ok()
```

Kotlin, not run here (`org.pytorch:executorch-android`):

```kotlin
val module = Module.load("/data/local/tmp/model.pte")
val image = Tensor.fromBlob(pixels, longArrayOf({sides}))  // pixels: FloatArray
val embedding = module.forward(EValue.from(image))[0].toTensor().getDataAsFloatArray()
```

Swift, not run here (package `executorch`: `executorch`, `backend_xnnpack`, `kernels_optimized`):

```swift
let module = Module(filePath: path)
let image = Tensor<Float>(pixels, shape: [{sides}])
let output: Tensor<Float> = try Tensor(module.forward(image))
let embedding = output.scalars()
```
"""


TARGETS.register("executorch")(
    Target(
        title="ExecuTorch",
        holds=Holds(
            weight_zero_points=False,
            operators=frozenset({"Add", "Conv", "Linear", "Mul", "Sub"}),
            prelu="in float, on what its layer's sums were rounded to",
        ),
        rounds="The output of a layer before a PReLU, and of a convolution before other operators in float (a maximum, "
        "hard-swish, …), and the embedding is rounded once more.",
        suffix=".pte",
        emit=emit,
        start=start,
        package="executorch",
        imports="executorch",
        extra="executorch",
        simulate=simulate,
        usage=usage,
    )
)

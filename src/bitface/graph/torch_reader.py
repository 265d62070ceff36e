"""Turns an `nn.Module` into a graph: fx traces it, then every call becomes a module of the vocabulary."""

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_aggregate, map_arg

from bitface.errors import BitfaceError, one_line
from bitface.graph.arranged import from_torch as arranged_torch
from bitface.graph.arranged.form import OUTPUT_ARRANGED, Arranged, arranged
from bitface.graph.builder import Builder, ShapeError
from bitface.graph.op_spec import torch_call
from bitface.graph.recognition import recognise
from bitface.graph.torch_context import TorchContext, equal, of_one, one_image

# What gives back the tensor that it reads, and what gives a view of it or, as the case may be, a copy.
_SAME = (nn.Identity, nn.Dropout, nn.Dropout2d, "detach", "dropout", "dropout2d")
_VIEWS = (
    nn.Flatten, "contiguous", "float", "view", "reshape", "flatten", "squeeze", "unsqueeze", "permute", "transpose",
    "getitem", "chunk", "split", "unbind", "expand", "expand_as",
)  # fmt: skip
# Python's assignments that change a tensor in place, and what each computes.
_ASSIGNMENTS: dict[Any, Any] = {
    getattr(operator, f"i{name}"): getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
}
# What asks for the shape of a tensor alone.
_OF_SHAPE = ("size", "dim", "getattr")
# What takes a shape, in which `BATCH` is the batch.
_TAKE_SHAPES = ("view", "reshape", "expand", "new_zeros", "new_ones")


def from_module(module: nn.Module, size: tuple[int, int] = (112, 112)) -> GraphModule:
    """The graph of a network in evaluation mode; the module itself is left as it was.

    Args:
        module: takes float32 `[N, 3, height, width]`, gives one tensor.
        size: height and width of the image.

    Raises:
        BitfaceError: fx can't trace it, or it calls something outside the vocabulary (named with its place).
    """
    try:
        root = copy.deepcopy(module).eval().float().cpu()
        trace = _Tracer().trace(root)
    except Exception as error:  # tracing runs the module's own code
        raise BitfaceError(
            f"{type(module).__name__} can't be traced ({one_line(error)}); "
            "write its forward without branches on tensors, or export it to ONNX"
        ) from error
    return _Converter(root, trace, size).convert()


class _Traced(fx.Proxy):
    """Records `x += 1` as what changes `x`, for all who hold it; fx alone takes it for `x = x + 1`."""


def _recorded(assignment: Any) -> Callable[[_Traced, Any], Any]:
    return lambda traced, other: traced.tracer.create_proxy("call_function", assignment, (traced, other), {})


for _assignment in _ASSIGNMENTS:
    setattr(_Traced, f"__{_assignment.__name__}__", _recorded(_assignment))


class _Tracer(fx.Tracer):
    """Records what makes constants in a shape of the image, too: it is called with numbers, which fx doesn't see."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(torch.zeros, torch.ones, torch.full))
        self._autowrap_search.append(torch)

    def proxy(self, node: Node) -> fx.Proxy:
        return _Traced(node, self)


class _Converter:
    def __init__(self, root: nn.Module, trace: fx.Graph, size: tuple[int, int]) -> None:
        self.root, self.trace = root, trace
        self.builder = Builder((3, *size))
        self.values = _Values()
        # Of numbers that the batch decides, which `values` has for `BATCH`: what they are for one image.
        self.single: dict[Node, Any] = {}

    def convert(self) -> GraphModule:
        for index, node in enumerate(self.trace.nodes):
            if node.op == "placeholder":
                if index and not node.args:
                    raise BitfaceError("the network takes more than one input; a face network takes one image batch")
                self.values.add(node, node.args[0] if index else self.builder.input)
            elif node.op == "output":
                result = self.values.read_by(node, node.args[0])
                if isinstance(result, Arranged):
                    raise BitfaceError(OUTPUT_ARRANGED)
                if not isinstance(result, Node):
                    raise BitfaceError("the network gives more than one output; a face network gives one embedding")
                return recognise(self.builder.finish(result))
            elif node.op == "get_attr":
                self.values.add(node, operator.attrgetter(str(node.target))(self.root))
            else:
                try:
                    self._call(node)
                except BitfaceError:
                    raise
                except Exception as error:  # arguments that a handler doesn't take, or that don't fit
                    raise BitfaceError(
                        f"the network calls '{_called(node)}' (node '{node.name}') in a way that bitface "
                        f"doesn't know ({one_line(error)}); export it to ONNX"
                    ) from error
        raise BitfaceError("the network has no output")

    def _call(self, node: Node) -> None:
        arguments = (node.args, {key: value for key, value in node.kwargs.items() if value is not None})
        args, kwargs = self.values.read_by(node, arguments)
        operation = _called(node)
        context = TorchContext(self.builder, node.name, operation.endswith("_") or node.target in _ASSIGNMENTS)
        by_batch = any(source in self.single for source in node.all_input_nodes)
        alone: Any = map_arg(arguments, lambda one: self.single.get(one, self.values.of(one)))
        takes_shape = operation in _TAKE_SHAPES and equal(of_one((args, kwargs)), alone)
        changes = context.in_place and isinstance(args[0], Tensor)
        constant = not (changes or _reads_image((args, kwargs)))
        if by_batch and not constant and not takes_shape:
            raise BitfaceError(
                f"node '{node.name}' computes with the number of images in a batch, so that what one face gives would "
                "depend on how many others there are; write that number as -1, or leave it out"
            )
        value = self._value(node, context, args, kwargs)
        if by_batch and constant:
            self._note(node, value, self._value(node, context, alone[0], alone[1]))
        elif operation in _OF_SHAPE:
            self._note(node, value, of_one(value))
        source = next(iter(node.args), None)
        if not isinstance(source, Node):
            self.values.add(node, value)
        elif self._is_one_of(node, _SAME):
            self.values.add(node, value, source)
        elif context.in_place and isinstance(args[0], Node | Arranged | Tensor):
            self.values.add(node, value, source)
            self.values.change(source, value)
        else:
            self.values.add(node, value, source if self._is_one_of(node, _VIEWS) else None, view=True)

    def _note(self, node: Node, value: Any, alone: Any) -> None:
        """Keeps what a node gives for one image, where that is another value."""
        if not equal(value, alone):
            self.single[node] = alone

    def _is_one_of(self, node: Node, calls: tuple[Any, ...]) -> bool:
        """Whether a node calls one of these functions, methods or kinds of module."""
        if node.op != "call_module":
            return _called(node) in calls
        kinds = tuple(kind for kind in calls if isinstance(kind, type))
        return isinstance(self.root.get_submodule(str(node.target)), kinds)

    def _value(self, node: Node, context: TorchContext, args: Any, kwargs: Any) -> Any:
        """What a call gives: a node of the graph, or what Python computes with."""
        target = _ASSIGNMENTS.get(node.target, node.target)
        sources: list[Node] = []
        map_arg((args, kwargs), sources.append)
        if node.op == "call_module":
            context.name = str(node.target)
            module = self.root.get_submodule(context.name)
            if any(isinstance(value, Arranged) for value in args):
                return arranged_torch.call_module(context, module, *args, **kwargs)
            if not sources:  # of constants, positions say
                with torch.no_grad():
                    return module(*args, **kwargs)
            return context.module(module, *args, **kwargs)
        if arranged_torch.takes(_called(node), args):
            return arranged_torch.call(context, _called(node), *args, **kwargs)
        if not sources:  # arithmetic on sizes and constants
            args = one_image(target, args)
            function: Any = target if node.op == "call_function" else getattr(args[0], str(target))
            return function(*(args if node.op == "call_function" else args[1:]), **kwargs)
        read = torch_call(target)
        if read is None:
            raise BitfaceError(
                f"the network calls '{_called(node)}' (node '{node.name}'), which bitface doesn't know; "
                "report it with this line, or export the network to ONNX"
            )
        try:
            return read(context, *args, **kwargs)
        except ShapeError:
            if _called(node) not in ("reshape", "view"):
                raise
            return arranged(self.builder, context.name, args[0]).reshape(_sides(args[1:]))


class _Values:
    """The values of traced nodes. What changes a tensor in place changes it for all nodes that are this tensor.

    A view of it changes, too, and it with each of its views. That isn't followed: nothing may read these afterwards,
    but for other parts of one tensor (`q, k, v = x.chunk(3, 1)`).
    """

    def __init__(self) -> None:
        self._values: dict[Node, Any] = {}
        # Of each node the first one that is the same tensor, and all that share its memory.
        self._first: dict[Node, Node] = {}
        self._sharing: dict[Node, list[Node]] = {}
        # Of which tensors it is a part, and which.
        self._parts: dict[Node, dict[Node, int]] = {}
        self._outdated: set[Node] = set()

    def add(self, node: Node, value: Any, source: Node | None = None, view: bool = False) -> None:
        """A node's value. `source`: the node that it is the same tensor as, or a view of."""
        self._values[node] = value
        self._first[node] = node if source is None or view else self._first[source]
        self._sharing[node] = [] if source is None else self._sharing[source]
        self._sharing[node].append(node)
        self._parts[node] = {} if source is None else dict(self._parts[source])
        if source is not None and node.target is operator.getitem and type(node.args[1]) is int and node.args[1] >= 0:
            self._parts[node][source] = node.args[1]

    def of(self, node: Node) -> Any:
        return self._values[node]

    def change(self, node: Node, value: Any) -> None:
        """What a change in place made of a node's tensor. Raises BitfaceError where that is the network's own."""
        for other in self._sharing[node]:
            if other.op == "get_attr":
                raise BitfaceError(
                    f"the network changes its '{other.target}' in place, so that no image would find it as the one "
                    "before; write that without changes in place"
                )
            if self._first[other] is self._first[node]:
                self._values[other] = value
            elif all(self._parts[node].get(whole, part) == part for whole, part in self._parts[other].items()):
                self._outdated.add(other)

    def read_by(self, node: Node, arguments: Any) -> Any:
        """The arguments of a node, with the values of nodes in their place.

        Raises:
            BitfaceError: a change in place has made one of another value than is known.
        """

        def value(source: Node) -> Any:
            if source in self._outdated and _called(node) not in _OF_SHAPE:
                raise BitfaceError(
                    f"node '{node.name}' reads '{source.name}' after a change in place to a tensor that shares its "
                    "memory, which bitface can't follow; write it without changes in place (`inplace=False`)"
                )
            return self.of(source)

        return map_arg(arguments, value)


def _reads_image(arguments: Any) -> bool:
    """Whether some of the arguments of a call depend on the image."""
    found: list[bool] = []
    map_aggregate(arguments, lambda one: found.append(isinstance(one, Node | Arranged)))
    return any(found)


def _sides(args: Any) -> Any:
    return args if isinstance(args[0], int) else args[0]


def _called(node: Node) -> str:
    target = _ASSIGNMENTS.get(node.target, node.target)
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))

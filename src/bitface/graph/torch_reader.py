"""Turns an `nn.Module` into a graph: fx traces it, then every call becomes a module of the vocabulary."""

import copy
import operator
from typing import Any

import torch
from torch import fx, nn
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError, one_line
from bitface.graph.arranged import from_torch as arranged_torch
from bitface.graph.arranged.form import OUTPUT_ARRANGED, Arranged, arranged
from bitface.graph.builder import Builder, ShapeError
from bitface.graph.op_spec import torch_call
from bitface.graph.recognition import recognise
from bitface.graph.torch_context import TorchContext, one_image


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


class _Tracer(fx.Tracer):
    """Records what makes constants in a shape of the image, too: it is called with numbers, which fx doesn't see."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(torch.zeros, torch.ones, torch.full))
        self._autowrap_search.append(torch)


class _Converter:
    def __init__(self, root: nn.Module, trace: fx.Graph, size: tuple[int, int]) -> None:
        self.root, self.trace = root, trace
        self.builder = Builder((3, *size))
        self.values: dict[Node, Any] = {}

    def convert(self) -> GraphModule:
        for index, node in enumerate(self.trace.nodes):
            if node.op == "placeholder":
                if index and not node.args:
                    raise BitfaceError("the network takes more than one input; a face network takes one image batch")
                self.values[node] = node.args[0] if index else self.builder.input
            elif node.op == "output":
                result = fx.node.map_arg(node.args[0], lambda source: self.values[source])
                if isinstance(result, Arranged):
                    raise BitfaceError(OUTPUT_ARRANGED)
                if not isinstance(result, Node):
                    raise BitfaceError("the network gives more than one output; a face network gives one embedding")
                return recognise(self.builder.finish(result))
            elif node.op == "get_attr":
                self.values[node] = operator.attrgetter(str(node.target))(self.root)
            else:
                try:
                    self.values[node] = self._call(node)
                except BitfaceError:
                    raise
                except Exception as error:  # arguments that a handler doesn't take, or that don't fit
                    raise BitfaceError(
                        f"the network calls '{_called(node)}' (node '{node.name}') in a way that bitface "
                        f"doesn't know ({one_line(error)}); export it to ONNX"
                    ) from error
        raise BitfaceError("the network has no output")

    def _call(self, node: Node) -> Any:
        args: Any = fx.node.map_arg(node.args, lambda source: self.values[source])
        keywords = {key: value for key, value in node.kwargs.items() if value is not None}
        kwargs: Any = fx.node.map_arg(keywords, lambda source: self.values[source])
        operation = _called(node)
        context = TorchContext(self.builder, node.name, operation.endswith("_") or operation in ("iadd", "imul"))
        value = self._value(node, context, args, kwargs)
        if context.in_place and isinstance(value, Node):
            self.values[node.all_input_nodes[0]] = value
        return value

    def _value(self, node: Node, context: TorchContext, args: Any, kwargs: Any) -> Any:
        """What a call gives: a node of the graph, or what Python computes with."""
        sources: list[Node] = []
        fx.node.map_arg((args, kwargs), sources.append)
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
            args = one_image(node.target, args)
            function: Any = node.target if node.op == "call_function" else getattr(args[0], str(node.target))
            return function(*(args if node.op == "call_function" else args[1:]), **kwargs)
        read = torch_call(node.target)
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


def _sides(args: Any) -> Any:
    return args if isinstance(args[0], int) else args[0]


def _called(node: Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))

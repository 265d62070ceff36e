"""A graph as plain data and back: a JSON description of its nodes, and its tensors by name."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError, one_line
from bitface.graph import ops
from bitface.graph.builder import Builder, shape_of


def dump(graph: GraphModule) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description of a graph and its tensors, both free of Python objects.

    Raises:
        ValueError: a node is outside the vocabulary.
    """
    names: dict[Node, str] = {}
    nodes: list[dict[str, Any]] = []
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            names[node] = "image"
        elif node.op == "get_attr":
            names[node] = str(node.target)
            nodes.append({"op": "Constant", "name": names[node]})
        elif node.op == "call_module":
            module = graph.get_submodule(str(node.target))
            name = ops.op_name(module)
            if name is None:
                raise ValueError(f"'{node.target}' is a {type(module).__name__}, which can't be stored")
            names[node] = str(node.target)
            entry: dict[str, Any] = {"op": name, "name": names[node]}
            entry["in"] = [names[source] for source in node.args if isinstance(source, Node)]
            values = ops.attributes(module)
            nodes.append({**entry, "attributes": values} if values else entry)
        elif node.op == "output":
            output = names[node.all_input_nodes[0]]
    image = next(iter(graph.graph.nodes))
    return {"input": list(shape_of(image)[1:]), "nodes": nodes, "output": output}, _tensors(graph)


def load(description: dict[str, Any], tensors: dict[str, Tensor]) -> GraphModule:
    """The graph of a description. Every tensor must have the shape and type that its operator expects.

    Raises:
        ValueError, KeyError, TypeError: the description or the tensors are malformed.
        BitfaceError: shapes that don't fit.
    """
    try:
        return _load(description, tensors)
    except (ValueError, KeyError, TypeError, BitfaceError):
        raise
    except Exception as error:  # torch refuses impossible attributes in many ways
        raise ValueError(f"malformed: {one_line(error)}") from error


def _load(description: dict[str, Any], tensors: dict[str, Tensor]) -> GraphModule:
    builder = Builder(tuple(int(side) for side in description["input"]))
    nodes = {"image": builder.input}
    for entry in description["nodes"]:
        name = entry["name"]
        if entry["op"] == "Constant":
            nodes[name] = builder.constant(name, tensors[name])
        else:
            module = ops.rebuild(entry["op"], entry.get("attributes", {}))
            nodes[name] = builder.add(name, module, *(nodes[source] for source in entry["in"]))
        if str(nodes[name].target) != name:
            raise ValueError(f"two nodes are named '{name}', or none can be")
    graph = builder.finish(nodes[description["output"]])
    expected = _tensors(graph)
    if set(expected) != set(tensors):
        raise ValueError(f"tensors missing or left over: {sorted(set(expected) ^ set(tensors))[:3]}")
    for key, value in expected.items():
        tensor, layout = tensors[key], (value.dtype, list(value.shape))
        if (tensor.dtype, list(tensor.shape)) != layout:
            raise ValueError(f"tensor '{key}' is {tensor.dtype} {list(tensor.shape)} instead of {layout}")
        with torch.no_grad():
            value.copy_(tensor)
    return graph


def _tensors(graph: GraphModule) -> dict[str, Tensor]:
    """Parameters and buffers, without BatchNorm's count of training steps."""
    return {key: value for key, value in graph.state_dict().items() if not key.endswith("num_batches_tracked")}

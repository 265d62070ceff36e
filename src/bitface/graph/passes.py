"""Rewrites that leave the function unchanged: what a quantized network is built from.

`fold` turns BatchNorm and constant arithmetic into per-channel affines, folds these into the convolutions and
linear layers beside them, and removes views that do nothing. An affine before a zero-padded convolution
stays: folding it would be wrong at the border.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import ops
from bitface.graph.builder import shape_of, tidy
from bitface.graph.ops import ChannelAffine, Reshape


def fold(graph: GraphModule) -> GraphModule:
    """The same function with every BatchNorm folded that can be. `graph` itself is left as it was."""
    graph = copy.deepcopy(graph)
    with torch.no_grad():
        for node in _modules(graph):
            _fold_last_axis(graph, node)
        for node in _modules(graph):
            _to_affine(graph, node)
        changed = True
        while changed:
            changed = sum(step(graph, node) for step in _STEPS for node in _modules(graph)) > 0
    return tidy(graph)


def module_of(graph: GraphModule, node: Node) -> nn.Module | None:
    """The module that a node calls, or None for inputs, constants and the output."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def input_module(graph: GraphModule, node: Node) -> nn.Module | None:
    """What gives the tensor that a layer reads, seen through views: its quantizer, where it has one."""
    source = node.all_input_nodes[0]
    while isinstance(module_of(graph, source), Reshape):
        source = source.all_input_nodes[0]
    return module_of(graph, source)


def insert_after(graph: GraphModule, node: Node, name: str, module: nn.Module, *inputs: Node) -> Node:
    """A new node after `node` (reading it unless told otherwise), with the shape of its value."""
    holder = graph.get_submodule(name.rpartition(".")[0])
    while hasattr(holder, name.rpartition(".")[2]):
        name += "_"
    graph.add_submodule(name, module)
    with graph.graph.inserting_after(node):
        new = graph.graph.call_module(name, inputs or (node,))
    new.meta["shape"] = shape_of(node)
    return new


def _modules(graph: GraphModule) -> Iterator[Node]:
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and node.graph is graph.graph and (node.users or node.args):
            yield node


def _to_affine(graph: GraphModule, node: Node) -> None:
    """BatchNorm, and arithmetic with one number per channel, as `ChannelAffine`."""
    module = module_of(graph, node)
    if isinstance(module, ops.NORMS):
        assert module.running_mean is not None
        assert module.running_var is not None
        scale = module.weight.double() / (module.running_var.double() + module.eps).sqrt()
        replace_module(graph, node, _affine(scale, module.bias.double() - module.running_mean.double() * scale))
        return
    constants = [source for source in node.all_input_nodes if source.op == "get_attr"]
    images = [source for source in node.all_input_nodes if source.op != "get_attr"]
    if len(constants) != 1 or not isinstance(module, ops.Add | ops.Sub | ops.Mul | ops.Div):
        return
    shape = shape_of(node)
    if len(shape) < 2 or shape_of(images[0]) != shape:  # the constant widens the image
        return
    channels = shape[1]
    numbers = per_channel(graph.get_buffer(str(constants[0].target)), shape, channels)
    first_is_constant = node.args[0] is constants[0]
    if numbers is None or (first_is_constant and isinstance(module, ops.Div)):
        return
    one, zero = torch.ones(channels), torch.zeros(channels)
    if isinstance(module, ops.Add):
        affine = _affine(one, numbers)
    elif isinstance(module, ops.Sub):
        affine = _affine(-one, numbers) if first_is_constant else _affine(one, -numbers)
    else:
        affine = _affine(numbers if isinstance(module, ops.Mul) else 1 / numbers, zero)
    node.args = (images[0],)
    replace_module(graph, node, affine)


def per_channel(value: Tensor, shape: tuple[int, ...], channels: int) -> Tensor | None:
    """One number per channel, if that is all the constant says."""
    if value.numel() == 1:
        return value.reshape(1).expand(channels).clone()
    aligned = (1,) * (len(shape) - value.dim()) + tuple(value.shape)
    if value.numel() == channels == aligned[1]:
        return value.reshape(-1).clone()
    return None


def _affine(scale: Tensor, shift: Tensor) -> ChannelAffine:
    module = ChannelAffine(scale.numel())
    module.scale.copy_(scale)
    module.shift.copy_(shift)
    return module.eval()


def replace_module(graph: GraphModule, node: Node, module: nn.Module, *inputs: Node) -> None:
    """Puts another module in a node's place, which reads what it read unless told otherwise."""
    node.args = inputs or node.args
    holder, _, leaf = str(node.target).rpartition(".")
    setattr(graph.get_submodule(holder), leaf, module.eval())


def _bypass(graph: GraphModule, node: Node) -> None:
    """Takes a node with one input out of the graph."""
    node.replace_all_uses_with(node.all_input_nodes[0])
    graph.graph.erase_node(node)


def _only_reader(node: Node) -> bool:
    """Whether a node's input is read by this node alone."""
    return len(node.all_input_nodes) == 1 and len(node.all_input_nodes[0].users) == 1


def _fold_back(graph: GraphModule, node: Node) -> bool:
    """layer → affine becomes the layer alone."""
    affine = module_of(graph, node)
    if not isinstance(affine, ChannelAffine) or not _only_reader(node):
        return False
    source = node.all_input_nodes[0]
    layer = module_of(graph, source)
    if isinstance(layer, ChannelAffine):
        layer.shift.copy_(layer.shift * affine.scale + affine.shift)
        layer.scale.mul_(affine.scale)
    elif isinstance(layer, nn.Conv2d) or (isinstance(layer, nn.Linear) and len(shape_of(node)) == 2):
        bias = torch.zeros(affine.channels) if layer.bias is None else layer.bias
        layer.bias = nn.Parameter((bias.double() * affine.scale.double() + affine.shift.double()).float())
        layer.weight.copy_(layer.weight.double() * affine.scale.double().view(-1, *[1] * (layer.weight.dim() - 1)))
    else:
        return False
    _bypass(graph, node)
    return True


def _fold_last_axis(graph: GraphModule, node: Node) -> bool:
    """linear layer of tokens → arithmetic with one number for each of its outputs (a bias, LayerScale), or with one
    number, becomes the layer alone.
    """
    module = module_of(graph, node)
    constants = [source for source in node.all_input_nodes if source.op == "get_attr"]
    images = [source for source in node.all_input_nodes if source.op != "get_attr"]
    if len(constants) != 1 or len(images) != 1 or not isinstance(module, ops.Add | ops.Sub | ops.Mul | ops.Div):
        return False
    layer, shape = module_of(graph, images[0]), shape_of(node)
    value = graph.get_buffer(str(constants[0].target)).double()
    first_is_constant = node.args[0] is constants[0]
    if not isinstance(layer, nn.Linear) or len(images[0].users) != 1 or len(shape) < 3 or shape_of(images[0]) != shape:
        return False
    if value.numel() not in (1, value.shape[-1] if value.dim() else 1) or value.numel() not in (1, shape[-1]):
        return False
    if first_is_constant and isinstance(module, ops.Div):
        return False
    value = value.reshape(-1).expand(shape[-1])
    bias = torch.zeros(shape[-1]).double() if layer.bias is None else layer.bias.double()
    if isinstance(module, ops.Mul | ops.Div):
        scale = value if isinstance(module, ops.Mul) else 1 / value
        bias = bias * scale
    else:
        scale = torch.full_like(value, -1 if first_is_constant and isinstance(module, ops.Sub) else 1)
        bias = bias * scale + (-value if isinstance(module, ops.Sub) and not first_is_constant else value)
    layer.bias = nn.Parameter(bias.float())
    layer.weight.copy_(layer.weight.double() * scale[:, None])
    node.replace_all_uses_with(images[0])
    graph.graph.erase_node(node)
    return True


def _fold_forward(graph: GraphModule, node: Node) -> bool:
    """affine → (flatten) → layer becomes the layer alone, where no zero padding sees the difference."""
    affine = module_of(graph, node)
    if not isinstance(affine, ChannelAffine) or len(node.users) != 1:
        return False
    reader = next(iter(node.users))
    layer = module_of(graph, reader)
    repeat = 1
    if isinstance(layer, Reshape) and len(layer.tail) == 1 and len(reader.users) == 1:
        repeat = shape_of(reader)[1] // affine.channels
        reader = next(iter(reader.users))
        layer = module_of(graph, reader)
    if isinstance(layer, nn.Linear) and len(shape_of(reader)) == 2:
        scale = affine.scale.double().repeat_interleave(repeat)
        shift = affine.shift.double().repeat_interleave(repeat)
        gain = layer.weight.double() @ shift
        weight = layer.weight.double() * scale
    elif isinstance(layer, nn.Conv2d) and repeat == 1 and tuple(layer.padding) == (0, 0):
        inputs = layer.in_channels // layer.groups
        per_group = (layer.groups, 1, inputs)
        outputs = layer.out_channels // layer.groups
        scale = affine.scale.double().view(per_group).expand(-1, outputs, -1).reshape(-1, inputs, 1, 1)
        shift = affine.shift.double().view(per_group).expand(-1, outputs, -1).reshape(-1, inputs, 1, 1)
        gain = (layer.weight.double() * shift).sum((1, 2, 3))
        weight = layer.weight.double() * scale
    else:
        return False
    bias = gain if layer.bias is None else layer.bias.double() + gain
    layer.bias = nn.Parameter(bias.float())
    layer.weight.copy_(weight)
    _bypass(graph, node)
    return True


def _affine_before_view(graph: GraphModule, node: Node) -> bool:
    """`[N, C]` → view `[N, C, 1, …]` → affine: the affine goes first, next to what it may fold into."""
    affine = module_of(graph, node)
    view = node.all_input_nodes[0]
    if not isinstance(affine, ChannelAffine) or not _only_reader(node):
        return False
    source = view.all_input_nodes[0] if view.all_input_nodes else None
    if (
        not isinstance(module_of(graph, view), Reshape)
        or source is None
        or shape_of(source)[1:2] != shape_of(view)[1:2]
    ):
        return False
    node.args, view.args = (source,), (node,)
    node.replace_all_uses_with(view, delete_user_cb=lambda user: user is not view)
    node.meta["shape"] = shape_of(source)
    view.prepend(node)
    return True


def _merge_views(graph: GraphModule, node: Node) -> bool:
    """A view of a view is one view; a view to the same shape is none."""
    view = module_of(graph, node)
    if not isinstance(view, Reshape):
        return False
    source = node.all_input_nodes[0]
    if shape_of(source) == shape_of(node):
        _bypass(graph, node)
        return True
    if isinstance(module_of(graph, source), Reshape):
        node.args = (source.all_input_nodes[0],)
        if not source.users:
            graph.graph.erase_node(source)
        return True
    return False


def _conv_to_linear(graph: GraphModule, node: Node) -> bool:
    """A convolution whose window is the whole map is a linear layer, which engines run in integers to the end."""
    layer = module_of(graph, node)
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1 or tuple(layer.padding) != (0, 0):
        return False
    source = node.all_input_nodes[0]
    if shape_of(source)[2:] != tuple(layer.kernel_size) or shape_of(node)[2:] != (1, 1):
        return False
    features = layer.weight[0].numel()
    linear = ops.construct(
        nn.Linear, in_features=features, out_features=layer.out_channels, bias=layer.bias is not None
    )
    linear.load_state_dict({**layer.state_dict(), "weight": layer.weight.reshape(-1, features)})
    replace_module(graph, node, linear)
    view = insert_after(graph, source, f"{node.target}_input", Reshape((features,)))
    view.meta["shape"] = (shape_of(source)[0], features)
    map_shape = shape_of(node)
    node.args = (view,)
    node.meta["shape"] = map_shape[:2]
    back = insert_after(graph, node, f"{node.target}_output", Reshape(map_shape[1:]))
    back.meta["shape"] = map_shape
    node.replace_all_uses_with(back, delete_user_cb=lambda user: user is not back)
    return True


_STEPS = (_merge_views, _affine_before_view, _fold_back, _fold_last_axis, _fold_forward, _conv_to_linear)

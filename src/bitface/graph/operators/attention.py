"""Attention, as products of matrices and a Softmax: `softmax(q kᵀ · scale) v` (Vaswani et al., 2017).

Operators and calls that are all of it, and products that name their axes (Einsum), leave no module of their own: linear
layers, MatMul and Softmax are what is quantized.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.arranged.form import Arranged, arranged, transposed
from bitface.graph.attributes import construct, fill, tensor
from bitface.graph.builder import ShapeError, shape_of
from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Value
from bitface.graph.op_spec import OnnxReader, OpSpec, register
from bitface.graph.operators.arithmetic import Add, Mul
from bitface.graph.operators.matmul import MatMul
from bitface.graph.operators.views import Reshape, Transpose
from bitface.graph.torch_context import TorchContext

_SWAPPED = (0, 1, 3, 2)
_TOKENS_FIRST = (0, 2, 1, 3)


def attention(
    context: Context | TorchContext, query: Node, key: Node, value: Node, scale: float | None = None, mask: Any = None
) -> Node:
    """Of `[N, heads, tokens, size]` each; scale: None: one by the root of the size; mask: a constant that is added."""
    scale = shape_of(query)[-1] ** -0.5 if scale is None else scale
    scores = context.add(MatMul(), query, context.add(Transpose(_SWAPPED), key, suffix="_key"), suffix="_scores")
    scores = context.add(Mul(), scores, context.node_of(np.float32(scale)), suffix="_scaled")
    if mask is not None:
        scores = context.add(Add(), scores, context.node_of(mask), suffix="_masked")
    return context.add(MatMul(), context.add(nn.Softmax(3), scores, suffix="_weights"), value, suffix="_mixed")


def _read_attention(context: Context, query: Node, key: Node, value: Node, *further: Value) -> Node:
    """ONNX Attention, of opset 23."""
    unknown = [name for name in ("is_causal", "softcap") if context.attribute(name, 0)]
    if unknown or any(one is not None for one in further) or len(context.node.output) > 1:
        context.refuse("has a mask, a cache or a limit of its scores")
    heads = [context.attribute(name, 0) for name in ("q_num_heads", "kv_num_heads", "kv_num_heads")]
    scale = context.attribute("scale")
    if len(shape_of(query)) == 4:
        return attention(context, query, key, value, scale)
    query, key, value = (_heads(context, x, count) for x, count in zip((query, key, value), heads, strict=True))
    return _joined(context, attention(context, query, key, value, scale))


def _heads(context: Context | TorchContext, x: Node, heads: int) -> Node:
    """`[N, tokens, heads · size]` → `[N, heads, tokens, size]`."""
    _, tokens, channels = shape_of(x)
    if heads < 1 or channels % heads:
        raise ValueError(f"{channels} channels in {heads} heads")
    apart = context.add(Reshape((tokens, heads, channels // heads)), x, suffix="_apart")
    return context.add(Transpose(_TOKENS_FIRST), apart, suffix="_heads")


def _joined(context: Context | TorchContext, x: Node) -> Node:
    _, heads, tokens, size = shape_of(x)
    return context.add(
        Reshape((tokens, heads * size)), context.add(Transpose(_TOKENS_FIRST), x, suffix="_tokens"), suffix="_joined"
    )


def _call_attention(
    context: TorchContext, query: Node, key: Node, value: Node, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
) -> Node:  # fmt: skip
    if is_causal or isinstance(attn_mask, Node) or (attn_mask is not None and not attn_mask.is_floating_point()):
        raise ValueError("attention with a mask of True and False, or one that is computed from the image")
    return attention(context, query, key, value, scale, attn_mask)


def _call_multihead(context: TorchContext, module: nn.MultiheadAttention, *inputs: Any, **options: Any) -> Any:
    """A MultiheadAttention without masks; gives its output, and None for the weights, which nothing may read."""
    names = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask")
    options = {**dict(zip(names, inputs, strict=False)), **options}
    masks = [options.get(name) is not None for name in ("key_padding_mask", "attn_mask")]
    plain = module.in_proj_weight is not None and module.bias_k is None and not module.add_zero_attn
    if not plain or any(masks) or options.get("is_causal"):
        return None
    sources = [options[name] for name in names[:3]]
    if not module.batch_first:
        sources = [arranged(context.builder, context.name, x).transpose((1, 0, 2)) for x in sources]
    if any(isinstance(x, Arranged) for x in sources):
        raise ShapeError(f"{context.name}: reads a tensor whose batch isn't where its `batch_first` says")
    biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    parts = zip(sources, module.in_proj_weight.chunk(3), biases, ("_query", "_key", "_value"), strict=True)
    query, key, value = (
        _heads(context, _linear(context, x, weight, bias, name), module.num_heads) for x, weight, bias, name in parts
    )
    mixed = _joined(context, attention(context, query, key, value))
    result = _linear(context, mixed, module.out_proj.weight, module.out_proj.bias, "_out")
    return [result if module.batch_first else transposed(context.builder, context.name, result, (1, 0, 2)), None]


def _linear(context: TorchContext, x: Node, weight: Tensor, bias: Tensor | None, name: str) -> Node:
    layer = construct(nn.Linear, in_features=weight.shape[1], out_features=weight.shape[0], bias=bias is not None)
    numbers = {key: None if one is None else one.detach().numpy() for key, one in (("weight", weight), ("bias", bias))}
    return context.add(fill(layer, **numbers), x, suffix=name)


def einsum(context: Context | TorchContext, equation: str, operands: Sequence[Any]) -> Node:
    """A product of two tensors over axes that both have, as one of matrices; one of them may be a constant.

    Raises:
        ValueError: another number of tensors, an axis named twice in one, or no product of matrices.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    names = left.split(",")
    tensors: list[Any] = [x.detach().numpy() if isinstance(x, Tensor) else x for x in operands]
    if len(tensors) != 2 or len(names) != 2 or not arrow or "." in equation or any(len({*n}) != len(n) for n in names):
        raise ValueError(f"the product '{equation}'")
    if not isinstance(tensors[0], Node):
        names, tensors = names[::-1], tensors[::-1]
    first, second = names
    shapes = [shape_of(x) if isinstance(x, Node) else np.shape(x) for x in tensors]
    sides = {
        letter: side for n, shape in zip(names, shapes, strict=True) for letter, side in zip(n, shape, strict=True)
    }
    summed = [letter for letter in first if letter in second and letter not in right]
    shared = [letter for letter in first if letter in second and letter in right]
    own = [[letter for letter in n if letter in right and letter not in other] for n, other in (names, names[::-1])]
    used = [{*shared, *summed, *letters} for letters in own]
    if not summed or any({*n} != letters for n, letters in zip(names, used, strict=True)) or first[0] != right[0]:
        raise ValueError(f"the product '{equation}'")
    wide = [math.prod(sides[letter] for letter in letters) for letters in (own[0], summed, own[1])]
    if not isinstance(tensors[1], Node):
        if shared:
            raise ValueError(f"the product '{equation}' with a constant")
        order = [second.index(letter) for letter in (*own[1], *summed)]
        weight = tensor(np.transpose(np.asarray(tensors[1]), order).reshape(wide[2], wide[1]))
        rows = _form(
            context, tensors[0], first, [*own[0], *summed], [*(sides[one] for one in own[0][1:]), wide[1]], "_a"
        )
        layer = fill(construct(nn.Linear, in_features=wide[1], out_features=wide[2], bias=False), weight=weight.numpy())
        result, letters = context.add(layer, rows, suffix="_product"), [*own[0], *own[1]]
    else:
        outer = [sides[letter] for letter in shared[1:]]
        if shared[:1] != [right[0]]:
            raise ValueError(f"the product '{equation}' of different images")
        a = _form(context, tensors[0], first, [*shared, *own[0], *summed], [*outer, wide[0], wide[1]], "_a")
        b = _form(context, tensors[1], second, [*shared, *summed, *own[1]], [*outer, wide[1], wide[2]], "_b")
        result, letters = context.add(MatMul(), a, b, suffix="_product"), [*shared, *own[0], *own[1]]
    return _form(context, result, "".join(letters), list(right), [sides[letter] for letter in right[1:]], "", sides)


def _form(
    context: Context | TorchContext, x: Node, names: str, order: Sequence[str], tail: Sequence[int], suffix: str,
    sides: dict[str, int] | None = None,
) -> Node:  # fmt: skip
    """A tensor with its axes in another order, then in another shape; with `sides`, first cut into its named axes."""
    if sides and tuple(sides[name] for name in names[1:]) != shape_of(x)[1:]:
        x = context.add(Reshape(tuple(sides[name] for name in names[1:])), x, suffix=suffix + "_cut")
    places = tuple(names.index(name) for name in order)
    if places != tuple(range(len(places))):
        x = context.add(Transpose(places), x, suffix=suffix + "_turned")
    return x if tuple(tail) == shape_of(x)[1:] else context.add(Reshape(tuple(tail)), x, suffix=suffix + "_joined")


register(
    OpSpec(
        "Attention",
        onnx={"Attention": OnnxReader(_read_attention)},
        torch_calls={nn.functional.scaled_dot_product_attention: _call_attention},
        torch_modules={nn.MultiheadAttention: _call_multihead},
    )
)
register(
    OpSpec(
        "Einsum",
        onnx={
            "Einsum": OnnxReader(lambda context, *operands: einsum(context, context.attribute("equation"), operands))
        },
        torch_calls={
            torch.einsum: lambda context, equation, *operands: einsum(
                context, equation, operands[0] if isinstance(operands[0], list | tuple) else operands
            )
        },
    )
)

"""Images at other sizes, the size known: Resize and Upsample; and depth that becomes space, or space depth."""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.attributes import construct, fill
from bitface.graph.builder import BATCH, shape_of
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import Writer
from bitface.graph.op_spec import OnnxReader, OpSpec, Shape, Traits, register
from bitface.graph.operators.views import Reshape, Transpose, pick
from bitface.graph.torch_context import TorchContext

_MODES = ("nearest", "linear")
_CUBIC = "cubic"
# What ONNX and torch take where nothing else is said.
_COEFFICIENT = -0.75
_COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn",
)  # fmt: skip
AnyContext = Context | TorchContext
# Far more than a face network's.
_LARGEST = 1 << 14
_ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


class Resize(nn.Module):
    """`[N, …]` → `[N, *sizes]`, axis by axis, as ONNX Resize defines it; all words are ONNX's.

    Args:
        scales: of each axis but the batch, which decide where the new pixels lie; about the new size by the old one.
        mode: nearest or linear.
        coordinates: of a new pixel's centre in the old image.
        rounding: of such a coordinate to the nearest pixel.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        scales: tuple[float, ...],
        mode: str = "nearest",
        coordinates: str = "half_pixel",
        rounding: str = "round_prefer_floor",
    ) -> None:
        super().__init__()
        if mode not in _MODES or coordinates not in _COORDINATES or rounding not in _ROUNDINGS:
            raise ValueError(f"resizes by {mode}, {coordinates}, {rounding}")
        if max(sizes) > _LARGEST:
            raise ValueError(f"resizes to {max(sizes)}, more than {_LARGEST}")
        self.sizes, self.scales = tuple(sizes), tuple(scales)
        self.mode, self.coordinates, self.rounding = mode, coordinates, rounding

    def forward(self, x: Tensor) -> Tensor:
        for axis, (size, scale) in enumerate(zip(self.sizes, self.scales, strict=True), start=1):
            if scale != 1:  # channels may have left that nothing resizes
                x = self._along(x, axis, size, scale)
        return x

    def _along(self, x: Tensor, axis: int, size: int, scale: float) -> Tensor:
        last = x.shape[axis] - 1
        if self.mode == "nearest":
            return x.index_select(axis, self.nearest(size, scale, last + 1))
        place = self.places(size, scale, last + 1).clamp(0, last)
        lower = place.floor().long()
        share = (place - lower).view(-1, *[1] * (x.dim() - axis - 1))
        above = x.index_select(axis, (lower + 1).clamp(max=last))
        return x.index_select(axis, lower) * (1 - share) + above * share

    def nearest(self, size: int, scale: float, side: int) -> Tensor:
        """The old pixels that the new ones are."""
        place = self.places(size, scale, side) if scale != 1 else torch.arange(size)
        return self._rounded(place).long().clamp(0, side - 1)

    def places(self, size: int, scale: float, side: int) -> Tensor:
        """The coordinates of the new pixels in the old ones, float32 as in ONNX Runtime."""
        new, factor = torch.arange(size, dtype=torch.float32), torch.tensor(scale, dtype=torch.float32)
        if self.coordinates == "asymmetric":
            return new / factor
        if self.coordinates == "align_corners":
            return new * (side - 1) / (size - 1) if size > 1 else torch.zeros(1)
        if self.coordinates == "tf_half_pixel_for_nn":
            return (new + 0.5) / factor
        centres = (new + 0.5) / factor - 0.5
        if self.coordinates == "pytorch_half_pixel" and size == 1:
            return torch.zeros(1)
        if self.coordinates == "half_pixel_symmetric":
            centres += side / 2 * (1 - size / (factor * side))
        return centres

    def _rounded(self, place: Tensor) -> Tensor:
        if self.rounding == "floor":
            return place.floor()
        if self.rounding == "ceil":
            return place.ceil()
        return (place - 0.5).ceil() if self.rounding == "round_prefer_floor" else (place + 0.5).floor()


def _add(context: AnyContext, x: Node, resize: Resize, wanted: Sequence[Tensor] | None = None) -> Node:
    """A Resize; a pick along each axis where a file's scales, in float32, would come to other pixels than the nearest.

    Args:
        wanted: for each axis but the batch the old pixels that the new ones are; None: those of the Resize.
    """
    if resize.mode != "nearest":
        return context.add(resize, x)
    axes = list(zip(resize.sizes, resize.scales, shape_of(x)[1:], strict=True))
    wanted = wanted or [resize.nearest(*one) for one in axes]
    written = [resize.nearest(size, float(_written_scale(side, size, scale)), side) for size, scale, side in axes]
    if all(map(torch.equal, wanted, written)):
        return context.add(resize, x)
    for axis, places in enumerate(wanted, start=1):
        x = pick(context.builder, context.name, x, axis, places.tolist())
    return x


def _cubic(
    context: AnyContext, x: Node, resize: Resize, coefficient: float = _COEFFICIENT, exclude_outside: bool = False
) -> Node:
    """To the same places by cubic interpolation (Keys, 1981), as a product with a matrix along each axis."""
    rank = len(shape_of(x))
    for axis, (size, scale) in enumerate(zip(resize.sizes, resize.scales, strict=True), start=1):
        if scale == 1:
            continue
        side = shape_of(x)[axis]
        matrix = _cubic_matrix(resize.places(size, scale, side), side, coefficient, exclude_outside)
        layer = fill(construct(nn.Linear, in_features=side, out_features=size, bias=False), weight=matrix.numpy())
        order = [*range(axis), rank - 1, *range(axis + 1, rank - 1), axis] if axis < rank - 1 else None
        for module in (Transpose(tuple(order)), layer, Transpose(tuple(order))) if order else (layer,):
            x = context.add(module, x, suffix=f"_axis_{axis}")
    return x


def _cubic_matrix(places: Tensor, side: int, a: float, exclude_outside: bool) -> Tensor:
    """Of `[new, old]` pixels, each new one a sum of the four around its place; beyond the border its last pixel counts,
    or none."""
    neighbours = places.floor().long()[:, None] + torch.arange(-1, 3)
    far = (places[:, None] - neighbours).abs()
    near = ((a + 2) * far - (a + 3)) * far**2 + 1
    weights = torch.where(far <= 1, near, ((far - 5) * far + 8) * far * a - 4 * a)
    if exclude_outside:
        weights = weights * ((neighbours >= 0) & (neighbours < side))
        weights = weights / weights.sum(1, keepdim=True)
    return torch.zeros(len(places), side).scatter_add_(1, neighbours.clamp(0, side - 1), weights)


def _read(context: Context, x: Node, *operands: Value) -> Node:
    """Scales alone before opset 11, an attribute before 9; since then a region of interest, scales and sizes."""
    scales, sizes = [*operands, None, None][1:3] if len(operands) > 1 else [*operands, None, None][:2]
    shape = shape_of(x)
    whole = range(len(shape))
    dims = [axis_of(axis, len(shape)) for axis in context.attribute("axes", whole)]
    if sizes is not None and np.size(sizes):
        new = dict(zip(dims, context.ints("sizes", sizes) or [], strict=True))
        factors = {axis: size / shape[axis] for axis, size in new.items() if axis}
    else:
        if isinstance(scales, Node):
            context.refuse("computes its scales from the image")
        values = context.attribute("scales") if scales is None else scales
        factors = dict(zip(dims, np.asarray(values, np.float32).reshape(-1).tolist(), strict=True))
        new = {axis: int(np.floor(np.float32(shape[axis]) * np.float32(scale))) for axis, scale in factors.items()}
    if new.get(0, shape[0]) not in (shape[0], context.batch) or BATCH in [new[axis] for axis in new if axis]:
        context.refuse("resizes the batch, or by it")
    resize = _resize(context, shape[1:], new, factors)
    if context.attribute("mode", "nearest") != _CUBIC:
        return _add(context, x, resize)
    excluded = bool(context.attribute("exclude_outside", 0))
    return _cubic(context, x, resize, context.attribute("cubic_coeff_a", _COEFFICIENT), excluded)


def _resize(context: Context, input_sides: Shape, new: dict[int, int], factors: dict[int, float]) -> Resize:
    """The module of a node with these sizes and scales; `input_sides`: the sides without the batch."""
    # Before opset 11 there is no word of either, and pixels lie where their scaled places are rounded down.
    older = context.node.op_type == "Upsample" or context.opset < 11
    mode = context.attribute("mode", "nearest")
    coordinates = context.attribute("coordinate_transformation_mode", "asymmetric" if older else "half_pixel")
    rounding = context.attribute("nearest_mode", "floor" if older else "round_prefer_floor")
    policy = context.attribute("keep_aspect_ratio_policy", "stretch")
    if mode in ("bilinear", _CUBIC):  # of opset 7; cubic interpolation begins with the same places
        mode = "linear"
    if mode not in _MODES or coordinates not in _COORDINATES or rounding not in _ROUNDINGS:
        context.refuse(f"resizes by {mode}, {coordinates}, {rounding}")
    if policy != "stretch" or (context.attribute("antialias", 0) and any(scale < 1 for scale in factors.values())):
        context.refuse("keeps the aspect ratio or smooths what it makes smaller")
    sides = tuple(new.get(axis, side) for axis, side in enumerate(input_sides, start=1))
    scales = tuple(factors.get(axis, 1.0) for axis in range(1, len(input_sides) + 1))
    return Resize(sides, scales, mode, coordinates, rounding)


def _interpolate(
    context: TorchContext,
    x: Node,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Node:
    channels, *sides = shape_of(x)[1:]
    words = {
        "nearest": ("nearest", "asymmetric", "floor"),
        "nearest-exact": ("nearest", "half_pixel", "round_prefer_ceil"),
        **dict.fromkeys(
            ("linear", "bilinear"),
            ("linear", "align_corners" if align_corners else "half_pixel", "round_prefer_floor"),
        ),
        "bicubic": ("linear", "align_corners" if align_corners else "half_pixel", "round_prefer_floor"),
    }
    if mode not in words or antialias:
        raise ValueError(f"resizes by {mode}" + (", smoothed" if antialias else ""))
    value = scale_factor if size is None else size
    values = [value] * len(sides) if isinstance(value, int | float) else list(value)
    new = [int(v) for v in values] if size is not None else [int(s * v) for s, v in zip(sides, values, strict=True)]
    exact = size is None and not recompute_scale_factor
    # To these multiples of a side torch copies pixels, whatever the factor is.
    copies = {"nearest": (1, 2), "linear": (1,), "bilinear": (1,)}.get(mode, ())
    scales = [
        float(v) if exact and n not in [times * s for times in copies] else n / s
        for v, n, s in zip(values, new, sides, strict=True)
    ]
    resize = Resize((channels, *new), (1.0, *scales), *words[mode])
    if mode == "bicubic":
        return _cubic(context, x, resize)
    if resize.mode != "nearest":
        return context.add(resize, x)
    options = {"scale_factor": tuple(map(float, values))} if exact else {"size": tuple(new)}
    return _add(context, x, resize, [torch.arange(channels), *_torch_pixels(sides, mode, options)])


def _torch_pixels(sides: Sequence[int], mode: str, options: dict[str, Any]) -> Iterator[Tensor]:
    """The old pixels that torch takes along each axis: it computes them otherwise by number of axes and by size."""
    for axis, side in enumerate(sides):
        old = torch.arange(float(side)).view(-1, *[1] * (len(sides) - axis - 1)).expand(1, 1, *sides).contiguous()
        new = nn.functional.interpolate(old, mode=mode, **options)
        yield new.movedim(axis + 2, 0).flatten(1)[:, 0].long()


def _call_upsample(context: TorchContext, module: nn.Upsample, x: Node) -> Node:
    again = module.recompute_scale_factor
    return _interpolate(context, x, module.size, module.scale_factor, module.mode, module.align_corners, again)


def _written_scale(side: int, size: int, scale: float) -> np.float32:
    """The scale by which float32 arithmetic comes to the size."""
    result = np.float32(scale)
    while scale != 1 and np.floor(np.float32(side) * result) < size:
        result = np.nextafter(result, np.float32(np.inf))
    return result


def _write(writer: Writer, node: Node, module: Resize, inputs: list[str]) -> str:
    """By scales, as sizes would fix the batch."""
    sides = shape_of(node.all_input_nodes[0])[1:]
    scales = [_written_scale(*one) for one in zip(sides, module.sizes, module.scales, strict=True)]
    name = writer.constant(f"{node.target}.scales", np.array([1, *scales], np.float32))
    words = {"coordinate_transformation_mode": module.coordinates, "nearest_mode": module.rounding}
    return writer.op("Resize", [*inputs, "", name], str(node.target), mode=module.mode, **words)


def _traits(module: Resize) -> Traits:
    nearest = module.mode == "nearest"
    return Traits(keeps_sign=True, keeps_levels=nearest, moves=nearest, channels="kept")


def _moved(context: AnyContext, x: Node, first: Sequence[int], order: Sequence[int], last: Sequence[int]) -> Node:
    """A view of more axes, these in another order, and a view of them together."""
    steps = [Reshape(tuple(first)), Transpose(tuple(order)), Reshape(tuple(last))]
    return reduce(lambda node, step: context.add(step, node), steps, x)


def depth_to_space(context: AnyContext, x: Node, block: int, depth_first: bool) -> Node:
    """`[N, C·b·b, H, W]` → `[N, C, H·b, W·b]`; in the old channels C counts fastest where depth comes first."""
    channels, height, width = shape_of(x)[1:]
    depth = channels // block**2
    first = (block, block, depth) if depth_first else (depth, block, block)
    order = (0, 3, 4, 1, 5, 2) if depth_first else (0, 1, 4, 2, 5, 3)
    return _moved(context, x, (*first, height, width), order, (depth, height * block, width * block))


def space_to_depth(context: AnyContext, x: Node, block: int, depth_first: bool) -> Node:
    """`[N, C, H·b, W·b]` → `[N, C·b·b, H, W]`; in the new channels C counts fastest where depth comes first."""
    channels, height, width = shape_of(x)[1:]
    sides = height // block, width // block
    order = (0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4)
    first = (channels, sides[0], block, sides[1], block)
    return _moved(context, x, first, order, (channels * block**2, *sides))


def _read_depth_to_space(context: Context, x: Node) -> Node:
    return depth_to_space(context, x, context.attribute("blocksize"), context.attribute("mode", "DCR") == "DCR")


def _read_space_to_depth(context: Context, x: Node) -> Node:
    return space_to_depth(context, x, context.attribute("blocksize"), context.attribute("mode", "DCR") == "DCR")


register(
    OpSpec(
        "Resize",
        Resize,
        onnx={name: OnnxReader(_read) for name in ("Resize", "Upsample")},
        torch_calls={nn.functional.interpolate: _interpolate},
        torch_modules={nn.Upsample: _call_upsample},
        write=_write,
        traits=_traits,
    )
)
register(
    OpSpec(
        "DepthToSpace",
        onnx={
            "DepthToSpace": OnnxReader(_read_depth_to_space, moves_integers=True),
            "SpaceToDepth": OnnxReader(_read_space_to_depth, moves_integers=True),
        },
        torch_calls={
            nn.functional.pixel_shuffle: lambda context, x, block: depth_to_space(context, x, block, False),
            nn.functional.pixel_unshuffle: lambda context, x, block: space_to_depth(context, x, block, False),
        },
        torch_modules={
            nn.PixelShuffle: lambda context, module, x: depth_to_space(context, x, module.upscale_factor, False),
            nn.PixelUnshuffle: lambda context, module, x: space_to_depth(context, x, module.downscale_factor, False),
        },
    )
)

"""Tensors whose first axis isn't the batch: attention is often written so, as `[3, N, heads, …]` or `[N · heads, …]`.

A graph holds every tensor with the batch in front, alone. `Arranged` is one that a file holds in another form: which
axes of the graph's tensor each of its own axes is made of. Few operators take it, and every other one is refused; most
such tensors come back to the usual form after two or three of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn
from torch.fx import Node

from bitface.graph.attributes import tensor
from bitface.graph.builder import BATCH, Builder, ShapeError, shape_of
from bitface.graph.operators.matmul import MatMul
from bitface.graph.operators.views import Reshape, Transpose, pick, reshape, take

Groups = tuple[tuple[int, ...], ...]
OUTPUT_ARRANGED = (
    "its output mixes the batch with other dimensions; export the network so that the first dimension stays the batch"
)


@dataclass(frozen=True)
class Arranged:
    """A tensor in another form than the graph's.

    Attributes:
        node: the graph's tensor, the batch in front.
        groups: for each axis of the file's tensor the axes of the graph's that it runs through, the slowest first. A
            batch in none of them is one that the file fixes to 1 and has squeezed away.
    """

    builder: Builder
    name: str
    node: Node
    groups: Groups

    @property
    def shape(self) -> tuple[int, ...]:
        """As the file sees it, with `BATCH` for the batch."""
        sides = shape_of(self.node)
        return tuple(math.prod(sides[axis] for axis in group) for group in self.groups)

    def with_node(self, node: Node) -> "Arranged":
        return Arranged(self.builder, self.name, node, self.groups)

    def settled(self) -> "Node | Arranged":
        """The tensor in the graph's form, where the batch is in front, alone."""
        if self.groups[0] != (0,):
            return self
        node = self.in_order().node
        return node if shape_of(node) == self.shape else self._add(Reshape(self.shape[1:]), node)

    def in_order(self) -> "Arranged":
        """The same with the graph's axes in the order of the file's, but for the batch."""
        order = (0, *(axis for group in self.groups for axis in group if axis))
        if order == tuple(range(len(order))):
            return self
        place = {axis: index for index, axis in enumerate(order)}
        groups = tuple(tuple(place[axis] for axis in group) for group in self.groups)
        return Arranged(self.builder, self.name, self._add(Transpose(order), self.node), groups)

    def merged(self) -> "Arranged":
        """The same in order, with axes that only follow each other as one: what equal tensors have in common."""
        form = self.in_order()
        sides, tail = shape_of(form.node), list[int]()
        groups: list[tuple[int, ...]] = []
        for group in form.groups:
            axes: list[int] = []
            for place, axis in enumerate(group):
                if axis == 0:
                    axes.append(0)
                elif place and group[place - 1] != 0:
                    tail[-1] *= sides[axis]
                else:
                    tail.append(sides[axis])
                    axes.append(len(tail))
            groups.append(tuple(axes))
        node = form.node if tuple(tail) == sides[1:] else self._add(Reshape(tuple(tail)), form.node)
        return Arranged(self.builder, self.name, node, tuple(groups))

    def transpose(self, order: Sequence[int]) -> "Node | Arranged":
        groups = tuple(self.groups[axis] for axis in order)
        return Arranged(self.builder, self.name, self.node, groups).in_order().settled()

    def pick(self, axis: int, index: int) -> "Node | Arranged":
        """`x[…, index, …]`: without this axis."""
        part = self.slice(axis, range(index, index + 1)) if self.shape[axis] > 1 else self
        return part.drop(axis)

    def pick_several(self, axis: int, indices: np.ndarray) -> "Node | Arranged":
        """`x[…, indices, …]`: with the axes of the indices in this one's place.

        Raises:
            ShapeError: the axis is the batch, or made of several.
        """
        own = self._own(axis)
        form = self.with_node(pick(self.builder, self.name, self.node, own, indices.reshape(-1).tolist()))
        if indices.ndim == 1:
            return form.settled()
        return form.reshape((*form.shape[:axis], *indices.shape, *form.shape[axis + 1 :]))

    def pick_behind(self, axis: int, indices: np.ndarray, batch: int | None) -> "Node | Arranged | None":
        """Of an axis along which the images lie one behind the other, the same places of each; None: it is another, or
        they are others. `batch`: what the file's fixed batch is."""
        group, images = self.groups[axis], len(indices)
        if group[:1] != (0,) or len(self.groups) != 1 or images not in (BATCH, batch):
            return None
        size = math.prod(shape_of(self.node)[1:])
        places = indices.reshape(images, -1)
        if (places - places[:1] != size * np.arange(images)[:, None]).any() or places[0].min() < 0:
            return None
        flat = reshape(self.builder, self.name, self.in_order().node, (-1, size))
        picked = pick(self.builder, self.name, flat, 1, places[0].tolist())
        return reshape(self.builder, self.name, picked, (-1, *indices.shape[1:]))

    def slice(self, axis: int, places: range) -> "Arranged":
        """Raises ShapeError where the axis is the batch, or made of several."""
        return self.with_node(take(self.builder, self.name, self.node, self._own(axis), places))

    def sides(self, batch: int | None) -> tuple[int, ...]:
        """The shape with the file's own batch, where it fixes one."""
        own = (batch or BATCH, *shape_of(self.node)[1:])
        return tuple(math.prod(own[axis] for axis in group) for group in self.groups)

    def drop(self, axis: int, batch: int | None = None) -> "Node | Arranged":
        """Without an axis of length 1; `batch`: what the file's fixed batch is.

        Raises:
            ShapeError: it is longer, or the only one.
        """
        side = self.sides(batch)[axis]
        if side != 1 or len(self.groups) == 1:
            raise ShapeError(f"{self.name}: leaves out an axis of {side}" + ", the last one" * (side == 1))
        axes = set(self.groups[axis]) - {0}
        rest = [own for own in range(len(shape_of(self.node))) if own not in axes]
        place = {own: index for index, own in enumerate(rest)}
        node = self._add(Reshape(tuple(shape_of(self.node)[own] for own in rest[1:])), self.node) if axes else self.node
        groups = tuple(tuple(place[own] for own in group) for at, group in enumerate(self.groups) if at != axis)
        return Arranged(self.builder, self.name, node, groups).settled()

    def insert(self, axis: int) -> "Node | Arranged":
        """With an axis of length 1: in front the batch, where it was squeezed away."""
        own = () if axis or self.has_batch() else (0,)
        return Arranged(self.builder, self.name, self.node, (*self.groups[:axis], own, *self.groups[axis:])).settled()

    def with_batch(self) -> "Node | Arranged":
        """With the batch in front, where it was squeezed away."""
        return self if self.has_batch() else self.insert(0)

    def has_batch(self) -> bool:
        return any(0 in group for group in self.groups)

    def reshape(self, shape: Sequence[int], batch: int | None = None) -> "Node | Arranged":
        """In another shape (0 keeps a side, -1 is what is left); `batch`: what the file's fixed batch is.

        Raises:
            ShapeError: the shape cuts through the batch.
        """
        old_shape = self.shape
        new_shape = [
            old_shape[axis] if side == 0 and axis < len(old_shape) else side for axis, side in enumerate(shape)
        ]
        if not self.has_batch():
            return self._reshape_one(new_shape)
        sides = list(shape_of(self.node))
        for first in (BATCH, batch):
            if first is None:
                continue
            total = first * math.prod(sides[1:])
            rest = math.prod(side for side in new_shape if side != -1)
            full = [total // max(rest, 1) if side == -1 else side for side in new_shape]
            if math.prod(full) == total and (result := self._regrouped(full, first)):
                return result.settled()
        raise ShapeError(
            f"{self.name}: reshapes {list(self.shape)} to {list(shape)}, which mixes the batch with other dimensions"
        )

    def _reshape_one(self, shape: Sequence[int]) -> "Node | Arranged":
        """The same of a batch of 1 that was squeezed away, and comes back as an axis of 1 in front."""
        size = math.prod(shape_of(self.node)[1:])
        rest = math.prod(side for side in shape if side != -1)
        full = [size // max(rest, 1) if side == -1 else side for side in shape]
        form = Arranged(self.builder, self.name, self.node, ((0,), *self.groups))
        comes_back = full[:1] == [1]
        result = form._regrouped(full if comes_back else [1, *full], 1) if math.prod(full) == size else None
        if result is None:
            raise ShapeError(f"{self.name}: reshapes {list(self.shape)} to {list(shape)}")
        return result.settled() if comes_back else result.drop(0, 1)

    def _regrouped(self, shape: Sequence[int], batch: int) -> "Arranged | None":
        """The same in groups of these lengths, axes cut in two where a length ends within one; None: it can't be."""
        axes = [axis for group in self.groups for axis in group]
        lengths = [batch if axis == 0 else shape_of(self.node)[axis] for axis in axes]
        # Parts in the file's order: (axis of the graph's tensor, length).
        parts, at = list(zip(axes, lengths, strict=True)), 0
        groups: list[list[int]] = []
        for side in shape:
            group, length = [], 1
            if at < len(parts) and parts[at] == (0, 1):
                # A batch that the file fixes to 1 is found by no length: it stays alone, or goes with the axis before
                # it, or with a part of the one behind it. What is computed is the same for every image.
                following = parts[at + 1][1] if at + 1 < len(parts) else 1
                if groups and following <= side != 1:
                    groups[-1].append(at)
                else:
                    group.append(at)
                at += 1
            while length < side:
                if at == len(parts):
                    return None
                axis, long = parts[at]
                if side % length or (side // length) % long:
                    rest = side // length
                    if axis == 0 or side % length or long % rest:
                        return None
                    parts[at : at + 1] = [(axis, rest), (axis, long // rest)]
                    long = rest
                group.append(at)
                length, at = length * long, at + 1
            if length != side:
                return None
            groups.append(group)
        while at < len(parts):  # axes of length 1 that are left
            if parts[at][1] != 1 or not groups:
                return None
            groups[-1].append(at)
            at += 1
        order = sorted(range(len(parts)), key=lambda part: (parts[part][0], part))
        place = {part: index for index, part in enumerate(order)}
        tail = tuple(parts[part][1] for part in order[1:])
        node = self.node if shape_of(self.node)[1:] == tail else self._add(Reshape(tail), self.node)
        new_groups = tuple(tuple(place[part] for part in group) for group in groups)
        return Arranged(self.builder, self.name, node, new_groups)

    def last_alone(self, count: int = 1) -> "Arranged":
        """The same with each of the last axes made of one of the graph's, which are its last ones.

        Raises:
            ShapeError: the batch is in one of them.
        """
        result = self.in_order()
        if any(0 in group for group in result.groups[-count:]):
            raise ShapeError(f"{self.name}: computes along the batch, which isn't supported")
        tail = [shape_of(result.node)[axis] for group in result.groups[:-count] for axis in group if axis]
        tail += result.shape[-count:]
        node = result.node
        if tuple(tail) != shape_of(node)[1:]:
            node = self._add(Reshape(tuple(tail)), node)
        first = 1 + sum(1 for group in result.groups[:-count] for axis in group if axis)
        groups = (*result.groups[:-count], *((first + index,) for index in range(count)))
        return Arranged(self.builder, self.name, node, groups)

    def constant(self, value: Any) -> Node:
        """A constant of the file in the form of the graph's tensor.

        Raises:
            ShapeError: it says something else of every image.
        """
        array = np.asarray(value)
        array = array.reshape((1,) * (len(self.groups) - array.ndim) + array.shape)
        sides = shape_of(self.node)
        split: list[int] = []
        for group, side in zip(self.groups, array.shape, strict=True):
            if side != 1 and 0 in group:
                raise ShapeError(f"{self.name}: a constant that is another one for every image, which isn't supported")
            split += [sides[axis] if side != 1 else 1 for axis in group]
        axes = [axis for group in self.groups for axis in group]
        order = sorted(range(len(axes)), key=axes.__getitem__)
        return self.builder.constant(f"{self.name}_constant", tensor(array.reshape(split).transpose(order)))

    def _own(self, axis: int) -> int:
        """The graph's axis that one of the file's is. Raises ShapeError where that is the batch, or several."""
        (own,) = self.groups[axis] if len(self.groups[axis]) == 1 else (0,)
        if own == 0:
            raise ShapeError(f"{self.name}: picks along an axis that holds the batch, which isn't supported")
        return own

    def _add(self, module: nn.Module, *inputs: Node) -> Node:
        return self.builder.add(f"{self.name}_arranged", module, *inputs)


def transposed(builder: Builder, name: str, x: Node, order: Sequence[int]) -> "Node | Arranged":
    """A tensor of the graph with its axes in another order."""
    order = tuple(order)
    if order == tuple(range(len(order))):
        return x
    if order[0] == 0:
        return builder.add(name, Transpose(order), x)
    return Arranged(builder, name, x, tuple((axis,) for axis in range(len(order)))).transpose(order)


def arranged(builder: Builder, name: str, x: "Node | Arranged") -> Arranged:
    """A tensor in the general form."""
    if isinstance(x, Arranged):
        return Arranged(builder, name, x.node, x.groups)
    return Arranged(builder, name, x, tuple((axis,) for axis in range(len(shape_of(x)))))


def binary(builder: Builder, name: str, module: nn.Module, a: Any, b: Any) -> "Node | Arranged":
    """Arithmetic on two tensors, number by number, of which one may be a constant."""
    both = isinstance(a, Node | Arranged) and isinstance(b, Node | Arranged)
    form = arranged(builder, name, a if isinstance(a, Node | Arranged) else b)
    form = form.merged() if both else form.in_order()
    inputs = []
    for value in (a, b):
        if not isinstance(value, Node | Arranged):
            inputs.append(form.constant(value))
            continue
        own = arranged(builder, name, value)
        own = own.merged() if both else own.in_order()
        if own.groups != form.groups:
            raise ShapeError(f"{name}: computes on tensors with the batch at two places, which isn't supported")
        inputs.append(own.node)
    return form.with_node(builder.add(name, module, *inputs)).settled()


def product(builder: Builder, name: str, a: Any, b: Any, linear: Callable[[Node, np.ndarray], Node]) -> Any:
    """A matrix product; `linear` forms one with a constant matrix `[in, out]`.

    Raises:
        ShapeError: the batch isn't among the first axes of both, or not at one place.
    """
    if not isinstance(b, Node | Arranged):
        form = arranged(builder, name, a).last_alone()
        return form.with_node(linear(form.node, np.asarray(b))).settled()
    if not isinstance(a, Node | Arranged):
        raise ShapeError(f"{name}: multiplies a constant with a tensor in another form, which isn't supported")
    forms = [arranged(builder, name, value) for value in (a, b)]
    if min(len(form.groups) for form in forms) < 2:
        raise ShapeError(f"{name}: multiplies vectors that are computed from the image, which isn't supported")
    left, right = (form.merged().last_alone(2) for form in forms)
    if left.groups[:-2] != right.groups[:-2] or len(left.groups) != len(right.groups):
        raise ShapeError(f"{name}: multiplies tensors with the batch at two places, which isn't supported")
    return left.with_node(builder.add(name, MatMul(), left.node, right.node)).settled()


def softmax(builder: Builder, name: str, x: Arranged, axis: int) -> "Node | Arranged":
    """Raises ShapeError where the axis isn't one of the graph's tensor."""
    group = x.groups[axis]
    if len(group) != 1 or 0 in group:
        raise ShapeError(f"{name}: compares the images of a batch")
    return x.with_node(builder.add(name, nn.Softmax(group[0]), x.node)).settled()

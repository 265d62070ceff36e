"""Cosines of chosen pairs of faces, with a gradient that costs little when few of many pairs are chosen."""

from typing import Any

import torch
from torch import Tensor


class _PairCosines(torch.autograd.Function):
    """See `pair_cosines`. The backward pass knows only the chosen pairs, so that no [B, F + B] gradient is formed."""

    @staticmethod
    def forward(ctx: Any, batch: Tensor, memory: Tensor, values: Tensor, pairs: Tensor) -> Tensor:
        # The memory is overwritten in place before the gradient is asked for, so its rows are kept as copies.
        columns = pairs[1]
        past = columns < len(memory)
        used, local = columns[past].unique(return_inverse=True)
        ctx.save_for_backward(batch, memory[used], local, past, pairs)
        ctx.held = len(memory)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = gradients
        batch, used, local, past, (rows, columns) = ctx.saved_tensors
        size = len(batch)
        # Weight of each row of the memory, and of the batch, in the gradient of each row of the batch.
        of_past = batch.new_zeros(size, len(used))
        of_past[rows[past], local] = gradient[past]
        of_batch = batch.new_zeros(size, size)
        of_batch[rows[~past], columns[~past] - ctx.held] = gradient[~past]
        return of_past @ used + (of_batch + of_batch.T) @ batch, None, None, None


def pair_cosines(batch: Tensor, memory: Tensor, values: Tensor, pairs: Tensor) -> Tensor:
    """Cosines of chosen pairs, differentiable by `batch` once.

    Args:
        batch: normalised embeddings `[B, D]`.
        memory: normalised embeddings of the past `[F, D]`, without gradient.
        values: the chosen cosines `[P]`, computed already.
        pairs: int64 `[2, P]`, all different: rows of `batch`, and of `memory` with `batch` below it.

    Returns:
        `[P]`.
    """
    result: Tensor = _PairCosines.apply(batch, memory, values, pairs)  # type: ignore[no-untyped-call]
    return result

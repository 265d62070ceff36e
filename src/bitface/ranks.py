"""The processes of one training, as torchrun starts them: which one this is, and what they tell one another.

    torchrun --nproc_per_node 8 -m bitface run rcm-3bit net.onnx --images crops/ --out out/

Each rank computes the embeddings of its part of a batch; all of them know the embeddings of the whole one, and with
these the same loss. So a gradient of the whole batch is the sum of what the ranks find. Without torchrun there is one
rank, and everything here leaves things as they are.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

import bitface
from bitface.errors import BitfaceError, one_line
from bitface.store import Form, Store

T = TypeVar("T")
# Longer than a rank may compute alone before the others hear of it again; one that dies is noticed at once.
_PATIENCE = timedelta(hours=12)
_OPERATIONS = {"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}
_BITS = {1: torch.uint8, 4: torch.int32, 8: torch.int64}
_store: Any = None


class Lost(BitfaceError):
    """Another rank has ended, or torchrun ends all of them."""


def launched() -> bool:
    """Whether torchrun, or whatever sets its variables, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def begin() -> None:
    """Joins the other ranks where there are any: over gloo on CPUs, NCCL on GPUs.

    Raises:
        BitfaceError: they can't be reached.
    """
    global _store
    if not launched() or dist.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, world = next(iter(rendezvous("env://", timeout=timedelta(minutes=5))))
        _store = store
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise BitfaceError(f"the other ranks can't be reached ({one_line(error)}); start them with torchrun") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _told_to_end)  # as torchrun does when a rank has failed


def end() -> None:
    """Leaves the other ranks."""
    global _store
    if dist.is_initialized():
        dist.destroy_process_group()
    _store = None


def count() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which one this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the rank that writes."""
    return rank() == 0


def local() -> int:
    """Which rank of its machine this is: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK") or 0)


def fails_first() -> bool:
    """Whether this rank is the first that fails, and so the one that says why; what follows elsewhere is only of it."""
    if _store is None:
        return True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends already
    try:
        return bool(_store.add(f"bitface failures {os.environ.get('TORCHELASTIC_RESTART_COUNT')}", 1) == 1)
    except RuntimeError:  # whoever kept the store has gone
        return is_first()


def part(total: int, size: int = 1) -> slice:
    """The rows of this rank, of so many: as even parts as there can be, in the order of the ranks.

    Args:
        size: of the blocks that aren't cut: a batch that is cut elsewhere rounds differently in some engines.
    """
    blocks = -(-total // size)
    start, stop = (size * (blocks * number // count()) for number in (rank(), rank() + 1))
    return slice(min(start, total), min(stop, total))


def share(total: int, size: int = 1) -> slice:
    """The rows that this rank computes of so many: its `part`, or one row where that is empty, for its shape."""
    own = part(total, size)
    return slice(own.start, max(own.stop, own.start + 1))


def joined(own: Tensor, total: int, size: int = 1) -> Tensor:
    """The rows of all ranks, `[total, …]`, of each one's `share` of them, bit by bit; no gradient."""
    if count() == 1:
        return own
    rows = part(total, size)
    whole = own.new_zeros(total, *own.shape[1:])
    whole[rows] = own[: rows.stop - rows.start]
    reduced(whole.view(_BITS[whole.element_size()]))  # whole numbers: a sum with zeros keeps every bit
    return whole


def joined_array(own: np.ndarray, total: int, size: int = 1) -> np.ndarray:
    """As `joined`, of an array."""
    return own if count() == 1 else joined(torch.from_numpy(np.ascontiguousarray(own)), total, size).numpy()


def kept(store: Store, kind: str, key: str, form: Form[T], compute: Callable[[], T]) -> T:
    """As `Store.value`, of what all ranks compute together unless each of them finds it; one of each machine writes.

    Raises:
        BitfaceError: the store can't be written; and whatever `compute` raises.
    """
    value = store.found(kind, key, form)
    if all(told(value is not None)) and value is not None:
        return value
    value = compute()
    if local() == 0:
        store.keep(kind, key, form, value)
    return value


def gathered(own: Tensor, total: int) -> Tensor:
    """The rows of all ranks, `[total, …]`, of each one's `part` of them.

    The gradient of what every rank computes of all rows alike reaches each one's own rows.
    """
    if count() == 1:
        return own
    result: Tensor = _Gathered.apply(own, total)  # type: ignore[no-untyped-call]
    return result


def shared(x: Tensor) -> Tensor:
    """`x`, of which each rank computes a part of the loss: its gradient is the sum of all ranks' gradients."""
    if count() == 1:
        return x
    result: Tensor = _Shared.apply(x)  # type: ignore[no-untyped-call]
    return result


def summed(x: Tensor) -> Tensor:
    """The sum of all ranks' `x`, of which they all compute the same loss: each `x` has the gradient of the sum."""
    if count() == 1:
        return x
    result: Tensor = _Summed.apply(x)  # type: ignore[no-untyped-call]
    return result


def reduced(x: Tensor, operation: str = "sum") -> Tensor:
    """The `sum`, `min` or `max` of all ranks' `x`, in its place; no gradient."""
    if count() > 1:
        with _together():
            dist.all_reduce(x, _OPERATIONS[operation])
    return x


def as_the_first(tensors: Iterable[Tensor]) -> None:
    """Gives tensors the values that they have in the first rank, in place."""
    for tensor in tensors if count() > 1 else ():
        value = tensor.detach().contiguous()
        with _together():
            dist.broadcast(value, 0)
        tensor.detach().copy_(value)


def told(value: T) -> list[T]:
    """What each rank says, in their order; plain data."""
    values = [value] * count()
    if count() > 1:
        with _together():
            dist.all_gather_object(values, value)
    return values


def wait() -> None:
    """Until all ranks are here."""
    told(None)


@contextmanager
def first_ahead() -> Iterator[None]:
    """Lets the first rank go through a block before the others, which then find in the store what it made."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


def agree(facts: Mapping[str, str]) -> None:
    """Makes sure that all ranks are about the same thing, in the same version: before they compute any of it together.

    Raises:
        BitfaceError: a fact is another one somewhere; the message names it and the rank.
    """
    if count() == 1:
        return
    table = told({**facts, "version of bitface": bitface.__version__, "version of torch": torch.__version__})
    for number, others in enumerate(table):
        differing = [key for key in table[0] if others.get(key) != table[0][key]]
        if differing:
            raise BitfaceError(
                f"rank {number} has other {', '.join(differing)} than rank 0; give all machines the same files and "
                "the same version of bitface"
            )


@contextmanager
def _together() -> Iterator[None]:
    """Raises Lost where another rank doesn't answer."""
    try:
        yield
    except RuntimeError as error:
        raise Lost("another rank has ended") from error


def _told_to_end(*_: object) -> None:
    raise Lost("another rank has ended, or all were told to end")


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, total: int) -> Tensor:
        ctx.rows = part(total)
        # Sums with zeros are exact, and parts needn't be of one size.
        whole = own.new_zeros(total, *own.shape[1:])
        whole[ctx.rows] = own
        return reduced(whole)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.rows], None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return reduced(gradients[0].clone(memory_format=torch.contiguous_format))


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return reduced(x.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]

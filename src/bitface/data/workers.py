"""Work done ahead of need by other processes, in an order that their number doesn't change.

They are those of torch's DataLoader: started by fork where the system has it (nothing is imported again, and what they
share with this process takes no memory twice), else by spawn. They end with this process, however it ends, and leave
Ctrl-C to it. Arrays come back through shared memory, at most `AHEAD` results of each worker.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar, cast

import numpy as np

from bitface import signals
from bitface.errors import BitfaceError, option

T = TypeVar("T", bound=tuple[Any, ...])
AHEAD = 2
_START = "fork" if sys.platform == "linux" else "spawn"


def in_order(compute: Callable[[int], T], numbers: Iterable[int], workers: int) -> Iterator[T]:
    """Yields `compute(number)` for each of the numbers, in their order, computed by so many processes; 0: by this one.

    Args:
        compute: gives a tuple of arrays and of plain values. A process that is spawned gets it pickled.

    Raises:
        BitfaceError: a process was killed; and whatever `compute` raises.
    """
    if workers == 0:
        yield from map(compute, numbers)
        return
    from torch import Tensor  # not where this process does it all: faces are read without torch, too
    from torch.utils.data import DataLoader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of more processes than cores: whoever asks for them has a reason
        loader: DataLoader[Any] = DataLoader(
            cast(Any, _Computed(compute)),
            batch_size=None,
            sampler=numbers if isinstance(numbers, Sized) else _Endless(numbers),
            num_workers=workers,
            collate_fn=_shared,
            worker_init_fn=_begin,
            prefetch_factor=AHEAD,
            multiprocessing_context=_START,
        )
        results = iter(loader)
    while True:
        try:
            parts = next(results)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error) or isinstance(error, BitfaceError):
                raise
            raise BitfaceError(
                "a process that reads images was killed: for want of memory, or of shared memory (/dev/shm); use "
                f"{option('workers', 0)}"
            ) from error
        if isinstance(parts, _Failed):
            raise parts.error
        yield tuple(part.numpy() if isinstance(part, Tensor) else part for part in parts)  # type: ignore[misc]


class _Endless:
    """Numbers without a length, as a sampler."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = numbers

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)


class _Failed:
    """An error on its way from a worker: DataLoader would wrap it in a trace of its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Computed:
    """What is computed, as a data set of torch's."""

    def __init__(self, compute: Callable[[int], tuple[Any, ...]]) -> None:
        self.compute = compute

    def __getitem__(self, number: int) -> Any:
        try:
            return self.compute(number)
        except Exception as error:
            return _Failed(error)


def _shared(parts: Any) -> Any:
    """Arrays as tensors, which travel through shared memory."""
    if isinstance(parts, _Failed):
        return parts
    from torch import from_numpy

    return tuple(from_numpy(part) if isinstance(part, np.ndarray) else part for part in parts)


def _begin(_: int) -> None:
    import cv2

    signals.ignore()
    # Errors of the work go to whoever asked for it; what else fails is that nobody is there any more.
    sys.excepthook = lambda *_: None
    cv2.setNumThreads(0)  # its threads don't outlive a fork

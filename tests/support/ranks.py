"""Several ranks on this machine: forked processes that find one another as torchrun's do."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from bitface import ranks


def on_ranks(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What a function gives on each of so many ranks, in their order; plain data.

    Raises:
        AssertionError: it failed somewhere; the message holds the trace.
    """
    if count == 1:
        return [function(*arguments)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    processes, ends = [], []
    for rank in range(count):
        own, others = fork.Pipe(False)
        # Not as a daemon, which may have no workers.
        process = fork.Process(target=_be, args=(rank, count, port, others, function, arguments))
        process.start()
        others.close()
        processes.append(process)
        ends.append(own)
    results = []
    try:
        for rank, (process, end) in enumerate(zip(processes, ends, strict=True)):
            fine, value = end.recv() if end.poll(120) else (False, "nothing came")
            process.join(10)
            assert fine, f"rank {rank}: {value}"
            results.append(value)
    finally:
        for process in processes:
            process.kill()
    return results


def _be(rank: int, count: int, port: int, end: Connection, function: Callable[..., Any], arguments: Any) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)  # a forked process has none of OpenMP's threads
    try:
        ranks.begin()
        end.send((True, function(*arguments)))
    except BaseException:
        end.send((False, traceback.format_exc()))
    end.close()
    os._exit(0)

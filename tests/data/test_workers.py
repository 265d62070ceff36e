"""Work done ahead of need by other processes."""

import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from bitface.data.workers import in_order
from bitface.errors import BitfaceError


def squares(number: int) -> tuple[np.ndarray, int, list[str]]:
    time.sleep(0.01 * (number % 3))  # later numbers are ready earlier
    return np.full(3, number * number), os.getpid(), ["word"] * (number % 2)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_the_order_does_not_depend_on_their_number(workers: int) -> None:
    results = list(in_order(squares, range(12), workers))
    assert [array.tolist() for array, _, _ in results] == [[n * n] * 3 for n in range(12)]
    assert [words for _, _, words in results] == [["word"] * (n % 2) for n in range(12)]
    assert len({process for _, process, _ in results}) == max(workers, 1)
    assert (os.getpid() in {process for _, process, _ in results}) == (workers == 0)


def refuse(number: int) -> tuple[int]:
    if number == 2:
        raise BitfaceError("number 2 is none")
    return (number,)


def end(number: int) -> tuple[int]:
    os._exit(9)


def test_errors_are_those_of_the_work() -> None:
    results = in_order(refuse, range(5), 2)
    assert [next(results), next(results)] == [(0,), (1,)]
    with pytest.raises(BitfaceError, match=r"^number 2 is none$"):
        next(results)
    with pytest.raises(BitfaceError, match="was killed: for want of memory"):
        next(in_order(end, range(5), 1))


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(processes: set[int]) -> bool:
    for _ in range(150):
        if not any(alive(one) for one in processes):
            return True
        time.sleep(0.1)
    return False


def test_they_end_with_whoever_asks() -> None:
    results = in_order(squares, count(), 3)
    processes = {next(results)[1] for _ in range(6)}
    assert all(alive(one) for one in processes)
    del results
    assert gone(processes)


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 7), (signal.SIGKILL, -9)])
def test_they_end_with_the_process_whatever_ends_it(tmp_path: Path, stop: signal.Signals, code: int) -> None:
    """Ctrl-C goes to all of the group, and is for the first process to answer; a killed one can't say goodbye."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from itertools import count\n"
        "from data.test_workers import squares\n"
        "from bitface.data.workers import in_order\n"
        "try:\n"
        "    for _, process, _ in in_order(squares, count(), 2):\n"
        "        print(process, flush=True)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(7)\n"
    )
    here = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        processes = {int(process.stdout.readline()) for _ in range(6)}
        if stop == signal.SIGINT:
            os.killpg(process.pid, stop)
        else:
            process.kill()
        assert process.wait(30) == code
        assert gone(processes)
        assert process.stderr.read() == ""

"""What ends a command from outside: Ctrl-C, a request to end (TERM), a terminal that has gone (HUP).

Each becomes Python's KeyboardInterrupt, so that whatever is begun is undone on the way out. The exit code is a shell's
for that signal: 130, 143 or 129.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "told to end (SIGTERM)",
    signal.SIGHUP: "the terminal has gone (SIGHUP)",
}
_received: signal.Signals | None = None


def ending() -> tuple[str, int] | None:
    """What ends this command, in words, and its exit code; None: nothing has asked for that."""
    return (_WORDS[_received], 128 + _received) if _received else None


def by_ctrl_c() -> bool:
    """Whether what ended a command came from the keyboard: where that is how one leaves it, it has gone well."""
    return _received in (None, signal.SIGINT)


@contextmanager
def listening() -> Iterator[None]:
    """Until it ends, signals raise KeyboardInterrupt in the main thread; those that are ignored (nohup) stay so."""
    global _received
    _received = None
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in _WORDS}
    for one, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(one, _stop)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def asking() -> Iterator[Callable[[], bool]]:
    """Turns what ends a command, outside one Ctrl-C, into a question that is asked after each step of the work."""
    stop = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal stop
        stop = True
        _note(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {one: signal.getsignal(one) for one in _WORDS}
    asked = [one for one, handler in before.items() if handler is _stop or one is signal.SIGINT]
    for one in asked:
        signal.signal(one, ask)
    try:
        yield lambda: stop
    finally:
        for one in asked:
            signal.signal(one, before[one])


def ignore() -> None:
    """In a process that works for another one: what ends both is the other's to handle, who then ends this one."""
    for one in (signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> None:
    _note(number)
    for one in (signal.SIGTERM, signal.SIGHUP):  # a second one would stop what clears up; Ctrl-C still does
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def _note(number: int) -> None:
    global _received
    _received = signal.Signals(number)

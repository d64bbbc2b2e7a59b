"""Signals while this process waits in Ray."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def keep_own() -> None:
    """Have SIGTERM handled as Python knows it; Ray's native part puts its own handler before."""
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is threading.main_thread() and before is not None:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end what waits in Ray; what this process does on SIGTERM is done after that.

    Ray's waiting runs the handlers of signals, and ends in order where one raises
    KeyboardInterrupt. What another one raises, as Prefect's does, ends it as a SystemError, or is
    lost. In other threads than the main one this does nothing: no handler runs there.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard: list[FrameType | None] = []

    def interrupt(_number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)  # a second one is this process's own
        heard.append(frame)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        # Also where what was waited for made another error of the interrupt.
        signal.signal(signal.SIGTERM, before)
        if heard:
            before(signal.SIGTERM, heard[0])

"""One thread for BLAS and OpenMP, so that the number of cores decides no result.

Sums that threads share out are added up in an order that depends on how many they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

_lock = Lock()
_inside = 0
_blas: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS and OpenMP to one thread inside the `with`; import what uses them before it.

    BLAS usually has one setting for the process, so the first of several threads here sets it
    and the last one puts it back: each doing both would free the threads while another computes.
    OpenMP has one per thread.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="openmp"):
        _enter()
        try:
            yield
        finally:
            _leave()


def _enter() -> None:
    global _blas, _inside
    from threadpoolctl import threadpool_limits

    with _lock:
        if _inside == 0:
            _blas = threadpool_limits(1, user_api="blas")
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            _blas.restore_original_limits()

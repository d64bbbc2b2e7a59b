"""A value that is made once, whatever the number of threads that ask for it."""

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """A value that is made when it is first asked for, once, whatever the number of threads."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._lock, self._made = make, Lock(), False
        self._value: T | None = None

    def __call__(self) -> T:
        with self._lock:
            if not self._made:
                self._value, self._made = self._make(), True
        return self._value  # type: ignore[return-value]  # it is made: T, which may itself be None

"""Signs of life: what a build, or whoever makes cells, leaves in a folder while it works there.

They are no locks. They make a folder look young, so that none of its files is taken for garbage,
and they say that a run is at work in a store.
"""

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from crowdselect_core.errors import StorageError
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.names import BUILDING

log = logging.getLogger("crowdselect.store")


RENEWED = 60.0  # seconds between two signs of life of a build, however long a shard takes


@contextmanager
def heartbeat(place: StorageBackend, folder: str) -> Iterator[None]:
    """Make a folder look alive while the block runs.

    Raises:
        StorageError: nothing can be written there.
    """
    name, ended = f"{folder}/{BUILDING}{uuid.uuid4().hex}", Event()

    def work() -> None:
        while not ended.wait(RENEWED):
            _quietly(lambda: place.replace(name, b""), name)
        _quietly(lambda: place.remove(name), name)
        place.prune(folder)

    place.replace(name, b"")
    thread = Thread(target=work, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        # A server that does not answer is not waited for; a sign that is left soon means nothing.
        thread.join(timeout=5)


def _quietly(call: Callable[[], None], name: str) -> None:
    """Make a call that may fail: what was computed does not hang on a sign of life."""
    try:
        call()
    except (StorageError, OSError) as e:
        log.debug("%s: %s", name, e)

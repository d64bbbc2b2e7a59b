"""The library's log lines in the Prefect UI: they go to the run they were written in."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.handlers import APILogHandler

LOGGER = logging.getLogger("crowdselect")


@contextmanager
def connected() -> Iterator[None]:
    """Send the library's log lines to the Prefect API while the block runs."""
    handler = APILogHandler(level=logging.INFO)
    # Shards are computed on threads that belong to no run; their lines stay on the console.
    handler.addFilter(_in_a_run)
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def _in_a_run(_: logging.LogRecord) -> bool:
    from prefect.context import FlowRunContext, TaskRunContext

    return bool(FlowRunContext.get() or TaskRunContext.get())

"""`prefect` whose server looks seldom for background tasks: the runs of the tests make none.

Prefect has no setting for it: it looks 14 times a second, which is 3 % of a core for every server.
"""

import asyncio
import sys
from datetime import timedelta

from docket import Worker
from prefect.cli import app

SELDOM = timedelta(seconds=2)


async def nobody_cancels(worker: Worker) -> None:
    """Stand for the listener to cancellations of background tasks."""
    session = worker._processing_session
    assert session is not None
    session.cancellation_ready.set()
    await session.stopping.wait()


async def looks_seldom(self: Worker, *args: object, **options: object) -> Worker:
    """Enter a worker that waits longer between two looks."""
    self.scheduling_resolution = self.minimum_check_interval = SELDOM
    return await entered(self, *args, **options)


if __name__ == "__main__":
    assert asyncio.iscoroutinefunction(Worker.__aenter__)
    entered = Worker.__aenter__
    Worker.__aenter__ = looks_seldom  # type: ignore[method-assign]
    Worker._cancellation_listener = nobody_cancels  # type: ignore[method-assign]
    sys.exit(app())

"""Commands that are called in the tests' own process leave it as it was."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Take away the handlers of a command: they write to a stderr that ends with the test."""
    ours = logging.getLogger("crowdselect")
    handlers, propagate = list(ours.handlers), ours.propagate
    yield
    ours.handlers, ours.propagate = handlers, propagate

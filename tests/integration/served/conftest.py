"""One `make server` for all tests of this folder, which one process of pytest-xdist runs."""

from collections.abc import Iterator

import psutil
import pytest
from deployed import Deployed
from prefects import lay_database


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """`make server`, which ends in order and leaves nothing behind."""
    state = tmp_path_factory.mktemp("served") / "state"
    lay_database(state / "prefect")
    server = Deployed.start(state)
    yield server
    family = server.family()
    assert server.stop() == 0
    _, left = psutil.wait_procs(family, timeout=240)
    assert not left
    assert "stopped; the state stays on disk" in server.said

"""`make server` with PostgreSQL as Prefect's database: a schedule and an event select again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed import Deployed
from postgres import binaries, running
from repeated_runs import repeated_by_event, repeated_by_schedule

pytestmark = pytest.mark.server


@pytest.fixture
def on_postgres(tmp_path: Path) -> Iterator[Deployed]:
    """The server with PostgreSQL as Prefect's database."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with running(programs) as url:
        server = Deployed.start(tmp_path / "state", PREFECT_SERVER_DATABASE_CONNECTION_URL=url)
        try:
            yield server
        finally:
            server.stop()


def test_the_same_with_postgresql(on_postgres: Deployed) -> None:
    assert repeated_by_event(on_postgres)["state"]["type"] == "COMPLETED"
    assert repeated_by_schedule(on_postgres)["state"]["type"] == "COMPLETED"
    assert not list((on_postgres.state / "prefect").glob("*.db")), "SQLite is not used"

"""Live runs on an S3 server that dies, or behind a network that fails, delays and cuts."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from command import Command, finish, until
from drill import FILES, Drill, One, Size, damage
from faults import RATES, place_in, proxied
from servers import S3Server

pytestmark = pytest.mark.server

SIZE = Size(rows=120, models=2, concurrency=4, delay=250, sleep=0.01)


@pytest.fixture(scope="module")
def drill(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Drill:
    return Drill(command, tmp_path_factory.mktemp("faults"), SIZE)


@pytest.fixture(scope="module")
def calm(drill: Drill) -> dict[str, bytes]:
    """The files of an undisturbed run, whose process has a hash seed of its own."""
    return replace(drill, command=drill.command.cold()).undisturbed()[0]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[S3Server]:
    """A server that the test may kill."""
    server = S3Server.start(tmp_path / "s3")
    yield server
    server.stop()


def finished(one: One, calm: dict[str, bytes], server: S3Server, patch: pytest.MonkeyPatch) -> None:
    """Look at a run that came to its end as the server itself holds it."""
    for name, value in server.environment().items():
        patch.setenv(name, value)
    one.check(SIZE)
    files = one.files()
    assert {name: files[name] == calm[name] for name in FILES} == dict.fromkeys(FILES, True)


def test_a_tenth_of_the_requests_fails_and_some_are_cut(
    drill: Drill, calm: dict[str, bytes], s3_server: S3Server, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with (
        proxied(s3_server, tmp_path, delay=3, seed=1) as (url, log),
        drill.run("proxied", place_in(s3_server, url)) as one,
    ):
        stopped = 0  # what was asked by the last stop
        for _ in range(4):  # it completes, or stops with one line and goes on the next time
            result = one.command.run(*one.flags())
            assert not damage(result.stderr)
            if result.status == 0:
                break
            assert "check AWS_ENDPOINT_URL" in result.ended(2).error
            stopped = sum(one.endpoint.asked.values())
        result.ended(0)
        finished(one, calm, s3_server, monkeypatch)
        # No answer was lost, but for those that a stop found on their way; most come before any.
        assert sum(one.endpoint.asked.values()) - len(one.endpoint.asked) <= stopped
        kinds = Counter(line.split()[0] for line in log.read_text().splitlines())
        assert kinds.keys() == RATES.keys()


def test_the_server_is_killed_under_load_and_comes_back(
    drill: Drill, calm: dict[str, bytes], own: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with drill.run("restarted", place_in(own)) as one:
        # On a busy machine the server is not always back within the usual minute.
        with one.command.start(*one.flags(), patience="240") as process:
            for share in (0.3, 0.7):
                due = share * SIZE.rows * SIZE.models
                until(lambda due=due: sum(one.endpoint.asked.values()) >= due, process)
                own.stop()
                time.sleep(3)
                own.restart()
            result = finish(process).ended(0)
        assert not damage(result.stderr)
        finished(one, calm, own, monkeypatch)
        assert set(one.endpoint.asked.values()) == {1}  # answers waited for the server


def test_the_server_does_not_come_back(
    drill: Drill, calm: dict[str, bytes], own: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with drill.run("gone", place_in(own)) as one:
        with one.command.start(*one.flags(), patience="1") as process:
            until(lambda: sum(one.endpoint.asked.values()) >= SIZE.rows, process)
            own.stop()
            result = finish(process).ended(2)
        [error] = [li for li in result.stderr.splitlines() if li.startswith("error: cannot ")]
        assert "committed results stay" in error
        assert not result.tracebacks
        own.restart()
        assert not damage(one.command.run(*one.flags()).ended(0).stderr)
        finished(one, calm, own, monkeypatch)
        again = sum(one.endpoint.asked.values()) - len(one.endpoint.asked)
        # Those in flight and of the seconds that the writer waited, of each of the tasks' tries.
        assert again <= SIZE.per_kill * 10

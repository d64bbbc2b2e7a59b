"""Runs at once on one store, of the same and of overlapping configs, and one is killed."""

import os
import signal
import uuid
from contextlib import ExitStack
from dataclasses import replace

import pytest
from command import Command, finish, until
from drill import FILES, Drill, Place, Size, damage
from servers import S3Server

from crowdselect_core.store.backend.open import open_backend

pytestmark = pytest.mark.server

# Asking takes longer than the processes take to start, and an answer is soon there.
SIZE = Size(rows=240, models=2, concurrency=1, delay=500, sleep=0)
# What each of the runs adds to the one config, by its place in CONFIGS: four of eight in a bucket
# are the same, and two of four in a folder, whose locks are the kernel's.
CONFIGS = [[], ["--budget", "35"], ["--limit", "160"], ["--weights", "1,1,1"], ["--clusters", "3"]]
RUNS = {"local": [0, 0, 1, 2], "s3": [0, 0, 0, 0, 1, 2, 3, 4]}


@pytest.fixture(scope="module")
def drill(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Drill:
    return Drill(command, tmp_path_factory.mktemp("together"), SIZE)


@pytest.fixture(scope="module")
def quick(drill: Drill) -> Drill:
    """The same with an endpoint that answers at once."""
    return replace(drill, size=replace(SIZE, delay=1))


@pytest.fixture(scope="module")
def alone(quick: Drill) -> list[dict[str, bytes]]:
    """The files of a run of each config, one after the other in a store that nobody else uses.

    Forks of another process than those at once, so their hash seed is another.
    """
    found = []
    with quick.run("alone", Place()) as one:
        for place, more in enumerate(CONFIGS):
            out = str(one.work / f"out-{place}")
            one.command.with_models().run(*one.flags(), "--out", out, *more).ended(0)
            found.append(files(out))
    return found


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "local":
        return Place()
    server: S3Server = request.getfixturevalue("s3")
    return Place(f"s3://{server.bucket}/{uuid.uuid4().hex}", server.environment())


def files(out: str) -> dict[str, bytes]:
    place = open_backend(out)
    return {name: place.read(name) for name in FILES}


def test_runs_at_once_and_one_killed_give_one_result(
    drill: Drill, alone: list[dict[str, bytes]], place: Place, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    runs = RUNS[name]
    with drill.run(name, place) as one, ExitStack() as stack:
        started = [
            stack.enter_context(
                one.command.start(*one.flags(), "--out", f"{one.out}-{i}", *CONFIGS[which])
            )
            for i, which in enumerate(runs)
        ]
        half = SIZE.rows * SIZE.models // 2
        until(lambda: sum(one.endpoint.asked.values()) > half, started[0])
        os.killpg(started[0].pid, signal.SIGKILL)
        results = [finish(process) for process in started]
        for result in results[1:]:
            assert not damage(result.ended(0).stderr)
        for i, which in [*enumerate(runs)][1:]:
            assert files(f"{one.out}-{i}") == alone[which], f"run {i} differs"
        asked = one.endpoint.asked
        assert len(asked) == SIZE.rows * SIZE.models
        again = sum(asked.values()) - len(asked)
        # Asked twice is what the killed one lost, what they did before they saw each other, and
        # what came later than they waited for. Without sharing it is more than there is to ask.
        assert again <= len(asked) // 6

"""kill -9 at random moments over a whole live selection: nothing is lost, torn or paid twice."""

import uuid
from pathlib import Path
from random import Random

import pytest
from command import Command
from drill import Drill, Place, Report, Size, damage, lives, repeats
from servers import S3Server

pytestmark = pytest.mark.server

KILLS = 3  # of each run at most, and of all at least
SIZE = Size(rows=120, models=2, concurrency=4, delay=80, sleep=0.008)


@pytest.fixture(scope="module")
def drill(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Drill:
    return Drill(command, tmp_path_factory.mktemp("drill"), SIZE)


@pytest.fixture(scope="module")
def calm(drill: Drill) -> tuple[dict[str, bytes], float]:
    """The files of an undisturbed run, and its seconds."""
    return drill.undisturbed()


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "local":
        return Place()
    server: S3Server = request.getfixturevalue("s3")
    return Place(f"s3://{server.bucket}/{uuid.uuid4().hex}", server.environment())


def test_killed_at_random_a_live_run_ends_with_the_same_bytes(
    drill: Drill, calm: tuple[dict[str, bytes], float], place: Place, request: pytest.FixtureRequest
) -> None:
    expected, seconds = calm
    name = request.node.callspec.id
    report = Report()
    for run in range(8):
        drawn = lives(Random(run), 0.4 * seconds, seconds, KILLS)
        one = drill.killed(f"{name}-{run}", place, drawn, expected)
        report.add(one)
        if report.runs >= 2 and report.kills >= KILLS:
            break
        if not one.kills:  # the machine was busier when nothing disturbed the run
            seconds /= 2
    assert report.kills >= KILLS
    assert sum(report.lost["requests"]) <= report.kills * SIZE.per_kill
    assert sum(report.lost["scores"]) <= report.kills * SIZE.scores_per_kill
    assert max(report.lost["shards"]) <= SIZE.shards_per_kill


def test_damage_is_told_in_words_that_the_drill_looks_for(drill: Drill) -> None:
    with drill.run("spoiled", Place()) as one:
        assert not damage(one.live().stderr)
        Path(one.out, "selection.parquet").unlink()
        shards = list(Path(one.store, "ranking").glob("*/part-*.parquet"))
        shards[0].write_bytes(shards[0].read_bytes()[:-1])
        shards[1].write_bytes(bytes(shards[1].stat().st_size))
        assert len(damage(one.live().stderr)) >= 2


def test_what_is_repeated_is_laid_at_the_kill_that_lost_it() -> None:
    lines = ["a", "b", "c", "b", "d", "c", "b", "e"]
    assert repeats(lines, [3, 5, 8]) == [2, 1]
    with pytest.raises(AssertionError, match="the same twice: a"):
        repeats(["a", "a"], [2])

"""Drills: a whole selection is killed at random moments until it is through, and held against one
that nothing disturbed.

The crowd is the test endpoint, whose answers are a function of the prompt, and the scorer a
function of the answer, so the end must be the same bytes. What was asked, scored or computed twice
is counted and laid at the kill that lost it.
"""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
from command import Command, tracebacks
from endpoints import Endpoint, model, serving, write_work

from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.open import open_backend

FILES = ("train.jsonl", "selection.parquet", "ranking.parquet")
# What a run says when it reads bytes that are not what they should be.
DAMAGE = ("damaged", "vanish", "computing it again", "computing only", "computed again",
          "written again", "is gone", "was not written by a build")  # fmt: skip
CHECKS = '''
import hashlib, time
from pathlib import Path

def words(prompts, completions, **columns):
    """A score that differs from answer to answer and is the same every time."""
    text = completions[0][0]["content"]
    digest = hashlib.sha256((prompts[0][0]["content"] + text).encode()).hexdigest()
    with Path("scored.txt").open("a") as file:
        file.write(digest + chr(10))
    time.sleep(SLEEP)
    return [len(text.split()) + int(digest[:6], 16) / 2**24]
'''


@dataclass(frozen=True)
class Size:
    """How large a drill's run is."""

    rows: int = 300
    models: int = 3
    concurrency: int = 4
    delay: float = 100.0  # milliseconds that an answer takes
    sleep: float = 0.004  # seconds that a score takes

    @property
    def per_kill(self) -> int:
        """Requests that a kill may lose: those in flight, and the answers of the last second."""
        a_second = self.concurrency * 1000 / self.delay
        return round(self.models * (self.concurrency + a_second))

    @property
    def scores_per_kill(self) -> int:
        """Scores that a kill may lose: the one that is made, and those of the last second."""
        return 1 + round(1 / self.sleep)

    @property
    def shards_per_kill(self) -> int:
        """Shards that a kill may lose: one of every table that is made at that moment.

        The tables of what the models answered are made side by side, all others one by one.
        """
        return self.models


@dataclass
class Life:
    """One process of a drill: from its start to its end or its kill."""

    killed: bool
    status: int
    stderr: str
    seconds: float
    requests: int  # lines of the endpoint's log at its end
    scores: int
    shards: int

    @property
    def reached(self) -> str:
        """The last stage that it told of."""
        stages = [li.split()[1] for li in self.stderr.splitlines() if li[2:3] == li[5:6] == ":"]
        return ([s for s in stages if s.isalpha() and s != "waiting"] or ["start"])[-1]


@dataclass
class Report:
    """What the kills of a drill cost."""

    kills: int = 0
    runs: int = 0
    lost: dict[str, list[int]] = field(default_factory=dict)  # by kind of work, a number per kill
    reached: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Report") -> None:
        """Take in the kills of another run."""
        self.kills += other.kills
        self.runs += other.runs
        self.reached += other.reached
        for kind, numbers in other.lost.items():
            self.lost.setdefault(kind, []).extend(numbers)


@dataclass(frozen=True)
class Place:
    """Where store and results go: the folder of a run, or a prefix of a bucket."""

    root: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> "Place":
        """Return a place of its own in this one."""
        return replace(self, root=f"{self.root}/{name}") if self.root else self

    def paths(self, folder: Path) -> tuple[str, str]:
        """Return store and out of a run in a folder."""
        return (f"{self.root}/store", f"{self.root}/out") if self.root else (
            str(folder / "store"), str(folder / "out"))  # fmt: skip


@dataclass(frozen=True)
class Drill:
    """A run that is made again and again.

    Args:
        command: with a Prefect server that serves all runs.
        folder: where each run gets a folder of its own.
        size: of the run.
        keys: of the config, beside the usual ones.
    """

    command: Command
    folder: Path
    size: Size
    keys: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def run(self, name: str, place: Place) -> Iterator["One"]:
        """Lay out a run that has an endpoint of its own."""
        size, work = self.size, self.folder / name / "work"
        with serving(self.folder / name / "endpoint", "--delay", str(size.delay)) as endpoint:
            engine = {"concurrency": size.concurrency, "max_retries": 3}
            crowd = [model(f"m{i}", i + 1, endpoint.url, engine=engine) for i in range(size.models)]
            keys = {"budget": 20, "clusters": 4, "shard_rows": max(10, size.rows // 8),
                    "workers": 1, **self.keys}  # fmt: skip
            write_work(work, size.rows, crowd, **keys)
            (work / "my_checks.py").write_text(CHECKS.replace("SLEEP", str(size.sleep)))
            store, out = place.of(name).paths(work)
            command = self.command.within(work)
            command = replace(command, environment={**command.environment, **place.environment})
            yield One(command, work, endpoint, store, out)

    def undisturbed(self, place: Place | None = None) -> tuple[dict[str, bytes], float]:
        """Return the files of a run that nothing disturbs, and the seconds it took."""
        with self.run("undisturbed", place or Place()) as one:
            life = one.live()
            assert life.status == 0, life.stderr
            one.check(self.size)
            assert set(one.endpoint.asked.values()) == {1}
            return one.files(), life.seconds

    def killed(
        self, name: str, place: Place, seconds: Callable[[], float | None],
        expected: dict[str, bytes],
    ) -> Report:  # fmt: skip
        """Start a run again and again until it comes through, and hold it against the other.

        Args:
            name: of the run.
            place: for its store and results.
            seconds: that the next process may live; None lets it be.
            expected: the files of the undisturbed run.
        """
        with self.run(name, place) as one:
            lives = [one.live(seconds())]
            while lives[-1].killed:
                lives.append(one.live(seconds()))
            assert lives[-1].status == 0, lives[-1].stderr
            for life in lives:
                assert not (told := damage(life.stderr)), told
            one.check(self.size)
            files = one.files()
            for file in FILES:
                assert files[file] == expected[file], f"{name}: {file} differs"
            return one.report(lives)


@dataclass(frozen=True)
class One:
    """One run of a drill: its command, and what it left."""

    command: Command
    work: Path
    endpoint: Endpoint
    store: str
    out: str

    def flags(self) -> list[str]:
        """The flags of its command."""
        return ["--config", "config.yaml", "--store", self.store, "--out", self.out]

    def live(self, seconds: float | None = None) -> Life:
        """Run the command to its end, or kill its process group after some seconds."""
        begun, killed = time.monotonic(), False
        journal = self.work / "journal.txt"
        with self.command.start(*self.flags(), journal=str(journal)) as process:
            try:
                _, stderr = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                _, stderr = process.communicate()
                killed = process.returncode == -signal.SIGKILL
        lines = [_lines(p) for p in (self.endpoint.log, self.work / "scored.txt", journal)]
        return Life(killed, process.returncode, stderr, time.monotonic() - begun, *map(len, lines))

    def files(self) -> dict[str, bytes]:
        """Return the files of its results."""
        place = open_backend(self.out)
        return {name: place.read(name) for name in FILES}

    def check(self, size: Size) -> None:
        """Look at every row of every table: each is there, and once."""
        store = Store(self.store)
        for stage, count in (("responses", size.models), ("rewards", size.models)):
            keys = store.place.folders(stage)
            assert len(keys) == count, f"{stage}: {len(keys)} tables, expected {count}"
            for key in keys:
                table = store.open(stage, key).frame()
                assert table.height == table["instruction_id"].n_unique() == size.rows
                assert table["error"].null_count() == size.rows
        ranking = pl.read_parquet(open_backend(self.out).read("ranking.parquet"))
        assert ranking.height == ranking["instruction_id"].n_unique() == size.rows
        for stage, expected in (("generated", size.rows), ("scored", None)):
            for key in store.place.folders(stage):
                cells = [
                    pl.read_parquet(store.place.read(f"{stage}/{key}/{name}"), columns=["key"])
                    for name in store.place.sizes(f"{stage}/{key}")
                    if name.startswith("cells-")
                ]
                found = pl.concat(cells)["key"]
                assert found.n_unique() == (expected or size.rows * size.models)

    def report(self, lives: Sequence[Life]) -> Report:
        """Say what each kill lost: what later processes asked, scored and computed again."""
        made = {
            "requests": (_lines(self.endpoint.log), [life.requests for life in lives]),
            "scores": (_lines(self.work / "scored.txt"), [life.scores for life in lives]),
            "shards": (_lines(self.work / "journal.txt"), [life.shards for life in lives]),
        }
        lost = {kind: repeats(lines, ends) for kind, (lines, ends) in made.items()}
        reached = Counter(life.reached for life in lives if life.killed)
        return Report(len(lives) - 1, 1, lost, reached)


def repeats(lines: Sequence[str], ends: Sequence[int]) -> list[int]:
    """Count, for every process but the last, the lines of it that a later one repeats.

    Args:
        lines: of all processes, one behind the other.
        ends: the number of lines at the end of each.
    """
    lost, seen = [0] * (len(ends) - 1), dict[str, int]()
    start = 0
    for number, end in enumerate(ends):
        for line in lines[start:end]:
            if (before := seen.get(line)) is not None:
                assert before < number, f"one process did the same twice: {line}"
                lost[before] += 1
            seen[line] = number
        start = end
    return lost


def damage(stderr: str) -> list[str]:
    """Return the lines that tell of bytes that were not what they should be."""
    lines = [line for line in stderr.splitlines() if any(word in line for word in DAMAGE)]
    return lines + tracebacks(stderr)


def lives(random: Random, shortest: float, longest: float, most: int) -> Callable[[], float | None]:
    """Draw how long each process may live; after `most` of them they are let be."""
    left = iter(range(most))
    return lambda: None if next(left, None) is None else random.uniform(shortest, longest)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []

"""A run that is repeated or changed a little computes what is new, and nothing else."""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from command import Command, Result, contents, finish, shards, stamps
from runs import Run, Server

pytestmark = pytest.mark.server

STAGES = [
    "instructions", "scores", "metrics", "answers", "embedder", "embeddings", "centers", "clusters",
    "lengths", "ranking",
    "selection", "comparison",
]  # fmt: skip


def chosen(folder: Path) -> set[str]:
    return set(pl.read_parquet(folder / "out" / "selection.parquet")["instruction_id"])


def changes(result: Result) -> tuple[int, ...]:
    """Return how many rows came, went and stayed, as the summary says."""
    said = re.search(
        r"^changes +(\d+) rows added, (\d+) removed, (\d+) retained", result.stdout, re.M
    )
    assert said is not None, result.stdout
    return tuple(int(n) for n in said.groups())


def counted(before: set[str], after: set[str]) -> tuple[int, ...]:
    return len(after - before), len(before - after), len(before & after)


def test_a_repeated_run_finds_everything_and_writes_nothing(
    command: Command, flags: list[str], server: Server, copy: Callable[[], Path]
) -> None:
    folder = copy()
    before = stamps(folder)
    result = command.within(folder).run(*flags).ended(0)
    assert result.stages("Cached") == [*STAGES, "export", "report"]
    assert stamps(folder) == before
    assert "changes" not in result.stdout
    states = {n: t["state"]["name"] for n, t in server.tasks(server.latest()).items()}
    cached = dict.fromkeys([*STAGES, "export", "report"], "Cached")
    assert states == {**cached, "publish": "Completed"}


def test_the_report_is_made_again_by_its_own_command(
    command: Command, copy: Callable[[], Path]
) -> None:
    folder = copy()
    page = folder / "out" / "report.html"
    before = page.read_bytes()
    page.unlink()
    result = command.of("report").within(folder).run("--out", "out").ended(0)
    assert result.stdout == "out/report.html\n"
    assert page.read_bytes() == before
    missing = command.of("report").within(folder).run("--out", "nowhere").ended(2)
    assert missing.error.startswith("error: nowhere: there is no manifest.json of a selection")


def test_another_budget_computes_the_selection_alone(
    command: Command, flags: list[str], undisturbed: Run, copy: Callable[[], Path]
) -> None:
    folder = copy()
    before = stamps(folder / "store")
    result = command.within(folder).run(*flags, "--budget", "40").ended(0)
    assert result.stages("Cached") == STAGES[:-2]
    assert result.stages("not in the store") == ["selection", "comparison"]
    assert "the closest differs in identity.budget: 30 -> 40" in result.stderr
    after = stamps(folder / "store")
    assert {n: after[n] for n in before} == before
    assert {n.split("/")[0] for n in set(after) - set(before)} == {"selection", "comparison"}
    assert changes(result) == counted(chosen(undisturbed.folder), chosen(folder))
    assert len(chosen(folder)) == 40


def test_other_weights_compute_from_the_ranking_on_and_mend_a_damaged_shard_on_the_way(
    command: Command, flags: list[str], undisturbed: Run, copy: Callable[[str], Path]
) -> None:
    other = [*flags, "--weights", "1,1,1"]
    plain, damaged = copy("plain"), copy("damaged")
    result = command.within(plain).run(*other).ended(0)
    assert result.stages("Cached") == STAGES[:-3]
    assert result.stages("not in the store") == ["ranking", "selection", "comparison"]
    assert changes(result) == counted(chosen(undisturbed.folder), chosen(plain))

    shard = shards(damaged / "store", "metrics")[2]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    before = stamps(damaged / "store")
    mended = command.within(damaged).run(*other).ended(0)
    name = shard.relative_to(damaged / "store")
    assert f"store/{name} is damaged (sha256 differs); computing it again" in mended.stderr
    assert "1 of 6 shards are missing or damaged (part-00002 ...)" in mended.stderr
    assert "metrics: resuming from 5 finished shards" in mended.stderr
    after = stamps(damaged / "store")
    assert {n for n in before if after[n] != before[n]} == {str(name)}
    assert contents(damaged) == contents(plain)


def test_damaged_shards_of_several_stages_are_mended_in_one_run(
    command: Command, flags: list[str], undisturbed: Run, copy: Callable[[], Path]
) -> None:
    folder = copy()
    hurt = [shards(folder / "store", s)[1] for s in ("instructions", "scores", "clusters")]
    hurt[0].unlink()
    for shard in hurt[1:]:
        shard.write_bytes(shard.read_bytes()[:-1])
    (folder / "out" / "train.jsonl").unlink()
    before = stamps(folder / "store")
    command.within(folder).run(*flags).ended(0)
    assert contents(folder) == contents(undisturbed.folder)
    after = stamps(folder / "store")
    names = {str(s.relative_to(folder / "store")) for s in hurt}
    assert {n for n in before if after[n] != before[n]} <= names


def test_a_run_whose_end_the_server_was_told_twice_says_what_it_chose(
    command: Command, flags: list[str], server: Server, copy: Callable[[], Path]
) -> None:
    here = command.within(copy())
    whole, again = here.run(*flags).ended(0), here.run(*flags, forgetful="1").ended(0)
    lines = [
        [line for line in run.stdout.splitlines() if not line.startswith("seconds ")]
        for run in (whole, again)
    ]
    assert lines[0] == lines[1]
    assert not again.tracebacks
    assert server.latest()["state"]["type"] == "COMPLETED"
    wrong = here.run(*flags, "--method", "column:nothing", forgetful="1").ended(2)
    assert "nothing" in wrong.error  # the run itself finds it
    assert server.latest()["state"]["type"] == "FAILED"


def test_two_runs_at_once_on_one_store(
    command: Command, flags: list[str], undisturbed: Run, tmp_path: Path
) -> None:
    here = command.within(tmp_path)
    with here.start(*flags) as one, here.start(*flags) as other:
        for process in (one, other):
            finish(process).ended(0)
    assert contents(tmp_path) == contents(undisturbed.folder)

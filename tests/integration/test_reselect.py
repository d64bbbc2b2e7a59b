"""Selections that repeat themselves, as a user sees them: what is new, what is paid, what stays."""

import io
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from chain import choose
from command import Command, Result, contents, finish, shards, stamps
from endpoints import Endpoint, model, serving, write_rows, write_work
from runs import Run, Server
from servers import S3Server
from zoos import write_zoo

pytestmark = pytest.mark.server

FLAGS = ["--crowd", "crowd.yaml", "--budget", "24", "--clusters", "3", "--shard-rows", "20"]


class Growing:
    """A data set that files are added to, with 100 rows in `a` and 30 in `b`."""

    def __init__(self, folder: Path, command: Command) -> None:
        self.folder, self._command = folder, command.within(folder)
        if not (folder / "whole").exists():
            zoo = write_zoo(folder / "whole", 130, row_group=10, hostile_every=13)
            (folder / "crowd.yaml").write_bytes(zoo.crowd.read_bytes())
            (folder / "data").mkdir()
            self.add("a", self._whole()[:100])
        self.rows = self._whole()

    def _whole(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "whole" / "zoo.parquet")

    def add(self, name: str, rows: pl.DataFrame) -> None:
        rows.write_parquet(self.folder / "data" / f"{name}.parquet", row_group_size=10)

    def run(self, *flags: str, status: int = 0, **how: str) -> Result:
        own = ["--dataset", "data", *FLAGS, *flags]
        return self._command.of("reselect").run(*own, **how).ended(status)

    def select(self, *flags: str, status: int = 0) -> Result:
        return self._command.run(*flags).ended(status)

    def is_as_selected_today(self) -> None:
        """OUT is, to the byte, what a selection in this process gives on a store of its own."""
        plain = choose(
            self.folder / "plain", dataset=str(self.folder / "data"), budget=24, clusters=3,
            crowd=str(self.folder / "crowd.yaml"), shard_rows=20,
        )  # fmt: skip
        for name in ("selection.parquet", "ranking.parquet", "train.jsonl"):
            ours = self.folder / "out" / name
            assert ours.read_bytes() == (plain.out / name).read_bytes(), name

    def table(self, name: str, out: str = "out") -> pl.DataFrame:
        return pl.read_parquet(self.folder / out / f"{name}.parquet")


@pytest.fixture
def growing(tmp_path: Path, command: Command) -> Growing:
    return Growing(tmp_path, command)


@pytest.fixture(scope="module")
def first(command: Command, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A data set from which was selected once; never changed.

    Processes of their own, whose hash seeds others have not: their results are compared with.
    """
    growing = Growing(tmp_path_factory.mktemp("first"), command.cold())
    result = growing.run()
    return Run(growing.folder, result, server.latest())


@pytest.fixture(scope="module")
def second(
    first: Run, command: Command, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The same after 30 rows arrived and took part in selection 2; never changed."""
    folder = shutil.copytree(first.folder, tmp_path_factory.mktemp("second") / "data")
    growing = Growing(Path(folder), command.cold())
    growing.add("b", growing.rows[100:])
    result = growing.run()
    return Run(growing.folder, result, server.latest())


@pytest.fixture
def selected(first: Run, tmp_path: Path, command: Command) -> Growing:
    """A data set of which the first 100 rows took part in selection 1."""
    return Growing(Path(shutil.copytree(first.folder, tmp_path / "selected")), command)


@pytest.fixture
def reselected(second: Run, tmp_path: Path, command: Command) -> Growing:
    """A data set whose 30 new rows took part in selection 2."""
    return Growing(Path(shutil.copytree(second.folder, tmp_path / "reselected")), command)


def numbers(table: pl.DataFrame) -> pl.DataFrame:
    """What a frozen row keeps: its metrics, quantiles, score and cluster."""
    wanted = ["instruction_id", "difficulty", "separability", "stability", "score", "cluster_id"]
    return table.select(*wanted, "difficulty_q", "separability_q", "stability_q").sort(wanted[0])


def test_a_run_without_new_rows_says_so_and_changes_nothing(first: Run, selected: Growing) -> None:
    assert "selection  1 of series default (refit): 24 of 100 rows" in first.result.stdout
    folders = [selected.folder / "out", selected.folder / ".crowdselect/selections"]
    was = [stamps(folder) for folder in folders]
    calm = selected.run()
    assert "no new rows since selection 1 of series default" in calm.stdout
    assert [stamps(folder) for folder in folders] == was


def test_new_rows_compete_by_the_measures_of_the_base(
    first: Run, second: Run, selected: Growing, reselected: Growing
) -> None:
    growing = reselected
    before = selected.table("ranking")
    train = (first.folder / "out/train.jsonl").read_bytes()
    told = second.result
    assert "data set   30 new rows, 0 returned, 0 removed" in told.stdout
    for stage in ("scores", "metrics", "answers", "ranking", "clusters", "embeddings"):
        lines = [li for li in told.stderr.splitlines() if f" {stage} " in li and " rows, " in li]
        assert " 30 rows, " in lines[0], told.stderr  # the new rows alone are computed
    after = growing.table("ranking")
    known = after.filter(pl.col("instruction_id").is_in(before["instruction_id"].implode()))
    assert numbers(known).equals(numbers(before))
    new = after.filter(~pl.col("instruction_id").is_in(before["instruction_id"].implode()))
    assert new.height == 30
    check_quantiles(before, new)
    chosen = growing.table("selection")
    assert chosen.height == 24
    members = growing.table("membership")
    earlier = {json.loads(line)["messages"][0]["content"] for line in train.splitlines()}
    stayed = members.filter(pl.col("change") == "stayed").height
    texts = {m[0]["content"] for m in chosen["messages"].to_list()}
    assert len(texts & earlier) == stayed
    assert stayed + members.filter(pl.col("change") == "in").height == 24
    assert set(members.filter(pl.col("change") == "in")["new"]) == {True}
    assert members["why"].null_count() == 0
    drift = json.loads((growing.folder / "out/drift.json").read_text())
    assert {d["what"] for d in drift} == {"difficulty", "separability", "stability", "clusters"}
    assert {(d["n_reference"] > 80, d["n"] > 20) for d in drift} == {(True, True)}


def check_quantiles(base: pl.DataFrame, new: pl.DataFrame) -> None:
    """Hold the new rows' quantiles against a slow count over the base's eligible rows."""
    eligible = base.filter("eligible")
    for row in new.filter("eligible").iter_rows(named=True):
        total = 0.0
        for name, weight in (("difficulty", 1), ("separability", 1), ("stability", 2)):
            values = np.round(eligible[name].to_numpy(), 9 if name == "stability" else 15)
            value = round(row[name], 9 if name == "stability" else 15)
            below, equal = int((values < value).sum()), int((values == value).sum())
            q = min(max((below + (equal - 1) / 2) / (len(values) - 1), 0), 1)
            assert row[f"{name}_q"] == pytest.approx(q, abs=1e-12)
            total += weight * q
        assert row["score"] == pytest.approx(total, abs=1e-9)


def test_refit_is_what_a_selection_of_today_would_be(reselected: Growing) -> None:
    reselected.run("--mode", "refit")  # selection 2 was frozen
    reselected.is_as_selected_today()
    assert reselected.run("--mode", "refit").stdout.startswith("no new rows since selection 3")


def test_a_refit_sees_scores_that_changed_under_known_ids(selected: Growing) -> None:
    growing = selected
    reward = pl.col("ant-1b").struct.field("reward")
    growing.add("a", growing.rows[:100].with_columns(
        pl.col("ant-1b").struct.with_fields((5 - 2 * reward).alias("reward"))
    ))  # fmt: skip
    assert "no new rows since selection 1" in growing.run().stdout  # frozen: known by their ids
    again = growing.run("--mode", "refit")
    assert "selection  2 of series default (refit, from selection 1)" in again.stdout
    growing.is_as_selected_today()
    changed = pl.read_parquet(growing.folder / "data" / "a.parquet")
    for half, rows in (("a", changed[:50]), ("a2", changed[50:])):  # the same rows in other files
        growing.add(half, rows)
    assert "no new rows since selection 2" in growing.run("--mode", "refit").stdout


def test_rows_that_are_gone_leave_and_rows_that_return_are_known_again(growing: Growing) -> None:
    growing.add("b", growing.rows[100:])
    growing.run()
    chosen = set(growing.table("selection")["instruction_id"])
    lost = set(growing.rows["uuid"][:50]) & chosen
    assert lost
    growing.add("a", growing.rows[50:100])  # the same file with fewer rows
    told = growing.run()
    assert "0 new rows, 0 returned, 50 removed" in told.stdout
    members = growing.table("membership").filter(pl.col("change") == "out")
    assert (
        set(members.filter(pl.col("why").str.contains("gone from the data set"))["instruction_id"])
        == lost
    )
    assert not set(growing.table("selection")["instruction_id"]) & lost
    kept = growing.table("selection")["messages"].list.first().struct.field("content").to_list()
    texts = dict(growing.rows.select("uuid", "instruction").iter_rows())
    assert kept == [texts[i] for i in growing.table("selection")["instruction_id"]]
    growing.add("a", growing.rows[:100])
    assert "0 new rows, 50 returned, 0 removed" in growing.run().stdout
    assert set(growing.table("selection")["instruction_id"]) == chosen
    assert not growing.table("membership")["new"].any()


def test_earlier_selections_can_be_named_and_rolled_back_to(selected: Growing) -> None:
    first = contents(selected.folder / "out")
    selected.add("b", selected.rows[100:])
    selected.run("--budget", "30")
    listed = selected.run("--list").stdout.splitlines()
    assert [line[:14].strip() for line in listed] == ["selection  1", "* selection  2"]
    selected.run("--rollback-to", "1")
    back = contents(selected.folder / "out")
    for name in ("train.jsonl", "selection.parquet", "ranking.parquet"):
        assert back[name] == first[name]
    assert selected.run("--list").stdout.startswith("* selection  1")
    refused = selected.run("--rollback-to", "7", status=2)
    assert "has no selection 7 (found: 1, 2)" in refused.error
    named = selected.run("--base", "2", "--budget", "21")
    assert "selection  3 of series default (frozen, from selection 2)" in named.stdout


def test_what_does_not_fit_the_base_is_refused(selected: Growing) -> None:
    other = selected.run("--weights", "1,1,1", status=2)
    assert "ranking.weights" in other.error
    assert "--mode refit" in other.error
    assert "limit" in selected.run("--limit", "5", "--allow-short", status=2).error
    assert "series" in selected.run("--series", "../x", status=2).error


def test_a_killed_reselection_goes_on_and_latest_waits_for_the_end(
    selected: Growing, second: Run
) -> None:
    selected.add("b", selected.rows[100:])
    pointer = selected.folder / ".crowdselect/selections/default/latest.json"
    before = pointer.read_bytes()
    for stage, number in (("metrics", 3), ("selection", 2), ("out", 2)):
        selected.run(status=-signal.SIGKILL, kill=f"{stage}:{number}")
        assert pointer.read_bytes() == before
    selected.run()
    assert pointer.read_bytes() != before
    again = contents(selected.folder / "out")
    whole = contents(second.folder / "out")
    for name in ("train.jsonl", "selection.parquet", "ranking.parquet", "membership.parquet"):
        assert again[name] == whole[name], name


def test_a_damaged_table_of_the_base_stops_a_frozen_run_and_a_refit_does_without(
    selected: Growing,
) -> None:
    selected.add("b", selected.rows[100:])
    [shard] = shards(selected.folder / ".crowdselect", "metrics")[1:2]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    refused = selected.run(status=2)
    lines = refused.stderr.splitlines()
    assert any(shard.name in li and "is damaged" in li for li in lines), refused.stderr
    assert "--mode refit" in lines[-1]
    again = selected.run("--mode", "refit")
    assert "selection  2 of series default (refit, from selection 1)" in again.stdout
    selected.is_as_selected_today()


@pytest.mark.parametrize("stage", ["comparison", "scores", "embeddings", "instructions"])
def test_a_base_that_lost_a_manifest_stops_a_frozen_run_and_a_refit_does_without(
    selected: Growing, stage: str
) -> None:
    selected.add("b", selected.rows[100:])
    [manifest] = (selected.folder / ".crowdselect" / stage).glob("*/manifest.json")
    manifest.unlink()
    assert "--mode refit" in selected.run(status=2).error
    again = selected.run("--mode", "refit")
    assert "selection  2 of series default (refit, from selection 1)" in again.stdout
    assert "continuing without the tables of the base" in again.stderr
    assert "no new rows since selection 2" in selected.run().stdout


def test_a_rollback_is_told_and_written_by_the_settings_of_then(selected: Growing) -> None:
    first = contents(selected.folder / "out")
    selected.run("--mode", "refit", "--method", "reward", "--clusters", "0")
    before = stamps(selected.folder / ".crowdselect" / "metrics")
    selected.run("--rollback-to", "1", "--method", "reward", "--clusters", "0")
    back = contents(selected.folder / "out")
    for name in ("train.jsonl", "selection.parquet", "ranking.parquet"):
        assert back[name] == first[name]
    told = json.loads(back["manifest.json"])["config"]
    assert (told["method"], told["clusters"]) == ("crowdselect", 3)
    assert stamps(selected.folder / ".crowdselect" / "metrics") == before


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Endpoint]:
    with serving(tmp_path / "endpoint") as running:
        yield running


def test_a_live_crowd_is_asked_for_the_new_rows_only(
    command: Command, tmp_path: Path, own: Endpoint
) -> None:
    work = tmp_path / "work"
    crowd = [model("a", 1, own.url), model("b", 2, own.url)]
    config = write_work(work, 40, crowd)
    run = command.within(work).of("reselect")
    run.cold().run("--config", config).ended(0)
    assert sum(own.asked.values()) == 80
    assert "no new rows since" in run.run("--config", config).ended(0).stdout
    write_rows(work, range(3, 46))  # the file grew by six rows, and lost three
    second = run.run("--config", config).ended(0)
    assert "6 new rows, 0 returned, 3 removed" in second.stdout
    assert sum(own.asked.values()) == 80 + 12
    write_rows(work, range(47))
    third = run.run("--config", config).ended(0)
    assert (
        "1 new rows, 3 returned, 0 removed" in third.stdout
    )  # what came back is neither asked nor scored
    assert sum(own.asked.values()) == 80 + 14
    row_id = pl.read_parquet(work / "out" / "ranking.parquet")["instruction_id"][-1]
    explained = run.of("select").run("--config", config, "--explain", row_id).ended(0).stdout
    assert explained.count("--- answer of ") == 2
    assert sum(own.asked.values()) == 80 + 14
    run.run("--config", config, "--mode", "refit").ended(0)
    assert sum(own.asked.values()) == 80 + 14
    plain = command.within(work).run("--config", config, "--out", "plain").ended(0)
    assert plain
    for name in ("selection.parquet", "ranking.parquet", "train.jsonl"):
        assert (work / "out" / name).read_bytes() == (work / "plain" / name).read_bytes()


def test_the_ui_shows_what_changed(second: Run, server: Server) -> None:
    shown = server.artifacts(second.flow_run)
    assert "30 new" in shown["reselection"]["data"]
    rows = json.loads(shown["reselection-members"]["data"])
    assert {row["change"] for row in rows} <= {"in", "out"}
    assert rows


def test_rows_of_a_reselection_are_explained(reselected: Growing) -> None:
    growing = reselected
    ranking = growing.table("ranking")
    chosen = set(growing.table("selection")["instruction_id"])
    plain = ranking.filter(~pl.col("instruction_id").str.contains("<"))  # no hostile id
    new = pl.col("instruction_id").is_in(growing.rows["uuid"][100:].implode())
    selected = pl.col("instruction_id").is_in(list(chosen))
    texts = dict(growing.rows.select("uuid", "instruction").iter_rows())
    for rows in (plain.filter(new & selected), plain.filter(~new & selected),
                 plain.filter(new & ~selected & pl.col("eligible"))):  # fmt: skip
        row = rows.row(0, named=True)
        place = growing.rows["uuid"].to_list().index(row["instruction_id"])
        file = "a" if place < 100 else "b"
        # of the OUT alone, whatever it was made with
        told = growing.select("--explain", row["instruction_id"]).stdout
        assert f"source     {file}.parquet, row {place} of the data set" in told
        assert row["reason"] is None or f"why        {row['reason']}" in told
        chosen_as = "none, not chosen" if row["rank"] is None else f"{row['rank']} of 24"
        assert f"rank       {chosen_as}" in told
        assert f"  | {texts[row['instruction_id']]}" in told
        assert told.count("--- answer of ") == 6
    same = growing.select("--dataset", "data", *FLAGS, "--explain", row["instruction_id"]).stdout
    assert same == told
    refused = growing.select("--explain", "row-9", status=2)
    assert "none of the 130 rows" in refused.error


def test_a_bucket_that_files_arrive_in(
    command: Command, s3_server: S3Server, tmp_path: Path
) -> None:
    zoo = write_zoo(tmp_path / "whole", 60, row_group=10)
    rows = pl.read_parquet(zoo.path)
    fs, keys, name = s3_server.file_system(), s3_server.environment(), f"reselect-{os.getpid()}"
    fs.mkdir(name)

    def arrive(file: str, table: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        table.write_parquet(buffer, row_group_size=10)
        fs.pipe_file(f"{name}/data/{file}.parquet", buffer.getvalue())

    def run(status: int = 0, **env: str) -> Result:
        top = f"s3://{name}"
        own = [
            "--dataset",
            f"{top}/data/*.parquet",
            "--store",
            f"{top}/store",
            "--out",
            f"{top}/out",
        ]
        flags = ["--crowd", str(zoo.crowd), "--budget", "12", "--clusters", "3"]
        here = command.within(tmp_path).of("reselect")
        return here.run(*own, *flags, env={**keys, **env}).ended(status)

    arrive("a", rows[:50])
    run()
    assert "no new rows since" in run().stdout
    arrive("b", rows[50:])
    again = run()
    assert "10 new rows, 0 returned, 0 removed" in again.stdout
    assert "selection  2 of series default (frozen, from selection 1)" in again.stdout
    with fs.open(f"{name}/out/membership.parquet") as file:
        assert pl.read_parquet(file).height >= 12
    assert json.loads(fs.cat_file(f"{name}/store/selections/default/latest.json"))["number"] == 2
    refused = run(2, AWS_SECRET_ACCESS_KEY="MARKED-wrong")
    assert "access denied" in refused.error
    assert "MARKED" not in refused.shown


def test_two_at_once_make_one_selection(selected: Growing) -> None:
    selected.add("b", selected.rows[100:])
    here = selected._command.of("reselect")
    own = ["--dataset", "data", *FLAGS]
    with here.start(*own) as one, here.start(*own, "--out", "other") as two:
        results = [finish(one).ended(0), finish(two).ended(0)]
    assert any("selection  2 of series default" in r.stdout for r in results)
    assert len(selected.run("--list").stdout.splitlines()) == 2
    for name in ("train.jsonl", "selection.parquet", "ranking.parquet"):
        ours, theirs = (selected.folder / out / name for out in ("out", "other"))
        assert ours.read_bytes() == theirs.read_bytes()

"""A live crowd behind endpoints: what is asked, what is never asked again, and how runs end."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from command import Command, contents, finish, until
from endpoints import Endpoint, model, serving, write_rows, write_work

ROWS = 60
KEY = "MARKED-endpoint-key"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with serving(tmp_path_factory.mktemp("endpoint")) as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint of the test's own, which counts only its requests."""
    with serving(tmp_path / "endpoint") as running:
        yield running


def two(url: str) -> list[dict[str, object]]:
    return [model("a", 1, url), model("b", 2, url)]


def test_instructions_become_a_training_set_and_nothing_is_asked_twice(
    command: Command, tmp_path: Path, own: Endpoint
) -> None:
    config = write_work(tmp_path / "work", ROWS, two(own.url))
    run = command.cold().within(tmp_path / "work")  # as a user starts each of the three
    run.of("generate").run("--config", config).ended(0)
    assert set(own.asked.values()) == {1}
    assert len(own.of("a")) == len(own.of("b")) == ROWS
    answers = pl.read_parquet(tmp_path / "work/out/responses.parquet")
    assert answers.height == 2 * ROWS
    assert answers.columns == [
        "instruction_id", "model", "sample", "text", "reasoning", "finish_reason",
        "prompt_tokens", "completion_tokens", "error",
    ]  # fmt: skip
    assert answers["error"].null_count() == 2 * ROWS
    run.of("score").run("--config", config).ended(0)
    scores = pl.read_parquet(tmp_path / "work/out/scores.parquet")
    assert scores.columns == [
        "instruction_id", "model", "sample", "reward_model", "head", "score", "error",
    ]  # fmt: skip
    expected = {
        (r["instruction_id"], r["model"]): len(r["text"].split())
        for r in answers.iter_rows(named=True)
    }
    assert {(r[0], r[1]): int(r[5]) for r in scores.iter_rows()} == expected
    last = run.run("--config", config).ended(0)
    run = command.within(tmp_path / "work")
    assert sum(own.asked.values()) == 2 * ROWS
    assert "responses" in last.stages("Cached")
    own.kill()
    run.run("--config", config, "--budget", "7").ended(0)  # what is finished needs no endpoint
    train = (tmp_path / "work/out/train.jsonl").read_text().splitlines()
    chosen = pl.read_parquet(tmp_path / "work/out/selection.parquet")
    assert [json.loads(t)["messages"] for t in train] == chosen["messages"].to_list()
    texts = set(answers["text"].to_list())
    assert all(json.loads(t)["messages"][1]["content"] in texts for t in train)


def test_what_changes_an_answer_is_asked_and_nothing_else(
    command: Command, tmp_path: Path, own: Endpoint
) -> None:
    work = tmp_path / "work"
    run = command.within(work).of("generate")
    asked = 0

    def new(crowd: list[dict[str, object]], rows: int = ROWS, **keys: object) -> int:
        nonlocal asked
        config = write_work(work, rows, crowd, **keys)
        run.run("--config", config).ended(0)
        before, asked = asked, sum(own.asked.values())
        return asked - before

    a, b = model("a", 1, own.url), model("b", 2, own.url)
    assert new([a]) == ROWS
    assert new([a, b]) == ROWS  # only the model that came
    assert new([a, b], ROWS + 5) == 10  # only the rows that came
    hurried = model("a", 7, own.url, engine={"concurrency": 2, "timeout": 5, "max_retries": 0})
    assert new([hurried | {"family": "g"}, b], ROWS + 5, shard_rows=7) == 0
    renamed = model("c", 1, own.url, engine={"model": "a"})
    assert new([renamed], ROWS + 5) == 0  # the same model under another name
    warm = {"sampling": {"temperature": 0.5}}
    assert new([a | warm, b], ROWS + 5) == ROWS + 5
    assert new([a | {"sampling": {"n": 3}}, b], ROWS + 5) == 2 * (ROWS + 5)
    assert new([a | {"system_prompt": "Be brief."}], ROWS) == ROWS


def test_a_run_that_is_killed_twice_ends_as_an_undisturbed_one(
    command: Command, tmp_path: Path, endpoint: Endpoint
) -> None:
    def chosen(folder: Path) -> dict[str, bytes]:
        return contents(folder / "out")

    calm = tmp_path / "calm"
    config = write_work(calm, 400, two(endpoint.url))
    command.cold().within(calm).run("--config", config).ended(0)
    with serving(tmp_path / "slow", "--delay", "60") as slow:
        work = tmp_path / "work"
        config = write_work(work, 400, two(slow.url))
        for share in (150, 450):
            with command.within(work).start("--config", config) as process:
                until(lambda share=share: sum(slow.asked.values()) >= share, process)
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        command.within(work).run("--config", config).ended(0)
        again = sum(slow.asked.values()) - len(slow.asked)
    # Two kills, two models: the requests in flight (8 each), those of the last second and a half.
    assert 0 < again <= 2 * 2 * (8 + 1.5 * 8 / 0.06)
    first, second = chosen(calm), chosen(work)
    for name in ("train.jsonl", "selection.parquet", "ranking.parquet"):
        assert first[name] == second[name], name


def test_an_endpoint_that_is_down_is_told_before_any_model_runs(
    command: Command, tmp_path: Path, own: Endpoint
) -> None:
    config = write_work(
        tmp_path / "work", ROWS, [*two(own.url), model("c", 3, "http://127.0.0.1:9/v1")]
    )
    result = command.within(tmp_path / "work").of("generate").run("--config", config).ended(2)
    assert "127.0.0.1:9" in result.error
    assert "does not answer" in result.error
    assert not own.asked


def test_a_wrong_key_is_told_and_stands_nowhere(command: Command, tmp_path: Path) -> None:
    with serving(tmp_path / "endpoint", "--require-key", "another") as locked:
        crowd = [model("a", 1, locked.url, engine={"api_key_env": "MY_KEY"})]
        config = write_work(tmp_path / "work", ROWS, crowd)
        run = command.within(tmp_path / "work").of("generate")
        result = run.run("--config", config, env={"MY_KEY": KEY}).ended(2)
        assert "MY_KEY" in result.error
        unset = run.run("--config", config).ended(2)
        assert "MY_KEY" in unset.error
    for data in [result.shown.encode(), *contents(tmp_path / "work").values()]:
        assert KEY.encode() not in data


def test_a_right_key_from_the_environment_is_kept_nowhere(command: Command, tmp_path: Path) -> None:
    with serving(tmp_path / "endpoint", "--require-key", KEY) as locked:
        crowd = [model("a", 1, locked.url, engine={"api_key_env": "MY_KEY"})]
        config = write_work(tmp_path / "work", ROWS, crowd)
        run = command.within(tmp_path / "work").of("generate")
        result = run.run("--config", config, env={"MY_KEY": KEY}).ended(0)
    for data in [result.shown.encode(), *contents(tmp_path / "work").values()]:
        assert KEY.encode() not in data


def test_an_endpoint_that_dies_midway_costs_its_own_rows_alone(
    command: Command, tmp_path: Path, own: Endpoint
) -> None:
    work = tmp_path / "work"
    with serving(tmp_path / "dies", "--die-after", "25") as dies:
        config = write_work(work, ROWS, [model("a", 1, dies.url), model("b", 2, own.url)])
        result = command.within(work).of("generate").run("--config", config).ended(1)
        assert "a: " in result.error
        assert "calls failed" in result.error
        given = len(dies.asked)
    assert len(own.asked) == ROWS  # the other model finished
    before = sum(own.asked.values())
    config = write_work(work, ROWS, two(own.url))  # another address of the same model
    command.within(work).of("generate").run("--config", config).ended(0)
    left = sum(own.asked.values()) - before
    assert ROWS - given <= left < ROWS


def test_what_lies_in_a_row_becomes_a_row_with_a_reason(command: Command, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with serving(tmp_path / "endpoint", "--max-prompt-chars", "2000") as endpoint:
        config = write_work(work, 0, two(endpoint.url))
        faults = ("large", "nul", "invalid_utf8", "content_filter", "policy")
        bad = [f"[[fault:{kind}]] please" for kind in faults] + ["x" * 3000, "  "]
        write_rows(work, range(20), bad)
        result = command.within(work).of("generate").run("--config", config).ended(0)
        table = pl.read_parquet(work / "out/responses.parquet").filter(pl.col("model") == "a")
        codes = table["error"].str.split(":").list.first().value_counts().sort("error")
        assert dict(codes.drop_nulls().iter_rows()) == {
            "answer_too_large": 1, "nul_byte": 1, "invalid_utf8": 1, "content_filter": 2,
            "prompt_too_long": 1, "no_instruction": 1,
        }  # fmt: skip
        assert table.filter(pl.col("error").is_not_null())["text"].null_count() == 7
        assert "2 declined" in result.stdout
        before = sum(endpoint.asked.values())
        command.within(work).of("generate").run("--config", config).ended(0)
        assert sum(endpoint.asked.values()) == before  # the reasons are kept
    assert "prompt_too_long" in result.stdout


def test_failures_below_the_rate_are_rows_that_the_next_run_asks_for(
    command: Command, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    with serving(tmp_path / "endpoint") as endpoint:
        config = write_work(work, 0, two(endpoint.url), max_failure_rate=0.2)
        write_rows(work, range(30), ["[[fault:500*2]] once more"])
        command.within(work).of("generate").run("--config", config).ended(0)
        table = pl.read_parquet(work / "out/responses.parquet")
        assert table["error"].drop_nulls().str.starts_with("server_error").sum() == 2
        before = sum(endpoint.asked.values())
        command.within(work).of("generate").run("--config", config).ended(0)
        assert sum(endpoint.asked.values()) - before == 2  # one each, now answered
        table = pl.read_parquet(work / "out/responses.parquet")
        assert table["error"].null_count() == table.height


def test_ctrl_c_ends_a_run_whose_endpoint_hangs(
    command: Command, tmp_path: Path, own: Endpoint
) -> None:
    work = tmp_path / "work"
    config = write_work(work, 0, two(own.url))
    write_rows(work, range(10), ["[[fault:hang]] for ever"])
    with command.within(work).of("generate").start("--config", config) as process:
        until(lambda: len(own.asked) == 22, process)
        os.kill(process.pid, signal.SIGINT)
        result = finish(process).ended(130)
    assert "committed results stay" in result.stderr


def test_two_runs_at_once_seldom_ask_the_same(command: Command, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with serving(tmp_path / "endpoint", "--delay", "30") as endpoint:
        config = write_work(work, 600, [model("a", 1, endpoint.url)], out="one")
        generate = command.within(work).of("generate")
        with (
            generate.start("--config", config) as one,
            generate.start("--config", config, "--out", "two") as other,
        ):
            finish(one).ended(0)
            finish(other).ended(0)
        assert len(endpoint.asked) == 600
        tables = [pl.read_parquet(work / out / "responses.parquet") for out in ("one", "two")]
        assert tables[0]["text"].null_count() == 0
        key = ["instruction_id", "model", "sample"]
        assert tables[0].sort(key).equals(tables[1].sort(key))

"""A reward function in worker processes: scores, and every way in which it gives none."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from crowdselect_core.chat import Message
from crowdselect_core.config.reward import FunctionReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Failure
from crowdselect_core.reward.base import Item, Score
from crowdselect_core.reward.function.scorer import FunctionScorer, function_identity

MODULE = '''
import asyncio, os, re, sys, time

def verify(prompts, completions, solution, **kwargs):
    [[prompt]], [[answer]] = prompts, completions
    assert prompt["role"] == "user" and answer["role"] == "assistant"
    found = re.search(r"= (-?[0-9]+)", answer["content"])
    return [float(found is not None and found[1] == solution[0])]

def chatty(prompts, completions, **kwargs):
    print("to stdout" * 20000)
    os.write(1, b"raw bytes")
    assert sys.stdin.read() == ""
    return [float(len(completions[0][0]["content"]))]

async def slowly(completions, **kwargs):
    await asyncio.sleep(0)
    return [2.5]

def odd(completions, **kwargs):
    """Does what the answer says."""
    what = completions[0][0]["content"]
    if what == "sleep": time.sleep(600)
    if what == "hold": re.match(r"(a+)+$", "a" * 60 + "b")  # in C, with the GIL held
    if what == "raise": raise KeyError("first\\nsecond")
    if what == "quit": sys.exit(0)
    if what == "die":
        print("last words", file=sys.stderr)
        os._exit(3)
    if what == "kill": os.kill(os.getpid(), 9)
    if what == "fork" and os.fork() == 0: return [9.0]
    return {"none": [None], "nan": [float("nan")], "inf": [float("inf")], "two": [1, 2],
            "bare": 1.0, "text": ["1"], "bool": [True]}.get(what, [1.0])

number = 3
'''


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_checks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)


def item(number: int, text: str, **extra: Any) -> Item:
    return Item(number.to_bytes(16, "big"), (Message(role="user", content="3 + 4?"),), text, extra)


def config(function: str, **options: Any) -> FunctionReward:
    return FunctionReward(kind="function", name="f", path=f"my_checks:{function}", **options)


def scored(settings: FunctionReward, *items: Item) -> dict[int, Score]:
    scorer = FunctionScorer(settings)
    got: list[Score] = []
    try:
        scorer.check()
        scorer.run(iter(items), got.append)
    finally:
        scorer.close()
    assert len(got) == len({score.key for score in got})
    return {int.from_bytes(score.key, "big"): score for score in got}


def test_every_row_gets_its_own_score_from_its_own_columns() -> None:
    items = [item(n, f"3 + 4 = {n}", solution="7", other="x") for n in range(30)]
    got = scored(config("verify", columns=["solution"], workers=3), *items)
    assert {n: score.scores for n, score in got.items()} == {
        n: (1.0 if n == 7 else 0.0,) for n in range(30)
    }


def test_what_it_prints_is_no_part_of_the_protocol() -> None:
    got = scored(config("chatty", workers=1), item(1, "ab"), item(2, "\ud800é"))
    assert [got[1].scores, got[2].scores] == [(2.0,), (2.0,)]


def test_an_async_function() -> None:
    assert scored(config("slowly"), item(1, "a"))[1].scores == (2.5,)


@pytest.mark.parametrize(
    ("what", "code", "told"),
    [
        ("raise", "function_error", "KeyError: 'first\\nsecond'"),
        ("quit", "function_error", "SystemExit"),
        ("none", "no_score", "None"),
        ("nan", "not_a_number", "nan"),
        ("inf", "not_a_number", "inf"),
        ("two", "not_a_number", "list"),
        ("bare", "not_a_number", "float"),
        ("text", "not_a_number", "str"),
        ("die", "worker_died", "exit 3, last line 'last words'"),
        ("kill", "worker_died", "exit -9"),
    ],
)
def test_a_row_without_a_score_says_why_and_the_next_is_scored(
    what: str, code: str, told: str
) -> None:
    got = scored(config("odd", workers=1), item(1, what), item(2, "fine"))
    assert got[1].scores == ()
    assert got[1].failure == Failure.ROW
    assert (got[1].error or "").startswith(f"{code}: ")
    assert told in (got[1].error or "")
    assert got[2].scores == (1.0,)


@pytest.mark.parametrize("what", ["sleep", "hold"])
def test_a_row_over_the_limit_is_killed_and_the_next_is_scored(what: str) -> None:
    # So long that the good row is scored in time on a busy machine.
    got = scored(config("odd", workers=1, time_limit=5), item(1, what), item(2, "fine"))
    assert got[1].error == "time_limit: no score within 5 s"
    assert got[1].failure == Failure.ROW
    assert got[2].scores == (1.0,)


def test_a_function_that_forks_answers_once() -> None:
    got = scored(config("odd", workers=1), item(1, "fork"), item(2, "fine"), item(3, "bool"))
    assert [got[n].scores for n in (1, 2, 3)] == [(1.0,)] * 3


def test_a_value_that_json_has_no_form_for_is_told() -> None:
    got = scored(config("verify", columns=["solution"]), item(1, "a", solution={1, 2}))
    assert (got[1].error or "").startswith("bad_column: ")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("my_checks:missing", "has no function missing"),
        ("my_checks:number", "has no function number"),
        ("broken:f", "ZeroDivisionError"),
        ("dying:f", "exit 4"),
    ],
)
def test_what_cannot_be_imported_is_a_config_error(path: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "dying.py").write_text("import os; os._exit(4)")
    scorer = FunctionScorer(FunctionReward(kind="function", name="f", path=path))
    try:
        with pytest.raises(ConfigError, match="run from the folder") as error:
            scorer.check()
        assert told in str(error.value)
        with pytest.raises(ConfigError):
            scorer.run(iter([item(1, "a")]), lambda score: None)
    finally:
        scorer.close()


def test_columns_that_cannot_be_are_config_errors() -> None:
    with pytest.raises(ConfigError, match="rename"):
        FunctionScorer(config("odd", columns=["prompts"]))
    with pytest.raises(ConfigError, match="no column 'solution'"):
        scored(config("verify", columns=["solution"]), item(1, "a"))


def test_items_are_taken_as_they_are_needed() -> None:
    taken = 0

    def endless() -> Iterator[Item]:
        nonlocal taken
        for taken in range(1, 100_000):
            yield item(taken, "a")

    class Enough(Exception):
        pass

    got: list[Score] = []

    def done(score: Score) -> None:
        got.append(score)
        if len(got) == 5:
            raise Enough

    scorer = FunctionScorer(config("odd", workers=2))
    try:
        with pytest.raises(Enough):
            scorer.run(endless(), done)
        assert taken <= 5 + 6  # three rows a worker
        after: list[Score] = []
        scorer.run(iter([item(1, "a")]), after.append)  # what was dropped does not come back
        assert [(score.key, score.scores) for score in after] == [(item(1, "").key, (1.0,))]
    finally:
        scorer.close()


def test_a_worker_that_was_killed_between_two_rows_is_started_again() -> None:
    scorer = FunctionScorer(config("odd", workers=1))
    try:
        first: list[Score] = []
        scorer.run(iter([item(1, "a")]), first.append)
        (worker,) = scorer._workers
        worker.kill()
        after: list[Score] = []
        scorer.run(iter([item(1, "a")]), after.append)
        assert after == first
        assert after[0].scores == (1.0,)
    finally:
        scorer.close()


PARENT = """
import sys
from crowdselect_core.reward.base import Item
from crowdselect_core.config.reward import FunctionReward
from crowdselect_core.reward.function.scorer import FunctionScorer
FunctionScorer(FunctionReward(kind="function", name="f", path="hang:f", workers=1, time_limit=500)
    ).run(iter([Item(bytes(16), (), "a")]), print)
"""


def test_a_worker_that_hangs_in_c_ends_with_its_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "hang.py").write_text(
        textwrap.dedent("""
        import os, pathlib, re
        def f(**kwargs):
            pathlib.Path("pid.part").write_text(str(os.getpid()))
            os.rename("pid.part", "pid")
            re.match(r"(a+)+$", "a" * 60 + "b")
        """)
    )
    parent = subprocess.Popen([sys.executable, "-c", PARENT])
    try:
        until(lambda: (tmp_path / "pid").exists())
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not running(pid))


def until(true: Any) -> None:
    for _ in range(2400):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("waited two minutes in vain")


def running(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_close_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "pids.py").write_text(
        "import os\ndef f(**kwargs):\n    return [float(os.getpid())]\n"
    )
    got = scored(
        FunctionReward(kind="function", name="f", path="pids:f", workers=2),
        *(item(n, "a") for n in range(8)),
    )
    pids = {int(score.scores[0]) for score in got.values()}
    assert os.getpid() not in pids
    assert not any(map(running, pids))


def test_the_identity_follows_the_source_and_runs_nothing(tmp_path: Path) -> None:
    package = tmp_path / "inner"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError")
    (package / "checks.py").write_text("raise RuntimeError")
    settings = FunctionReward(
        kind="function", name="f", path="inner.checks:f", columns=["a"], time_limit=3, workers=7
    )
    first = function_identity(settings)
    assert first == {
        "path": "inner.checks:f",
        "version": "1",
        "columns": ["a"],
        "source": "sha256:" + sha256(b"raise RuntimeError").hexdigest(),
    }
    assert json.loads(json.dumps(first)) == first
    (package / "checks.py").write_text("raise ValueError")
    assert function_identity(settings) != first
    assert function_identity(settings.model_copy(update={"workers": 1})) == function_identity(
        settings
    )


def test_the_identity_of_a_compiled_module_is_its_distribution() -> None:
    settings = FunctionReward(kind="function", name="f", path="pydantic_core._pydantic_core:f")
    assert function_identity(settings)["source"].startswith("installed: pydantic")
    with pytest.raises(ConfigError, match="no module 'nowhere'"):
        function_identity(FunctionReward(kind="function", name="f", path="nowhere:f"))

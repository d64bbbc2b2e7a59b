"""The guard of a server, on processes that sleep; a server's options, log and lost requests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from processes import members

from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Answer, EngineDown, Failure, Request, failed
from crowdselect_core.generate.vllm.command import option_words
from crowdselect_core.generate.vllm.log import cause, obituary
from crowdselect_core.generate.vllm.requeue import Work
from crowdselect_core.processes import guard
from crowdselect_core.processes.log_lines import log_lines

# A server with a child; the child ignores SIGTERM where that is asked for.
TREE = """
import signal, subprocess, sys, time
sleep = "import signal, time; {deaf}print(1, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", sleep], stdout=subprocess.PIPE)
child.stdout.readline()
print("up", flush=True)
{then}
"""


def start(
    code: str, log: Path, run: str = str(os.getpid())
) -> tuple["subprocess.Popen[bytes]", int]:
    """Start a guard with a Python program; return the guard and the program's process id."""
    words = [sys.executable, "-I", "-S", guard.__file__, run, "--"]
    with log.open("wb") as err:
        process = subprocess.Popen(
            [*words, sys.executable, "-c", code],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    return process, int(process.stdout.read())


def tree(deaf: bool = False, then: str = "time.sleep(600)") -> str:
    ignore = "signal.signal(15, signal.SIG_IGN); " if deaf else ""
    return TREE.format(deaf=ignore, then=then)


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def up(log: Path, group: int) -> None:
    until(lambda: b"up" in log.read_bytes())
    assert len(members(group)) == 2


@pytest.mark.parametrize("how", ["pipe", "SIGTERM"])
def test_guard_ends_the_whole_group(tmp_path: Path, how: str) -> None:
    process, group = start(tree(), tmp_path / "log")
    up(tmp_path / "log", group)
    if how == "pipe":
        assert process.stdin is not None
        process.stdin.close()
    else:
        process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 128 + signal.SIGTERM
    assert members(group) == []


@pytest.mark.parametrize("how", ["pipe", "SIGTERM", "SIGKILL"])
def test_a_guard_that_is_apart_outlives_what_was_started(tmp_path: Path, how: str) -> None:
    """A Ray worker kills its children when it ends: the guard is none of them."""
    process, group = start(tree(), tmp_path / "log", guard.APART)
    up(tmp_path / "log", group)
    if how == "pipe":
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(120) == 128 + signal.SIGTERM
    else:
        process.send_signal(signal.Signals[how])
        process.wait(120)
    until(lambda: members(group) == [])


def test_guard_kills_what_does_not_listen(tmp_path: Path) -> None:
    process, group = start(tree(deaf=True), tmp_path / "log")
    up(tmp_path / "log", group)
    process.send_signal(signal.SIGTERM)
    process.wait(guard.GRACE + 110)
    assert members(group) == []


@pytest.mark.parametrize(
    ("then", "code"),
    [("sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 128 + signal.SIGKILL)],
)
def test_guard_ends_what_a_server_leaves_and_exits_as_it_did(
    tmp_path: Path, then: str, code: int
) -> None:
    process, group = start(tree(then=then), tmp_path / "log")
    assert process.wait(120) == code
    assert members(group) == []
    assert (tmp_path / "log").read_bytes().startswith(b"up")


def test_guard_says_when_a_command_cannot_be_started(tmp_path: Path) -> None:
    words = [sys.executable, guard.__file__, str(os.getpid()), "--", str(tmp_path / "none")]
    told = subprocess.run(words, stdin=subprocess.PIPE, capture_output=True, text=True, check=False)
    assert told.returncode == 127
    assert "No such file" in told.stderr


def test_guard_survives_no_run(tmp_path: Path) -> None:
    """The run is killed with -9, and a process that it forked still holds the pipe."""
    run = f"""
import os, signal, subprocess, sys
log = open({str(tmp_path / "log")!r}, "wb")
words = [sys.executable, {guard.__file__!r}, str(os.getpid()), "--", sys.executable, "-c"]
process = subprocess.Popen([*words, {tree()!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           stderr=log, start_new_session=True)
if (fork := os.fork()) == 0:
    os.close(1)
    signal.pause()
print(process.stdout.read().decode().strip(), fork, flush=True)
signal.pause()
"""
    process = subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.PIPE)
    assert process.stdout is not None
    group, fork = map(int, process.stdout.readline().split())
    up(tmp_path / "log", group)
    process.kill()
    process.wait()
    try:
        until(lambda: members(group) == [])
    finally:
        os.kill(fork, signal.SIGKILL)


def test_options_are_words_of_the_command_line() -> None:
    args = {
        "max_model_len": 8192,
        "gpu-memory-utilization": 0.9,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "hf_overrides": {"rope": {"factor": 2}},
        "served_lora": ["a=/x", {"name": "b"}],
        "chat_template": "-{{ x }}",
        "swap_space": None,
    }
    assert option_words(args) == [
        "--max-model-len=8192", "--gpu-memory-utilization=0.9", "--enforce-eager",
        "--no-enable-prefix-caching", '--hf-overrides={"rope": {"factor": 2}}',
        "--served-lora", "a=/x", '{"name": "b"}', "--chat-template=-{{ x }}",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["host", "served-model-name", "dtype", "--port", "a b", ""])
def test_options_that_are_ours_or_none_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.args"):
        option_words({name: "1"})


def test_the_cause_is_the_last_error_that_is_no_consequence(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(
        b"RuntimeError: of an earlier start\n"
        b"(EngineCore pid=7) ERROR 11-23 19:00:00 [core.py:1] ValueError: \x1b[31mKV cache\x1b[0m "
        b"needs \x07 4 GiB\n"
        b"RuntimeError: Engine core initialization failed. See root cause above.\n"
        b"resource_tracker: leaked\n"
    )
    why = "ValueError: KV cache needs   4 GiB"
    assert cause(log_lines(log, since=34)) == why
    told = obituary(log)
    assert told.startswith(why)
    assert "max_model_len" in told
    assert str(log) in told
    assert "resource_tracker: leaked" in told
    assert all(c.isprintable() or c == "\n" for c in told)


def test_what_a_dead_server_lost_is_asked_of_the_next() -> None:
    """The requests wait for answers, and a client's thread is left waiting in them."""
    told: list[bytes] = []
    answered = Event()

    def requests() -> Iterator[Request]:
        yield Request(b"a", ())
        yield Request(b"b", ())
        assert answered.wait(120)
        yield Request(b"c", ())

    def done(answer: Answer) -> None:
        told.append(answer.key)
        answered.set()

    work: Work[Request, Answer] = Work(requests(), done)

    def dying(asked: Iterator[Request], take: Callable[[Answer], None]) -> None:
        keys = [next(asked).key, next(asked).key]
        Thread(target=lambda: next(asked, None), daemon=True).start()
        take(failed(keys[1], "server", "gone", Failure.INFRASTRUCTURE))

    def living(asked: Iterator[Request], take: Callable[[Answer], None]) -> None:
        for request in asked:
            take(Answer(request.key, text="x"))

    work.ask(dying, lambda: True)
    assert (work.complete, work.lost, told) == (False, 2, [])
    work.ask(living, lambda: False)
    assert (work.complete, told) == (True, [b"a", b"b", b"c"])


def test_a_failure_of_a_living_server_is_handed_on() -> None:
    told: list[Answer] = []
    work: Work[Request, Answer] = Work(iter([Request(b"a", ())]), told.append)
    work.ask(
        lambda asked, take: take(failed(next(asked).key, "slow", "", Failure.INFRASTRUCTURE)),
        lambda: False,
    )
    assert (work.complete, [a.failure for a in told]) == (True, [Failure.INFRASTRUCTURE])

    def gives_up(asked: Iterator[Request], take: Callable[[Answer], None]) -> None:
        raise EngineDown("on its own")

    with pytest.raises(EngineDown, match="on its own"):
        work.ask(gives_up, lambda: False)


def test_a_log_that_is_full_is_cut_to_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab") as file:
        lines = [b"line %d" % n for n in range(1000)]
        file.write(b"\n".join(lines) + b"\n")
        file.flush()
        start = log.stat().st_size
        guard.cut(file.fileno(), most=start + 1, kept=100)
        assert log.stat().st_size == start, "it was not full"
        guard.cut(file.fileno(), most=start, kept=100)
        assert log.stat().st_size <= 130
        file.write(b"and on\n")
    kept = log.read_bytes().splitlines()
    assert kept[0] == b"(older lines were cut off)"
    assert kept[1:] == [*lines[-len(kept) + 2 :], b"and on"]
    assert len(kept) > 8
    assert log_lines(log, since=start)[-1] == "and on", "a start that was cut off is read, too"


def test_what_is_no_log_is_not_cut(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as writer:  # another writer would leave a hole
        writer.write(b"x" * 100)
        writer.flush()
        guard.cut(writer.fileno(), most=10, kept=5)
    assert file.stat().st_size == 100
    reading, writing = os.pipe()
    guard.cut(writing, most=0, kept=0)
    os.close(reading)
    os.close(writing)

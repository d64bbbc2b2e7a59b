"""Requests that several servers answer, some of which die: each outcome comes once."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdselect_core.chat import Message
from crowdselect_core.generate.base import Answer, Failure, Request, failed
from crowdselect_core.generate.vllm.requeue import ServerDied
from crowdselect_core.generate.vllm.shared_work import MOST_TOLD, SharedWork, Turn

Work = SharedWork[Request, Answer]
HERE = 60  # seconds within which a thread must have ended


def requests(count: int) -> Iterator[Request]:
    for n in range(count):
        yield Request(b"%016d" % n, (Message(role="user", content=str(n)),))


def keys(count: int) -> list[bytes]:
    return [request.key for request in requests(count)]


def serve(work: Work, lives: list[int]) -> None:
    """Answer as servers do that follow each other: each but the last dies after so many answers.

    With it goes one more request, of which it says that it failed.
    """
    while work.wait():
        turn, left = work.turn(lambda: True), lives.pop(0) if lives else None
        try:
            for request in turn.requests():
                if left == 0:
                    turn.take(failed(request.key, "lost", "gone", Failure.INFRASTRUCTURE))
                left = None if left is None else left - 1
                turn.take(Answer(request.key, "text"))
        except ServerDied:
            pass
        finally:
            work.give_back(turn)


def told(work: Work, servers: list[Callable[[], None]]) -> list[Answer]:
    threads = [Thread(target=server, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    answers = [answer for answer in work.outcomes() if answer is not None]
    for thread in threads:
        thread.join(HERE)
        assert not thread.is_alive()
    return answers


@given(
    count=st.integers(0, 40),
    lives=st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=3),
)
def test_every_outcome_comes_once_whichever_servers_die(count: int, lives: list[list[int]]) -> None:
    work = Work(requests(count))
    answers = told(work, [partial(serve, work, list(own)) for own in lives])
    assert sorted(answer.key for answer in answers) == keys(count)
    assert {answer.error for answer in answers} <= {None}


def test_what_the_last_server_loses_is_asked_of_one_that_was_through() -> None:
    work = Work(requests(3))
    dying = work.turn(lambda: True)
    held = [work.next(dying), work.next(dying)]
    assert all(held)
    answers: list[Answer] = []
    other = Thread(target=serve, args=(work, []), daemon=True)
    other.start()
    outcomes = work.outcomes()
    while not answers:  # the third request; the other server has nothing more to do then
        answers += [answer for answer in [next(outcomes)] if answer is not None]
    assert not work.over
    assert work.give_back(dying) == 2
    answers += [answer for answer in outcomes if answer is not None]
    other.join(HERE)
    assert sorted(answer.key for answer in answers) == keys(3)


def test_a_late_answer_of_a_server_that_counts_as_dead_is_dropped() -> None:
    work = Work(requests(1))
    late = work.turn(lambda: False)
    request = work.next(late)
    assert request is not None
    work.give_back(late)
    late.take(Answer(request.key, "late"))
    answers = told(work, [partial(serve, work, [])])
    assert [answer.text for answer in answers] == ["text"]


def test_a_request_that_comes_after_its_server_died_is_asked_of_another() -> None:
    """A client's thread may be waiting for the requests when the client has ended."""
    asked, go = Event(), Event()

    def slow() -> Iterator[Request]:
        asked.set()
        assert go.wait(HERE)
        yield from requests(1)

    work = Work(slow())
    dead = work.turn(lambda: True)
    got: list[Request] = []
    waiting = Thread(target=lambda: got.extend(dead.requests()), daemon=True)
    waiting.start()
    assert asked.wait(HERE)
    work.give_back(dead)
    go.set()
    waiting.join(HERE)
    assert got == []
    assert [a.key for a in told(work, [partial(serve, work, [])])] == keys(1)


def test_an_error_of_the_requests_or_of_a_server_ends_the_run() -> None:
    def broken() -> Iterator[Request]:
        yield from requests(2)
        raise KeyError("the run's own trouble")

    work = Work(broken())
    with pytest.raises(KeyError):
        told(work, [partial(serve, work, [])])
    other = Work(requests(2))
    other.fail(ValueError("no vLLM"))
    other.fail(KeyError("which came of it"))
    assert not other.wait()
    with pytest.raises(ValueError, match="no vLLM"):
        list(other.outcomes())


def test_a_run_that_is_stopped_hands_out_nothing_more() -> None:
    work = Work(requests(2))
    turn = work.turn(lambda: False)
    assert work.next(turn) is not None
    work.stop()
    assert work.next(turn) is None
    assert not work.wait()
    assert list(work.outcomes()) == []


def test_servers_wait_for_whoever_reads_the_outcomes() -> None:
    work = Work(requests(2 * MOST_TOLD))
    turn: Turn[Request, Answer] = work.turn(lambda: False)
    made: list[bytes] = []

    def answer() -> None:
        for request in turn.requests():
            turn.take(Answer(request.key, "text"))
            made.append(request.key)

    server = Thread(target=answer, daemon=True)
    server.start()
    deadline = time.monotonic() + HERE
    while len(made) < MOST_TOLD:
        assert time.monotonic() < deadline
    assert len(made) == MOST_TOLD
    assert sorted(a.key for a in work.outcomes() if a is not None) == keys(2 * MOST_TOLD)
    server.join(HERE)

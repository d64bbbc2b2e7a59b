"""A 401, 403 or 404 waits for another call to be answered before it is anybody's fault."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import web
from endpoint import answers, engine, request

from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Answer, Failure
from crowdselect_core.generate.openai.refusals import FEWEST, STREAK, Refusals
from crowdselect_core.generate.openai.trouble import Trouble

Reply = Callable[[str], tuple[int, Any]]

OK = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}


def aside(status: int = 403) -> Trouble:
    return Trouble("forbidden", f"{status} no", status=status)


def refusals(width: int = 1) -> Refusals:
    return Refusals(width, lambda trouble: ConfigError(f"refused: {trouble.words}"))


def test_an_endpoint_that_answers_none_of_its_first_calls_ends_the_run() -> None:
    found = refusals()
    for i in range(FEWEST - 1):
        assert found.refused(bytes([i]), aside()) == []
    with pytest.raises(ConfigError, match="refused: 403 no"):
        found.refused(b"x", aside())
    wide = refusals(width=20)
    for i in range(19):
        wide.refused(bytes([i]), aside())
    with pytest.raises(ConfigError):
        wide.refused(b"x", aside())


def test_quick_refusals_say_nothing_while_the_first_calls_are_on_their_way() -> None:
    found = refusals()
    for i in range(STREAK - 1):
        assert found.refused(bytes([i]), aside(), first_ended=False) == []
    assert len(found.answered()) == STREAK - 1
    slow = refusals()
    for i in range(STREAK - 1):
        slow.refused(bytes([i]), aside(), first_ended=False)
    with pytest.raises(ConfigError):  # but not for ever
        slow.refused(b"x", aside(), first_ended=False)


def test_an_endpoint_that_answers_none_at_all_ends_the_run() -> None:
    found = refusals()
    found.refused(b"a", aside())
    with pytest.raises(ConfigError):
        found.ended()
    assert refusals().ended() == []


def test_an_answer_shows_that_the_fault_lies_in_the_row() -> None:
    found = refusals()
    found.refused(b"a", aside())
    found.refused(b"b", aside(401))
    settled = dict(found.answered())
    assert settled[b"a"].failure is Failure.ROW
    assert settled[b"b"].failure is Failure.INFRASTRUCTURE  # a key is never the row's
    found.refused(b"c", aside(404))
    assert found.waiting
    [(key, last)] = found.ended()
    assert (key, last.failure) == (b"c", Failure.ROW)
    assert not found.waiting


def test_an_endpoint_that_refuses_everybody_from_some_moment_on_is_no_rows_fault() -> None:
    found = refusals()
    found.answered()
    settled = [one for i in range(STREAK) for one in found.refused(bytes([i]), aside())]
    assert {trouble.failure for _, trouble in settled} == {Failure.INFRASTRUCTURE}
    assert len(settled) == STREAK
    for i in range(FEWEST):
        found.refused(bytes([i]), aside())
    assert {trouble.failure for _, trouble in found.ended()} == {Failure.INFRASTRUCTURE}


@contextmanager
def serving(reply: Reply) -> Iterator[str]:
    """Serve chat completions on a thread, each as `reply` makes it of the prompt."""
    up, loop = threading.Event(), asyncio.new_event_loop()
    found: dict[str, Any] = {}

    async def chat(asked: web.Request) -> web.Response:
        body = await asked.json()
        status, made = await asyncio.to_thread(reply, body["messages"][-1]["content"])
        return web.json_response(made, status=status)

    async def start() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found["url"], found["runner"] = f"http://127.0.0.1:{runner.addresses[0][1]}/v1", runner
        up.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(found["runner"].cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert up.wait(120)
    try:
        yield found["url"]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def moderated(text: str) -> tuple[int, Any]:
    flagged = {"error": {"code": 403, "message": "flagged for: violence"}}
    return (403, flagged) if "bad" in text else (200, OK)


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize("place", [0, 10, 20])
def test_one_moderated_prompt_among_twenty_is_that_rows(concurrency: int, place: int) -> None:
    texts = [f"good {i}" for i in range(20)]
    texts.insert(place, "bad")
    with serving(moderated) as url:
        got = answers(engine(url, concurrency=concurrency), *texts)
    assert [a.text is not None for a in got] == [i != place for i in range(21)]
    assert got[place].failure is Failure.ROW
    assert str(got[place].error).startswith("content_filter: ")
    assert "403 flagged for: violence" in str(got[place].error)


def test_many_quick_refusals_before_the_first_answer_end_no_run() -> None:
    refused = threading.Semaphore(0)

    def slow(text: str) -> tuple[int, Any]:
        if "bad" in text:
            refused.release()
            return moderated(text)
        for _ in range(12):  # more than the endpoint's first calls
            assert refused.acquire(timeout=120)
        return 200, OK

    texts = ["good", *(f"bad {i}" for i in range(12))]
    with serving(slow) as url:
        got = answers(engine(url, concurrency=4), *texts)
    assert [a.failure for a in got] == [None] + [Failure.ROW] * 12


def test_a_wrong_model_still_ends_the_run() -> None:
    asked = []

    def nowhere(text: str) -> tuple[int, Any]:
        asked.append(text)
        return 404, {"error": {"message": "The model `model` does not exist"}}

    with serving(nowhere) as url, pytest.raises(ConfigError, match="does not exist"):
        answers(engine(url, concurrency=2), *(f"t {i}" for i in range(1000)))
    assert FEWEST <= len(asked) <= FEWEST + 2


def test_a_source_may_wait_for_a_refused_row() -> None:
    settled = threading.Semaphore(1)

    def careful() -> Any:
        for i, text in enumerate(["good", "bad", "good"]):
            assert settled.acquire(timeout=120)
            yield request(i, text)

    got: list[Answer] = []

    def done(answer: Answer) -> None:
        got.append(answer)
        settled.release()

    with serving(moderated) as url:
        engine(url).run(careful(), done)
    assert [a.failure for a in got] == [None, Failure.ROW, None]

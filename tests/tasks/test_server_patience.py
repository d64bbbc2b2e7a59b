"""Prefect's own clients with patience, before a transport that answers as a busy server does."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import httpx
import pytest
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient
from prefect.concurrency._asyncio import ConcurrencySlotAcquisitionError
from prefect.exceptions import PrefectHTTPStatusError

from tasks import cancellation, server_patience
from tasks.server_patience import ServerBusy, busy_server

URL = "http://prefect.test/api/v2/slots"
Outcome = int | Exception
Ask = Callable[..., httpx.Response]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Patience for as long as the test, with pauses that take no time."""
    for client in (PrefectHttpxSyncClient, PrefectHttpxAsyncClient):
        monkeypatch.setattr(client, "_send_with_retry", client._send_with_retry)
    monkeypatch.setattr(server_patience, "LONGEST", 0.0)
    server_patience.install()
    yield
    server_patience._given_up.clear()
    cancellation._asked.clear()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Make a client and a call, whose tries come to one outcome after the other."""

    def answering(outcomes: Iterator[Outcome], **headers: str) -> httpx.MockTransport:
        def handle(asked: httpx.Request) -> httpx.Response:
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                raise outcome
            return httpx.Response(outcome, headers=headers, request=asked)

        return httpx.MockTransport(handle)

    def call(*outcomes: Outcome, then: Outcome = 200, **headers: str) -> httpx.Response:
        def endless() -> Iterator[Outcome]:
            yield from outcomes
            while True:
                yield then

        transport = answering(endless(), **headers)
        if request.param == "sync":
            with PrefectHttpxSyncClient(transport=transport) as client:
                return client.post(URL)

        async def asked() -> httpx.Response:
            async with PrefectHttpxAsyncClient(transport=transport) as client:
                return await client.post(URL)

        return asyncio.run(asked())

    return call


@pytest.mark.parametrize(
    "refused",
    [
        503, 502, 504, 429, 408,
        httpx.ConnectError("nobody listens"),  # of a new client; Prefect's own does not try again
        httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut"),
    ],
)  # fmt: skip
def test_a_call_outlasts_a_busy_server(
    ask: Ask, refused: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "crowdselect"):
        assert ask(*[refused] * 20).status_code == 200
    waiting, over = caplog.messages
    assert waiting.startswith("waiting for the Prefect server: it ")
    assert "(POST /api/v2/slots), trying again for up to 300 s" in waiting
    assert (str(refused) if isinstance(refused, int) else type(refused).__name__) in waiting
    assert over.startswith("the Prefect server answers again, after ")


@pytest.mark.parametrize("refused", [503, httpx.ConnectError("nobody listens")])
def test_a_call_that_is_refused_once_is_no_news(
    ask: Ask, refused: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "crowdselect"):
        assert ask(refused).status_code == 200
        assert ask(refused).status_code == 200  # another call: its count is its own
    assert caplog.messages == []


@pytest.mark.parametrize("status", [400, 404, 409, 422, 423, 500])
def test_what_is_no_sign_of_load_is_told_at_once(
    ask: Ask, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(PrefectHTTPStatusError, match=str(status)):
        ask(status)
    assert caplog.messages == []


def test_a_server_that_stays_busy_is_one_line(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_patience, "PATIENCE", 0.05)
    monkeypatch.setattr(server_patience, "LAST", 0.05)  # that of the second call
    with pytest.raises(ServerBusy) as busy:
        ask(then=503)
    assert str(busy.value) == (
        "the Prefect server at prefect.test answered 503 for 0.05 s (POST /api/v2/slots); "
        "committed results stay: run again when it is up and less busy"
    )
    with pytest.raises(ServerBusy, match=r"did not answer \(ConnectError\)"):
        ask(then=httpx.ConnectError("nobody listens"))


@pytest.mark.parametrize("why", ["given up", "stopped"])
def test_the_end_of_a_run_waits_less(ask: Ask, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    monkeypatch.setattr(server_patience, "LAST", 0.0)
    if why == "stopped":
        cancellation.ask()
    else:
        monkeypatch.setattr(server_patience, "PATIENCE", 0.0)
        with pytest.raises(ServerBusy):
            ask(then=503)
        monkeypatch.setattr(server_patience, "PATIENCE", 300.0)
    with pytest.raises(ServerBusy):
        ask(then=503)
    if why == "given up":
        ask()  # it answers: from here on there is time again
        assert ask(503, 503).status_code == 200


def test_maintenance_is_left_to_prefect(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_patience, "PATIENCE", 0.0)
    headers = {"Prefect-Maintenance": "true", "Retry-After": "0"}
    assert ask(503, 503, **headers).status_code == 200
    assert [m for m in caplog.messages if "waiting" in m] == []


def test_a_pause_that_the_server_asks_for_is_kept_and_told_at_once(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []

    async def later(seconds: float) -> None:
        pauses.append(seconds)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append)
    monkeypatch.setattr(server_patience, "time", clock)
    monkeypatch.setattr(server_patience, "asyncio", SimpleNamespace(sleep=later))
    ask(429, 429, **{"Retry-After": "40"})
    assert pauses == [40.0, 40.0]
    ask(429, **{"Retry-After": "40"})
    assert len([m for m in caplog.messages if "waiting" in m]) == 2  # one of each call


def test_a_second_install_changes_nothing() -> None:
    before = PrefectHttpxSyncClient._send_with_retry, PrefectHttpxAsyncClient._send_with_retry
    server_patience.install()
    after = PrefectHttpxSyncClient._send_with_retry, PrefectHttpxAsyncClient._send_with_retry
    assert after == before


def test_the_busy_server_is_known_through_what_prefect_makes_of_it() -> None:
    busy = ServerBusy("busy")
    wrapped = ConcurrencySlotAcquisitionError("Unable to acquire concurrency slots")
    wrapped.__cause__ = busy
    assert busy_server(wrapped) is busy
    assert busy_server(ConcurrencySlotAcquisitionError("no such limit")) is None
    assert busy_server(None) is None

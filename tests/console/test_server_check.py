"""The first look at a named Prefect server: one that is busy is waited for, none is not."""

import logging
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from servers import LOCAL, free_port

from crowdselect_core.errors import StorageError
from flows import server_check
from flows.server_check import check_server


class Busy(BaseHTTPRequestHandler):
    """Takes connections, and answers as many of them as it is told to leave out, with nothing."""

    asked = 0
    silent = 0
    status = 200
    ended = Event()

    def do_GET(self) -> None:
        """Answer, unless it is too early for that."""
        Busy.asked += 1
        if Busy.asked <= Busy.silent:
            Busy.ended.wait(60)
            return
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Busy]]:
    """A server that is named, and an answer that is soon given up."""
    Busy.asked, Busy.silent, Busy.status, Busy.ended = 0, 0, 200, Event()
    server = ThreadingHTTPServer((LOCAL, 0), Busy)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PREFECT_API_URL", f"http://{LOCAL}:{server.server_port}/api")
    monkeypatch.setattr(server_check, "ANSWER", 0.2)
    yield Busy
    Busy.ended.set()
    server.shutdown()
    server.server_close()


def test_a_busy_server_is_waited_for(busy: type[Busy], caplog: pytest.LogCaptureFixture) -> None:
    busy.silent = 2
    with caplog.at_level(logging.WARNING, logger="crowdselect"):
        check_server()
    assert busy.asked >= 3
    assert [r.getMessage() for r in caplog.records] == [
        "waiting for the Prefect server: it took the connection and did not answer in 0.2 s, "
        "trying again for up to 300 s"
    ]


def test_a_server_that_never_answers_ends_the_run(
    busy: type[Busy], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy.silent = 1_000
    monkeypatch.setattr(server_check, "PATIENCE", 0.0)
    with pytest.raises(StorageError, match=r"127\.0\.0\.1 .* did not answer for 0 s; start it"):
        check_server()


def test_a_server_that_refuses_answers(busy: type[Busy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_check, "ANSWER", 120.0)  # one look is enough, however busy we are
    busy.status = 401
    check_server()
    assert busy.asked == 1


def test_where_nobody_listens_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://user:HIDDEN@{LOCAL}:{free_port()}/api")
    with pytest.raises(StorageError, match="does not answer") as told:
        check_server()
    assert "HIDDEN" not in str(told.value)


def test_a_listener_without_an_accept_counts_as_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening:
        listening.bind((LOCAL, 0))
        listening.listen()
        port = listening.getsockname()[1]
        monkeypatch.setenv("PREFECT_API_URL", f"http://{LOCAL}:{port}/api")
        monkeypatch.setattr(server_check, "ANSWER", 0.1)
        monkeypatch.setattr(server_check, "PATIENCE", 0.0)
        with pytest.raises(StorageError, match="did not answer"):
            check_server()

"""What a line of progress says: counts at a pace, and what is waited for without one."""

from types import SimpleNamespace

import pytest

from crowdselect_core.generate import call_tracker, in_flight
from crowdselect_core.generate.base import Failure
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.in_flight import InFlight
from tasks import progress


def calls(planned: int, in_flight: InFlight | None = None) -> CallTracker:
    return CallTracker("m", planned, 3, 0.5, lambda _: None, in_flight)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    for module in (call_tracker, in_flight):  # not the clock of all threads of the tests
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_pace(clock: list[float]) -> None:
    counted = calls(10)
    for key in range(4):
        clock[0] += 2
        counted.finished(bytes([key]))
        counted.success(10, 40)
    assert progress.line(counted) == "m: 4 of 10, 3 cached, 20 tokens/s, about 12 s left"


def test_hanging_requests(clock: list[float]) -> None:
    flight = InFlight(timeout=600.0)
    counted = calls(4, flight)
    with flight.sent(), flight.sent():
        clock[0] += 1
        counted.finished(b"a")
        counted.success(1, 1)
        counted.finished(b"b")
        counted.failure(b"b", "timeout: 600 s", Failure.INFRASTRUCTURE)
        clock[0] += 180
        assert progress.line(counted) == (
            "m: 2 of 4, 3 cached, waiting: 2 requests in flight, oldest 181 s, timeout 600 s, "
            "1 timeout"
        )


def test_a_pause_before_a_retry(clock: list[float]) -> None:
    counted = calls(4, InFlight(timeout=600.0))
    clock[0] += 7
    assert progress.words(counted) == "3 cached, waiting: no answer for 7 s, none in flight"


def test_an_engine_that_does_not_report_its_requests(clock: list[float]) -> None:
    counted = calls(4)
    clock[0] += 7
    assert progress.words(counted) == "3 cached, waiting: no answer for 7 s"


def test_all_done_waits_for_nothing(clock: list[float]) -> None:
    counted = calls(1)
    counted.finished(b"a")
    counted.success()
    clock[0] += 600
    assert progress.line(counted) == "m: 1 of 1, 3 cached"

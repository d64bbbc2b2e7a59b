"""Counting calls: when too many have failed, and what lies in a row does not stop a run."""

from itertools import islice

import pytest

from crowdselect_core.generate.base import Failure, Request
from crowdselect_core.generate.call_tracker import EARLY, IN_A_ROW, CallTracker, TooManyFailures
from crowdselect_core.generate.in_flight import InFlight


def calls(planned: int, limit: float = 0.01) -> CallTracker:
    return CallTracker("m", planned, 0, limit, lambda _: None)


def pieces(count: int) -> list[Request]:
    return [Request(bytes([number]), (), None) for number in range(count)]


def fail(counted: CallTracker, times: int, whose: Failure = Failure.INFRASTRUCTURE) -> None:
    for _ in range(times):
        counted.failure(str(len(counted.failed)).encode(), "timeout: 5 s", whose)


def test_failures_within_the_rate_are_allowed() -> None:
    counted = calls(200)
    fail(counted, 2)
    assert not counted.breached
    fail(counted, 1)
    assert counted.breached


@pytest.mark.parametrize(("cached", "allowed"), [(0, 1), (100, 2), (9_900, 100)])
def test_cells_that_were_cached_count_in_the_rate(cached: int, allowed: int) -> None:
    counted = CallTracker("m", 100, cached, 0.01, lambda _: None)
    for _ in range(allowed):  # 1% of planned and cached
        fail(counted, 1)
        counted.success()
    assert not counted.breached
    if allowed < EARLY:
        fail(counted, 1)
        assert counted.breached
    else:
        with pytest.raises(TooManyFailures):
            fail(counted, 1)


def test_a_run_is_stopped_early_only_when_its_end_could_not_help() -> None:
    counted = calls(1000)
    for _ in range(EARLY - 1):
        fail(counted, 1)
        counted.success()
    with pytest.raises(
        TooManyFailures, match=r"m: 20 of 1,000 calls failed .*the last error: timeout"
    ):
        fail(counted, 1)


def test_an_engine_that_answers_nothing_any_more_is_down() -> None:
    counted = calls(1_000_000)
    counted.success()
    fail(counted, IN_A_ROW - 1)
    counted.success()
    fail(counted, IN_A_ROW - 1)
    with pytest.raises(TooManyFailures):
        fail(counted, 1)


def test_a_resumed_run_may_end_though_what_failed_fails_again() -> None:
    """Of a million calls 200 always fail: a resumed run makes these alone."""
    counted = CallTracker("m", 200, 999_800, 0.01, lambda _: None)
    fail(counted, 200)
    counted.check_failures()
    shard = CallTracker("m", 200, 999_800, 1.0, lambda _: None)  # another process has the rate
    with pytest.raises(TooManyFailures, match="of 1,000,000, cached ones included"):
        fail(shard, IN_A_ROW)


def test_what_lies_in_the_row_is_counted_apart() -> None:
    counted = calls(100)
    fail(counted, 100, Failure.ROW)
    assert not counted.breached
    assert not counted.failed
    assert counted.done == 100
    assert counted.codes == {"timeout": 100}


def test_the_slowest_answer_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("crowdselect_core.generate.call_tracker.time.monotonic", lambda: now[0])
    counted = calls(3)
    for seconds, piece in zip((2.0, 9.0, 5.0), counted.timed(pieces(3)), strict=True):
        now[0] += seconds
        counted.finished(piece.key)
    assert counted.slowest == 9.0
    counted.finished(b"never handed over")
    assert counted.slowest == 9.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets; the tracker and the requests in flight read it."""
    now = [100.0]
    for module in ("call_tracker", "in_flight"):
        monkeypatch.setattr(f"crowdselect_core.generate.{module}.time.monotonic", lambda: now[0])
    return now


def test_before_the_first_answer_no_time_is_promised(clock: list[float]) -> None:
    counted = CallTracker("m", 10, 0, 0.01, lambda _: None)
    clock[0] += 1
    assert counted.is_waiting
    assert counted.left is None


def test_a_pace_promises_the_time_left(clock: list[float]) -> None:
    """Four calls in 8 s: the other six take 12 s."""
    counted = CallTracker("m", 10, 0, 0.01, lambda _: None)
    for key in range(4):
        clock[0] += 2
        counted.finished(bytes([key]))
        counted.success()
    assert not counted.is_waiting
    assert counted.left == 12.0


@pytest.mark.parametrize(("seconds", "waits"), [(9.0, False), (11.0, True)])
def test_after_a_long_silence_no_time_is_promised(
    clock: list[float], seconds: float, waits: bool
) -> None:
    counted = CallTracker("m", 10, 0, 0.01, lambda _: None)
    clock[0] += 1
    counted.finished(b"a")
    counted.success()
    clock[0] += seconds
    assert counted.is_waiting is waits
    assert (counted.left is None) is waits


def test_a_slow_model_is_not_waiting_at_its_own_pace(clock: list[float]) -> None:
    """An answer a minute: four minutes without one are within five times the mean."""
    counted = CallTracker("m", 10, 0, 0.01, lambda _: None)
    clock[0] += 60
    counted.finished(b"a")
    counted.success()
    clock[0] += 240
    assert not counted.is_waiting


def test_the_last_requests_that_hang_leave_the_pace(clock: list[float]) -> None:
    """Nine of ten were answered in 1 s each; the tenth has been in flight for longer than any."""
    flight = InFlight(timeout=30.0)
    counted = CallTracker("m", 10, 0, 0.01, lambda _: None, flight)
    work = counted.timed(pieces(10))
    for piece in islice(work, 9):
        clock[0] += 1
        counted.finished(piece.key)
        counted.success()
    next(work)
    with flight.sent():
        clock[0] += 0.5
        assert not counted.is_waiting
        clock[0] += 2
        assert counted.is_waiting
        assert counted.left is None
    counted.success()
    assert not counted.is_waiting


def test_requests_in_flight_are_counted_with_the_age_of_the_oldest(clock: list[float]) -> None:
    flight = InFlight()
    assert (flight.count, flight.oldest) == (0, None)
    with flight.sent():
        clock[0] += 3
        with flight.sent():
            clock[0] += 4
            assert (flight.count, flight.oldest) == (2, 7.0)
        assert (flight.count, flight.oldest) == (1, 7.0)
    with pytest.raises(ValueError, match="broken"), flight.sent():
        raise ValueError("broken")
    assert (flight.count, flight.oldest) == (0, None)

"""Counting calls: when too many have failed, and what lies in a row does not stop a run."""

import pytest

from crowdselect_core.generate.base import Failure, Request
from crowdselect_core.generate.call_tracker import EARLY, IN_A_ROW, CallTracker, TooManyFailures


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
    with pytest.raises(TooManyFailures, match=r"m: 20 of 1,000 calls failed .*the last: timeout"):
        fail(counted, 1)


def test_an_engine_that_answers_nothing_any_more_is_down() -> None:
    counted = calls(1_000_000)
    counted.success()
    fail(counted, IN_A_ROW - 1)
    counted.success()
    fail(counted, IN_A_ROW - 1)
    with pytest.raises(TooManyFailures):
        fail(counted, 1)


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

"""Waits between tries grow, are spread, and are bounded."""

from itertools import islice

from crowdselect_core.util.retry import backoff


def test_waits_double_up_to_the_longest_with_jitter() -> None:
    steps = [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    for _ in range(50):
        waits = list(islice(backoff(0.5, 5.0), 6))
        assert all(step / 2 <= wait <= step for wait, step in zip(waits, steps, strict=True))
    firsts = {next(backoff(1.0, 5.0)) for _ in range(20)}
    assert len(firsts) > 1


def test_a_first_wait_above_the_longest_is_the_longest() -> None:
    assert next(backoff(60.0, 2.0)) <= 2.0

"""How often a model's progress is told: the log of a run of days stays short."""

from tasks.progress import LINE_SECONDS, MOST_SECONDS, pause


def lines(seconds: float) -> int:
    """The lines of a model that takes so long."""
    now, count = 0.0, 0
    while (now := now + pause(now)) <= seconds:
        count += 1
    return count


def test_the_first_minutes_are_told_every_five_seconds() -> None:
    assert pause(0.0) == LINE_SECONDS == 5.0
    assert lines(300) == 60


def test_two_days_are_some_thousand_lines() -> None:
    """100 in the first 500 s, 1.01 to the n from there to 6,000 s, then one a minute."""
    assert pause(48 * 3600.0) == MOST_SECONDS == 60.0
    assert 3_000 < lines(48 * 3600) < 3_200

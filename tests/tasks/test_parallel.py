"""Work on many things, some at once: results in order, errors raised, nothing new after one."""

from threading import Barrier

import pytest

from flows.parallel import each


@pytest.mark.parametrize("at_once", [1, 3])
def test_results_come_in_the_order_of_the_things(at_once: int) -> None:
    assert each([3, 1, 2], lambda n: n * n, at_once) == [9, 1, 4]


def test_as_many_as_may_run_at_once_do() -> None:
    both = Barrier(2, timeout=240)
    assert sorted(each([0, 1], lambda _: both.wait(), 2)) == [0, 1]  # neither waits in vain


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_first_error_is_raised_and_what_waits_is_not_begun(at_once: int) -> None:
    begun: list[int] = []

    def work(thing: int) -> int:
        begun.append(thing)
        raise ValueError(f"thing {thing}")

    with pytest.raises(ValueError, match="thing"):
        each(list(range(500)), work, at_once)
    assert len(begun) < 500

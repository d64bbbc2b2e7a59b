"""The limit adapts as its docstring says; the clock is turned by hand."""

import asyncio

from crowdselect_core.generate.openai.concurrency import AdaptiveLimit, Replicas


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fill(limit: AdaptiveLimit) -> list[float]:
    """Begin as many requests as may be in flight."""
    begun = []
    while limit.room:
        begun.append(limit.begin())
    return begun


def window(limit: AdaptiveLimit, clock: Clock, width: int, rounds: int, seconds: float) -> None:
    """Answer `rounds` rounds of `width` requests at once, each round taking so many seconds."""
    for _ in range(rounds):
        begun = [limit.begin() for _ in range(width)]
        clock.now += seconds
        for beginning in begun:
            limit.succeeded(beginning)


def test_the_bound_is_where_it_starts_and_what_it_never_exceeds() -> None:
    clock = Clock()
    limit = AdaptiveLimit(8, clock)
    assert len(fill(limit)) == 8
    assert not limit.room
    for _ in range(8):
        limit.succeeded(0.0)
    window(limit, clock, 8, 10, 1.0)
    assert limit.limit == 8


def test_a_refusal_halves_once_per_round_trip() -> None:
    clock = Clock()
    limit = AdaptiveLimit(16, clock)
    begun = fill(limit)
    clock.now = 1.0
    limit.refused(begun.pop())
    assert limit.limit == 8
    for beginning in begun:  # all of them began before the cut
        limit.refused(beginning)
    assert limit.limit == 8
    begun = fill(limit)
    assert len(begun) == 8
    clock.now = 2.0
    limit.refused(begun[0])
    assert limit.limit == 4


def test_halving_starts_from_what_was_really_in_flight() -> None:
    limit = AdaptiveLimit(100, Clock())
    begun = [limit.begin() for _ in range(10)]
    limit.refused(begun[0])
    assert limit.limit == 5


def test_it_never_falls_below_one() -> None:
    clock = Clock()
    limit = AdaptiveLimit(4, clock)
    for _ in range(5):
        beginning = limit.begin()
        clock.now += 1
        limit.refused(beginning)
    assert limit.limit == 1
    assert limit.room


def test_it_grows_by_one_per_limit_successes_back_to_the_bound() -> None:
    clock = Clock()
    limit = AdaptiveLimit(8, clock)
    begun = fill(limit)
    limit.refused(begun[0])
    for _ in begun[1:]:
        limit.failed()
    assert limit.limit == 4
    grown = []
    for _ in range(4 + 5 + 6 + 7 + 8):
        clock.now += 1
        limit.succeeded(limit.begin())
        grown.append(limit.limit)
    assert grown == [4] * 3 + [5] * 5 + [6] * 6 + [7] * 7 + [8] * 9


def test_latency_without_throughput_cuts_by_a_quarter() -> None:
    clock = Clock()
    limit = AdaptiveLimit(8, clock)
    window(limit, clock, 8, 2, 1.0)  # 8 answers a second, each in 1 s
    window(limit, clock, 8, 2, 1.9)  # slower, but less than twice
    assert limit.limit == 8
    window(limit, clock, 8, 2, 2.5)
    assert limit.limit == 6


def test_latency_that_buys_throughput_cuts_nothing() -> None:
    clock = Clock()
    limit = AdaptiveLimit(32, clock)
    window(limit, clock, 2, 32, 1.0)  # 2 a second, each in 1 s
    window(limit, clock, 32, 2, 3.0)  # 10.7 a second, each in 3 s
    assert limit.limit == 32


def test_longer_answers_cost_one_cut_and_no_spiral() -> None:
    clock = Clock()
    limit = AdaptiveLimit(8, clock)
    window(limit, clock, 8, 2, 1.0)
    window(limit, clock, 8, 2, 3.0)
    assert limit.limit == 6
    window(limit, clock, 6, 40, 3.0)  # the same speed from here on
    assert limit.limit == 8


def test_retry_after_holds_everything_back() -> None:
    clock = Clock()
    limit = AdaptiveLimit(8, clock)
    limit.leave_alone(30.0)
    limit.leave_alone(10.0)  # a shorter one does not shorten it
    clock.now = 29.9
    assert not limit.room
    clock.now = 30.0
    assert limit.room


def test_the_replica_with_the_least_in_flight_is_next() -> None:
    replicas = Replicas(["http://a", "http://b"], 4, Clock())
    chosen = []
    for _ in range(4):
        replica = replicas.choose()
        assert replica is not None
        replica.limit.begin()
        chosen.append(replica.url)
    assert sorted(chosen) == ["http://a", "http://a", "http://b", "http://b"]


def test_a_replica_out_of_reach_rests_while_another_lives() -> None:
    clock = Clock()
    replicas = Replicas(["http://a", "http://b"], 4, clock)
    a, b = replicas.all
    replicas.rest(a)
    for _ in range(4):
        b.limit.begin()
    assert replicas.choose() is None  # b is full and a rests
    clock.now = 4.9
    assert replicas.choose() is None
    clock.now = 5.0
    assert replicas.choose() is a


def test_the_only_replica_is_asked_even_while_it_rests() -> None:
    replicas = Replicas(["http://a"], 4, Clock())
    replicas.rest(replicas.all[0])
    assert replicas.choose() is replicas.all[0]


def test_those_that_wait_are_woken_by_an_end() -> None:
    async def scene() -> list[str]:
        seen: list[str] = []
        replicas = Replicas(["http://a"], 1)
        first, begun = await replicas.acquire()

        async def second() -> None:
            await replicas.acquire()
            seen.append("second")

        task = asyncio.create_task(second())
        await asyncio.sleep(0)
        seen.append("first")
        first.limit.succeeded(begun)
        replicas.released()
        await task
        return seen

    assert asyncio.run(scene()) == ["first", "second"]

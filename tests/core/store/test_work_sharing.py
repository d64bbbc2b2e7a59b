"""Processes that make the same cells share the work, and never wait for one that died."""

import time
from collections.abc import Callable
from itertools import islice

import pytest
from disks import Disk

from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.cache import work_sharing
from crowdselect_core.store.cache.work_sharing import ASKING, WorkSharing

FOLDER = "generated/key"
KEYS = [number.to_bytes(16, "big") for number in range(400)]
LATE = (lambda: True, lambda: 0.0)  # something is always left, and answers take no time
GHOST = f"{FOLDER}/asking-{'0' * 32}-7.txt"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_sharing, "BEAT", 0.02)
    monkeypatch.setattr(work_sharing, "FIRST", 0.02)
    monkeypatch.setattr(work_sharing, "DEAD", 600.0)  # nobody dies of a busy machine
    monkeypatch.setattr(work_sharing, "LOOK", 0.05)


def asker(root: str) -> WorkSharing:
    return WorkSharing(open_backend(root), FOLDER)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, "never"
        time.sleep(0.01)


def settled(monkeypatch: pytest.MonkeyPatch, *several: WorkSharing) -> None:
    """Wait until all have seen all; from then on nobody signs, and they stay there.

    A sign that is replaced while another looks is missed until its next look.
    """
    others = len(several) - 1
    until(lambda: all(len(one._alive) == others for one in several))
    monkeypatch.setattr(WorkSharing, "_sign", lambda _: None)
    for _ in range(3):  # looks of each: of before, beside the last sign of another, and after it
        before = [one._looks for one in several]
        until(lambda: all(o._looks is not b for o, b in zip(several, before, strict=True)))  # noqa: B023
    until(lambda: all(len(one._alive) == len(one._others) == others for one in several))


def there(disk: Disk) -> int:
    return sum(ASKING.fullmatch(name.rsplit("/", 1)[-1]) is not None for name in disk.files())


def test_one_that_is_alone_has_one_round_and_leaves_nothing(
    root: str, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_sharing, "FIRST", 3600.0)  # its sign stays while it is looked for
    with asker(root) as one:
        rounds = [[mine(key) for key in KEYS] for mine in one.rounds(*LATE)]
        assert there(disk) >= 1
    assert rounds == [[True] * len(KEYS)]
    assert there(disk) == 0


def test_three_share_the_work_and_take_what_is_left(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asker(root) as a, asker(root) as b, asker(root) as c:
        three = (a, b, c)
        settled(monkeypatch, *three)
        shares = [{k for k in KEYS if next(one.rounds(*LATE))(k)} for one in three]
        assert sum(map(len, shares)) == len(set.union(*shares)) == len(KEYS)
        assert min(map(len, shares)) > 90  # of 400; a third is 133
        second = next(islice(a.rounds(*LATE), 1, None), None)
        assert second is None  # nothing was looked at, so nothing was left to others
        walked = [[mine(k) for k in KEYS].count(True) for mine in a.rounds(*LATE)]
        assert len(shares[0]) == walked[0] < walked[1] < walked[2] == len(KEYS)


def test_nobody_waits_for_the_dead(root: str, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_sharing, "GRACE", 1e9)  # to wait at all is to hang
    disk.write(GHOST, b"")
    monkeypatch.setattr(work_sharing, "FIRST", 3600.0)
    with asker(root) as one:  # it cannot know yet that the other is dead, and still goes through
        walked = [[mine(k) for k in KEYS].count(True) for mine in one.rounds(*LATE)]
        assert 0 < walked[0] < walked[1] == len(KEYS)
        assert not one._look(), "nobody has come"
        monkeypatch.setattr(work_sharing, "DEAD", -1.0)
        one._look()
        assert GHOST not in disk.files()
        assert [all(map(mine, KEYS)) for mine in one.rounds(*LATE)] == [True]


def test_one_that_is_killed_after_it_was_seen_alive_is_waited_for_a_moment_only(
    root: str, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_sharing, "GRACE", 1e9)
    with asker(root) as one:
        disk.write(GHOST, b"")
        one._look()
        disk.write(GHOST.replace("-7.", "-8."), b"")  # the next sign first, as processes do
        until(lambda: len(one._alive) == 1)
        disk.remove(GHOST)
        monkeypatch.setattr(work_sharing, "DEAD", 0.2)
        assert [all(map(mine, KEYS)) for mine in one.rounds(*LATE)][-1]  # it comes to an end
        assert not one._alive


def test_the_living_get_the_time_that_answers_take_and_no_more_when_all_is_there(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_sharing, "GRACE", 1e9)  # to wait to the end is to hang
    with asker(root) as one, asker(root) as other:
        settled(monkeypatch, one, other)
        looks = iter([True, True, False])
        rounds = one.rounds(lambda: next(looks), float)
        walked = [[mine(k) for k in KEYS].count(True) for mine in rounds]
        assert len(walked) == 1, "the other came to its end, so nothing was left for a second round"
        assert 0 < walked[0] < len(KEYS)
        assert next(looks, None) is None, "it looked until nothing was left"


def test_the_share_of_one_that_goes_is_taken_over_at_once(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_sharing, "GRACE", 1e9)
    with asker(root) as one, asker(root) as stays:
        with asker(root) as goes:
            settled(monkeypatch, one, stays, goes)
            rounds = one.rounds(*LATE)
            mine = next(rounds)
            first = {k for k in KEYS if mine(k)}
        mine = next(rounds)  # without a wait to the end
        second = {k for k in KEYS if mine(k)}
        assert first < second
        assert len(second) < len(KEYS), "the other's share stays with it"
        rounds.close()


def test_no_answer_is_waited_for_beyond_the_longest(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_sharing, "GRACE", 0.0)
    monkeypatch.setattr(work_sharing, "LONGEST", 0.2)
    with asker(root) as one, asker(root) as other:
        settled(monkeypatch, one, other)
        walked = [[mine(k) for k in KEYS].count(True) for mine in one.rounds(LATE[0], lambda: 1e9)]
        assert walked[-1] == len(KEYS)

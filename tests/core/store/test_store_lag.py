"""A listing that lags behind writes: nothing is lost, at worst work is done twice."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from numbers_stage import SPEC, WHOLE, Work

from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.local import LocalBackend
from crowdselect_core.store.build import build
from crowdselect_core.store.cache import segment_files
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_keys, cell_key
from crowdselect_core.store.cache.writer import CacheWriter
from crowdselect_core.store.identity import Spec

CELLS = Spec("generated", 1, {"model": "a"})
KEYS = [cell_key(b"%d" % i) for i in range(40)]


class Lagging(LocalBackend):
    """A place whose listings do not show what was written since `catch_up`; reads do."""

    shown: frozenset[str] = frozenset()

    def catch_up(self) -> None:
        """Let the listings show all that is there now."""
        self.shown = frozenset(f.name for f in super().walk())

    def sizes(self, folder: str) -> dict[str, int]:
        there = super().sizes(folder)
        return {n: size for n, size in there.items() if f"{folder}/{n}" in self.shown}


@pytest.fixture
def lagging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store on a place that lags; what this process made is forgotten afterwards."""
    monkeypatch.setattr(segment_files, "_made", {})
    store = Store(str(tmp_path / "store"))
    store.place = Lagging(str(tmp_path / "store"))
    return store


def opened(store: Store) -> CallCache:
    cells = CallCache(store, CELLS, {"text": pl.String})
    cells.refresh()
    return cells


def test_own_cells_are_found_before_they_are_listed(lagging: Store) -> None:
    with CacheWriter(opened(lagging)) as writer:
        for key in KEYS:
            writer.add((key, "mine"))
    later = opened(lagging)  # as the table of the answers is laid out, after they were made
    assert not later.missing(as_keys(KEYS)).any()
    assert later.read(as_keys(KEYS)).height == len(KEYS)


def test_own_cells_are_found_after_merges_that_are_not_listed(lagging: Store) -> None:
    cells = opened(lagging)
    for key in KEYS:
        cells.commit([(key, "mine")])
        cells.merge()
    cells.merge(all_small=True)
    assert opened(lagging).read(as_keys(KEYS)).height == len(KEYS)
    cells.refresh()
    assert cells.read(as_keys(KEYS)).height == len(KEYS)


def test_what_another_process_made_is_seen_late_and_then_counts_once(
    lagging: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(lagging.place, Lagging)
    opened(lagging).commit([(key, "other") for key in KEYS])
    monkeypatch.setattr(segment_files, "_made", {})  # from here on another process
    mine = opened(lagging)
    assert mine.missing(as_keys(KEYS)).all(), "not seen yet: the work is done twice"
    mine.commit([(key, "mine") for key in KEYS])
    lagging.place.catch_up()
    mine.refresh()
    rows = mine.read(as_keys(KEYS))
    assert rows.height == len(KEYS)
    assert rows.sort("key").equals(opened(lagging).read(as_keys(KEYS)).sort("key"))


def test_own_cells_that_another_process_merged_are_no_hindrance(
    lagging: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(lagging.place, Lagging)
    mine = opened(lagging)
    mine.commit([(KEYS[0], "a")])
    mine.commit([(KEYS[1], "b")])
    made = segment_files._made
    lagging.place.catch_up()
    monkeypatch.setattr(segment_files, "_made", {})
    opened(lagging).merge(all_small=True)
    monkeypatch.setattr(segment_files, "_made", made)
    lagging.place.catch_up()
    assert opened(lagging).read(as_keys(KEYS)).height == 2


def test_a_build_whose_shards_are_not_listed_computes_them_again(lagging: Store) -> None:
    assert isinstance(lagging.place, Lagging)

    def die(index: int) -> None:
        if index == 4:
            raise KeyError(index)

    with pytest.raises(KeyError):
        build(lagging, SPEC, Work(before=die).plan)
    work = Work()
    assert build(lagging, SPEC, work.plan).frame().equals(WHOLE)
    assert work.made == [0, 1, 2, 3, 4, 5]
    again = Work()
    assert lagging.find(SPEC) is None, "its shards are not listed yet, so it counts as incomplete"
    assert build(lagging, SPEC, again.plan).frame().equals(WHOLE)
    lagging.place.catch_up()
    found = lagging.find(SPEC)
    assert found is not None
    assert found.frame().equals(WHOLE)


def test_a_build_that_goes_on_ends_although_its_new_shards_are_not_listed(lagging: Store) -> None:
    assert isinstance(lagging.place, Lagging)

    def die(index: int) -> None:
        if index == 4:
            raise KeyError(index)

    with pytest.raises(KeyError):
        build(lagging, SPEC, Work(before=die).plan)
    lagging.place.catch_up()
    work = Work()
    assert build(lagging, SPEC, work.plan).frame().equals(WHOLE)
    assert work.made == [4, 5]

"""The closest artifact is named where a stage is missing: of an experiment's cells only once."""

from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from threading import Thread

import polars as pl
import pytest

from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import ShardResult, single
from tasks import near_misses

STORED = Spec("numbers", 1, {"seed": 7}, {"rows": "k"})
EIGHT, NINE = (replace(STORED, identity={"seed": seed}) for seed in (8, 9))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that has one artifact of a stage, and one of another."""
    store = Store(str(tmp_path))
    for spec in (STORED, replace(STORED, stage="letters")):
        build(store, spec, single(lambda: ShardResult(pl.DataFrame({"n": [1]})), dict))
    return store


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if "closest" in message]


@pytest.fixture(autouse=True)
def shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "crowdselect")


def test_every_stage_that_is_missing_is_explained(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    found = near_misses.find(store, STORED)
    assert found is not None
    assert found.rows == 1
    assert near_misses.find(store, EIGHT) is None
    assert near_misses.find(store, NINE) is None
    assert said(caplog) == [
        "numbers       not in the store; the closest differs in identity.seed: 7 -> 8",
        "numbers       not in the store; the closest differs in identity.seed: 7 -> 9",
    ]


def test_of_the_cells_of_an_experiment_the_first_look_for_each_stage_is(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with near_misses.first_of_each_stage():
        for spec in (EIGHT, NINE, replace(NINE, stage="letters"), replace(EIGHT, stage="letters")):
            assert near_misses.find(store, spec) is None
    assert said(caplog) == [
        "numbers       not in the store; the closest differs in identity.seed: 7 -> 8",
        "letters       not in the store; the closest differs in identity.seed: 7 -> 9",
    ]
    near_misses.find(store, NINE)
    assert len(said(caplog)) == 3, "after the experiment each is explained again"


def test_a_grid_that_goes_on_behind_what_is_cached_explains_nothing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with near_misses.first_of_each_stage():
        assert near_misses.find(store, STORED) is not None
        assert near_misses.find(store, EIGHT) is None
    assert said(caplog) == []


def test_cells_on_threads_of_their_own_share_what_was_looked_for(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with near_misses.first_of_each_stage():
        for spec in (EIGHT, NINE):
            work = Thread(target=copy_context().run, args=(near_misses.find, store, spec))
            work.start()
            work.join(timeout=60)
    assert len(said(caplog)) == 1

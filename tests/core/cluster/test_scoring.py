"""Scores that workers of a cluster make shard by shard are those of one process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from little import CROWD, NAMES, REWARD, parquet, rows
from workers import Here

from crowdselect_core.cluster import cached_calls, scoring, worker
from crowdselect_core.config.load import load
from crowdselect_core.config.reward import LikelihoodReward
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import Stopped
from crowdselect_core.generate.base import Failure
from crowdselect_core.generate.call_tracker import CallTracker, TooManyFailures
from crowdselect_core.reward.base import Item, Score
from crowdselect_core.stages.base import How, InProcess
from crowdselect_core.stages.crowd import rewards
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.graph import DATASET_RESPONSES, INSTRUCTIONS, PROMPTS, REWARDS
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec

PMI = LikelihoodReward(kind="likelihood", name="pmi", model="somewhere", device="cpu")
CELLS = Spec("scored", 1, {"model": "somewhere"}, {})


class Longer:
    """Scores an answer by its length; where it is told to, every call fails."""

    heads = ("", "words")

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.asked = 0

    def check(self) -> None: ...

    def close(self) -> None: ...

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        for item in items:
            self.asked += 1
            if self.fails:
                done(Score(item.key, error="down: no device", failure=Failure.INFRASTRUCTURE))
            else:
                done(Score(item.key, (float(len(item.text)), float(len(item.text.split())))))


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Longer:
    """The scorer of every worker."""
    found = Longer()
    monkeypatch.setattr(cached_calls, "Calls", Here)
    monkeypatch.setattr(worker, "_scorer", lambda reward, cells: found)
    for module in (scoring, rewards):
        monkeypatch.setattr(module, "cache_spec", lambda reward: CELLS)
    monkeypatch.setattr("crowdselect_core.reward.score_cells.cache_spec", lambda reward: CELLS)
    return found


def given(folder: Path, store: str) -> tuple[SelectConfig, Store, Answered]:
    """Return a config, its store, and the answers of one model in three shards."""
    data = folder / "zoo.parquet"
    if not data.exists():
        parquet(data, rows(30), row_group_size=5)
    keys = {"dataset": str(data), "crowd": CROWD, "reward_models": [REWARD], "shard_rows": 10}
    config = load(None, {**keys, "store": str(folder / store), "executor": "ray"}, {})
    run = InProcess(Store(config.store))
    prompts = run(PROMPTS, config, run(INSTRUCTIONS, config))
    model = config.models[NAMES.index("bee-0.5b")]
    return config, run.store, Answered(model, run(DATASET_RESPONSES, config, prompts, model.name))


def table(store: Store, config: SelectConfig, answers: Answered, heads: Any) -> list[bytes]:
    inputs = (PMI, answers, None, {}, heads)
    built = REWARDS.build(store, REWARDS.spec(config, *inputs), How(), config, *inputs)
    return [built.bytes(i) for i in range(len(built.manifest.shards))]


def test_shards_of_workers_make_the_table_of_one_process(tmp_path: Path, scorer: Longer) -> None:
    config, store, answers = given(tmp_path, "alone")
    rewards.score(config, store, PMI, answers, None, scorer, lambda _: None)
    asked, scorer.asked = scorer.asked, 0
    wanted = table(store, config, answers, scorer.heads)

    config, store, answers = given(tmp_path, "spread")
    seen: list[int] = []
    calls, heads = scoring.score(
        config, store, PMI, answers, lambda c: seen.append(c.done), lambda: None
    )
    assert (calls.answered, scorer.asked, heads) == (asked, asked, list(scorer.heads))
    assert seen == sorted(seen)
    assert len(seen) == 4  # at the start, and after each shard
    assert table(store, config, answers, heads) == wanted

    again, heads = scoring.score(config, store, PMI, answers, lambda _: None, lambda: None)
    assert (again.answered, scorer.asked, heads) == (0, asked, list(scorer.heads))


def test_failures_of_all_shards_count_together(tmp_path: Path, scorer: Longer) -> None:
    scorer.fails = True
    config, store, answers = given(tmp_path, "store")
    with pytest.raises(TooManyFailures, match=r"pmi of bee-0.5b: .* no device"):
        scoring.score(config, store, PMI, answers, lambda _: None, lambda: None)


def test_a_stop_ends_the_calls(tmp_path: Path, scorer: Longer) -> None:
    config, store, answers = given(tmp_path, "store")

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        scoring.score(config, store, PMI, answers, _nothing, stop)
    assert scorer.asked == 0


def _nothing(calls: CallTracker) -> None: ...


def test_what_scores_in_the_driver(tmp_path: Path) -> None:
    config, _, _ = given(tmp_path, "store")
    threads = config.model_copy(update={"executor": type(config.executor)()})
    assert scoring.spreads(config, PMI)
    assert not scoring.spreads(threads, PMI)

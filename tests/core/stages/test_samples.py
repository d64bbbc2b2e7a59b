"""Several samples of a model: their mean is its score, and the best single one is kept."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import Chosen, choose_with

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.base import Answer, Failure, Request, never
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.reward.base import Item, Score, unscored
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.crowd import generation, rewards
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.crowd.zoo import Member, Scored, dataset_of
from crowdselect_core.stages.graph import INSTRUCTIONS, PROMPTS, RESPONSES, REWARDS, ZOO
from crowdselect_core.store.artifacts import Store

# What the reward models give the samples of one answer; CUT after one that was cut at max_tokens.
Samples = list[tuple[float | None, ...]]
CUT = float("inf")


class Table:
    """An engine and a scorer in one: the answers of one model, and what they are given."""

    limits: tuple[str, ...] = ()
    heads: tuple[str, ...] = ("",)
    stopped = staticmethod(never)

    def __init__(self, rows: Mapping[str, Mapping[str, Samples]], which: str | int) -> None:
        """Take the rows, and a model's name as an engine or a reward model's place as a scorer."""
        self.rows, self.which = rows, which

    def check(self) -> None:
        """Answer always."""

    def close(self) -> None:
        """Hold nothing."""

    def run(self, asked: Iterator[Any], done: Callable[[Any], None]) -> None:
        for one in asked:
            done(self.answer(one) if isinstance(one, Request) else self.score(one))

    def answer(self, request: Request) -> Answer:
        row, sample = request.messages[-1]["content"], request.seed or 0
        cut = self.rows[row][str(self.which)][sample][-1] == CUT
        text = f"{self.which} {row} {sample}"
        return Answer(request.key, text=text, finish_reason="length" if cut else "stop")

    def score(self, item: Item) -> Score:
        model, row, sample = item.text.split()
        number = self.rows[row][model][int(sample)][int(self.which)]
        if number is None:
            return unscored(item.key, "unparsed_verdict", "no number", Failure.ROW)
        return Score(item.key, (number,))


def ignore(calls: CallTracker) -> None:
    """Tell nobody."""


def chosen_of(
    folder: Path,
    rows: Mapping[str, Mapping[str, Samples]],
    judges: tuple[str, ...] = ("r",),
    **keys: Any,
) -> Chosen:
    """Have the models answer, score the answers, and choose from the zoo of it."""
    ids = pl.DataFrame({"id": list(rows), "instruction": list(rows)})
    ids.write_parquet(folder / "data.parquet")
    samples = next(iter(rows.values()))
    engine = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
    crowd = [
        {"name": name, "family": name, "size": 1, "engine": engine,
         "role": "student" if name == "student" else "crowd",
         "sampling": {"seed": 0, "n": len(samples[name])}}
        for name in samples
    ]  # fmt: skip
    config = SelectConfig.model_validate(
        {
            "dataset": str(folder / "data.parquet"), "crowd": crowd, "clusters": 0,
            "reward_models": [{"kind": "judge", "name": j, "engine": engine} for j in judges],
            "store": str(folder / "store"), "out": str(folder / "out"), "min_scores": 1,
            "weights": [1, 1, 0], "budget": len(rows), **keys,
        }
    ).resolved()  # fmt: skip
    return choose_with(zoo_of(config, rows))


def zoo_of(config: SelectConfig, rows: Mapping[str, Mapping[str, Samples]]) -> SelectConfig:
    """Make the zoo as the tasks do, and return the config that chooses from it."""
    store, missing = Store(config.store), find_missing(config)
    own = without_missing(config, missing)
    run = InProcess(store)
    asked = run(PROMPTS, own, run(INSTRUCTIONS, own))
    members = []
    for model in config.everyone:
        generation.generate(own, store, asked, model, Table(rows, model.name), ignore)
        answered, scored = Answered(model, run(RESPONSES, own, asked, model)), []
        for place, reward in enumerate(missing.scores):
            work = (own, store, reward, answered, None)
            rewards.score(*work, Table(rows, place), ignore)
            ref = run(REWARDS, own, reward, answered, None, {}, ("",))
            scored.append(Scored(reward.name, ("",), ref))
        members.append(Member(answered, tuple(scored)))
    return dataset_of(config, run(ZOO, own, asked, members))


ONE: dict[str, dict[str, Samples]] = {
    # the mean is best of b (6.5 beside 5), the best single answer is a's
    "x": {"a": [(0,), (10,)], "b": [(6,), (7,)], "student": [(1,), (5,)]},
    # a's best is cut: of the complete ones b's 5 is best, although a's mean is 6.5 and b's 4.5
    "y": {"a": [(10, CUT), (3,)], "b": [(4,), (5,)], "student": [(99,), (1,)]},
    "z": {"a": [(2,), (2,)], "b": [(2,), (2,)], "student": [(2,), (2,)]},
}


def test_the_metrics_see_means_and_the_best_single_complete_answer_is_kept(tmp_path: Path) -> None:
    chosen = chosen_of(tmp_path, ONE, export="pairs")
    told = chosen.stored("metrics").sort("instruction_id")
    # means of a and b: 5 and 6.5; 6.5 and 4.5; 2 and 2
    assert told["difficulty"].to_list() == [-5.75, -5.5, -2.0]
    assert told["separability"].to_list() == [0.75**2, 1.0, 0.0]
    # the student's means are 3, 50 and 2, and headroom is of means on both sides
    assert told["headroom"].to_list() == [3.5, -43.5, 0.0]
    assert told["best_score"].to_list() == [10.0, 5.0, 2.0]
    kept = chosen.selection.sort("instruction_id")
    assert kept["response_model"].to_list() == ["a", "b", "a"]
    assert kept["response"].to_list() == ["a x 1", "b y 1", "a z 0"]
    pairs = pl.read_ndjson(chosen.out / "pairs.jsonl").sort("prompt")
    assert pairs["chosen"].to_list() == ["a x 1", "b y 1"]
    assert pairs["rejected"].to_list() == ["b x 1", "a y 1"]
    assert pairs["margin"].to_list() == [10.0 - 7.0, 5.0 - 3.0]


def test_reward_ranks_by_the_best_single_answer(tmp_path: Path) -> None:
    # by means the row y would come first: 6.5 twice, and the difficulties differ
    rows: dict[str, dict[str, Samples]] = {
        "x": {"a": [(0,), (10,)], "b": [(4,), (4,)]},
        "y": {"a": [(6,), (8,)], "b": [(6,), (6,)]},
    }
    chosen = chosen_of(tmp_path, rows, method="reward", budget=1)
    assert chosen.ids == ["x"]
    assert chosen.selection["score"].to_list() == [10.0]
    assert chosen.selection["response"].to_list() == ["a x 1"]


def test_samples_are_compared_by_the_z_scores_that_their_means_have(tmp_path: Path) -> None:
    # means of the crowd: r 4 0 0 4 (mean 2, deviation 2), s 30 10 10 30 (mean 20, deviation 10)
    rows: dict[str, dict[str, Samples]] = {
        "x": {"a": [(0, 48), (8, 12)], "b": [(0, 10)], "student": [(9000, 0)]},
        "y": {"a": [(0, 10), (0, 10)], "b": [(4, 30)], "student": [(-9000, 0)]},
    }
    chosen = chosen_of(tmp_path, rows, judges=("r", "s"))
    # a on x: (-1 + 2.8)/2 = 0.9 and (3 - 0.8)/2 = 1.1; its mean (1 + 1)/2 = 1
    told = chosen.stored("metrics").sort("instruction_id")
    assert told["best_score"].to_list() == [pytest.approx(1.1), 1.0]
    assert told["difficulty"].to_list() == [0.0, 0.0]
    kept = chosen.selection.sort("instruction_id")
    assert kept["response"].to_list() == ["a x 1", "b y 0"]


def test_a_complete_answer_without_a_score_is_not_kept(tmp_path: Path) -> None:
    rows: dict[str, dict[str, Samples]] = {
        "x": {"a": [(None,), (9, CUT)], "b": [(1,)]},
        "y": {"a": [(None,), (9, CUT)], "b": [(None,)]},
    }
    chosen = chosen_of(tmp_path, rows, budget=1, weights=[1, 0, 0])
    assert chosen.selection["response"].to_list() == ["b x 0"]
    assert chosen.manifest["summary"]["ineligible"] == {"no_answer": 1}
    drawn = chosen_of(tmp_path, rows, budget=2, weights=[1, 0, 0], response="a")
    assert sorted(drawn.selection["response"].to_list()) == ["a x 0", "a y 0"]


def test_only_models_with_several_samples_tell_of_the_shown_one(tmp_path: Path) -> None:
    rows: dict[str, dict[str, Samples]] = {"x": {"a": [(1,), (2,)], "b": [(1,)]}}
    chosen = chosen_of(tmp_path, rows)
    table = pl.concat(
        pl.read_parquet(shard) for shard in Path(chosen.config.dataset.path).glob("*.parquet")
    )
    assert table["a"].to_list() == [
        {"content": "a x 1", "finish_reason": "stop", "r": 1.5, "r/shown sample": 2.0}
    ]
    assert table["b"].to_list() == [{"content": "b x 0", "finish_reason": "stop", "r": 1.0}]

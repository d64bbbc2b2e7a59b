"""The stages of a live crowd on their own: what is asked and scored once, and what a zoo holds."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crowdselect_core.config.reward import JudgeSampling
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.experiment.cells import as_whole
from crowdselect_core.generate.base import Answer, Failure, Request, never
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.ingest.prompts import read_text
from crowdselect_core.planning.dry_run import forecast
from crowdselect_core.planning.generation_cost import bills
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.planning.scoring_cost import ScoreBill, score_bill
from crowdselect_core.planning.stored_lookup import StoredLookup
from crowdselect_core.report.explain import explain
from crowdselect_core.report.explain_source import NoSelection, find_selection
from crowdselect_core.report.explain_text import explanation_lines
from crowdselect_core.reward.base import Item, Score
from crowdselect_core.stages.base import InProcess, Stage
from crowdselect_core.stages.crowd import generation, responses, rewards
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.crowd.zoo import Member, Scored, dataset_of
from crowdselect_core.stages.graph import (
    HELDOUT,
    HELDOUT_ANSWERS,
    INSTRUCTIONS,
    PROMPTS,
    RESPONSES,
    REWARDS,
    ZOO,
    compute,
)
from crowdselect_core.stages.heldout.split import is_drawn
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.executors.base import Job
from flows.select import chosen, ranked

JUDGE = {
    "kind": "judge", "name": "judge", "mode": "pairwise", "reference_model": "b",
    "engine": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "judge"},
}  # fmt: skip


class Echo:
    """An engine that answers with its name and the prompt's text, in upper case where loud."""

    limits: tuple[str, ...] = ()
    stopped = staticmethod(never)

    def __init__(self, name: str) -> None:
        self.name, self.asked = name, 0

    def check(self) -> None:
        """Answer always."""

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        for request in requests:
            self.asked += 1
            text = f"{self.name}{request.seed}: {request.messages[-1]['content']}"
            done(Answer(request.key, text=text, finish_reason="stop"))

    def close(self) -> None:
        """Hold nothing."""


class Longer:
    """A scorer that gives the answer's length less that of what it is held against."""

    heads: tuple[str, ...] = ("",)

    def __init__(self) -> None:
        self.items: list[Item] = []

    def check(self) -> None:
        """Score always."""

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        for item in items:
            self.items.append(item)
            done(Score(item.key, (float(len(item.text) - len(item.reference or "")),)))

    def close(self) -> None:
        """Hold nothing."""


def config_of(folder: Path, texts: Sequence[str], **keys: Any) -> SelectConfig:
    """Return a config of two models that are asked, on a file of instructions."""
    rows = {"id": [str(i) for i in range(len(texts))], "instruction": list(texts)}
    pl.DataFrame(rows).write_parquet(folder / "data.parquet", row_group_size=1)
    judge = JUDGE | {"price": keys.pop("price", {})}
    crowd = [
        {"name": n, "family": n, "size": 1, "engine": {"kind": "openai", "model": n},
         "sampling": {"seed": 1} | keys.pop(f"sampling_{n}", {})}
        for n in ("a", "b")
    ]  # fmt: skip
    return SelectConfig.model_validate(
        {
            "dataset": str(folder / "data.parquet"), "crowd": crowd, "reward_models": [judge],
            "store": str(folder / "store"), **keys,
        }
    ).resolved()  # fmt: skip


class World:
    """A config with its store, walked through stage by stage as the tasks do."""

    def __init__(self, config: SelectConfig) -> None:
        self.store, self.config = Store(config.store), without_missing(config, find_missing(config))
        self.models, (self.reward,) = config.everyone, find_missing(config).scores
        self.run = InProcess(self.store)
        self.prompts = self.run(PROMPTS, self.config, self.run(INSTRUCTIONS, self.config))

    def answered(self, engines: dict[str, Echo] | None = None) -> list[Answered]:
        found = []
        for model in self.models:
            engine = (engines or {}).get(model.name, Echo(model.name))
            generation.generate(self.config, self.store, self.prompts, model, engine, ignore)
            found.append(Answered(model, self.run(RESPONSES, self.config, self.prompts, model)))
        return found

    def scored(self, crowd: list[Answered], scorer: Longer) -> list[Member]:
        reference = next(a for a in crowd if a.model.name == "b")
        members = []
        for answered in crowd:
            own = (self.config, self.store, self.reward, answered, reference)
            rewards.score(*own, scorer, ignore)
            ref = self.run(REWARDS, self.config, self.reward, answered, reference, {}, ("",))
            members.append(Member(answered, (Scored("judge", ("",), ref),)))
        return members

    def zoo(self, members: list[Member]) -> pl.DataFrame:
        ref = self.run(ZOO, self.config, self.prompts, members)
        return pl.concat(ref.open(self.store).frames())


def ignore(calls: CallTracker) -> None:
    """Tell nobody."""


TEXTS = [f"Say the number {i} in words." + "!" * i for i in range(9)]


def test_a_zoo_holds_every_answer_with_its_score(tmp_path: Path) -> None:
    world = World(config_of(tmp_path, TEXTS, shard_rows=4))
    members = world.scored(world.answered({"a": Echo("long-a")}), Longer())
    table = world.zoo(members)
    assert table["instruction"].to_list() == TEXTS
    assert table["a"].struct.field("content").to_list() == [f"long-a1: {t}" for t in TEXTS]
    assert table["a"].struct.field("judge").to_list() == [float(len("long-"))] * len(TEXTS)
    assert table["b"].struct.field("judge").to_list() == [0.0] * len(TEXTS)


def test_artifacts_that_are_cut_differently_fit_together(tmp_path: Path) -> None:
    world = World(config_of(tmp_path, TEXTS, shard_rows=4))
    crowd = world.answered()
    world.store.forget(world.prompts.stage, world.prompts.key)
    i = INSTRUCTIONS.spec(world.config)
    world.store.forget(i.stage, i.key)
    again = World(config_of(tmp_path, TEXTS, shard_rows=3))
    assert again.prompts.key == world.prompts.key
    shards = again.prompts.open(again.store).manifest.shards
    assert [s.rows for s in shards] == [3, 3, 3]
    assert [s.rows for s in crowd[0].responses.open(world.store).manifest.shards] == [4, 4, 1]
    table = again.zoo(again.scored(crowd, Longer()))
    assert table["a"].struct.field("content").to_list() == [f"a1: {t}" for t in TEXTS]
    assert table["a"].struct.field("judge").to_list() == [0.0] * len(TEXTS)


def test_the_parts_of_live_stages_follow_from_texts_and_an_index(tmp_path: Path) -> None:
    world = World(config_of(tmp_path, TEXTS, shard_rows=4))
    crowd = world.answered()
    members = world.scored(crowd, Longer())
    failed = {responses.sample_key(b"\xff\xfe", 0): "timeout: 1 s"}
    own, model = world.config, world.models[0]
    asked: list[tuple[Stage[Any], tuple[Any, ...]]] = [
        (PROMPTS, (world.run(INSTRUCTIONS, own),)),
        (RESPONSES, (world.prompts, model, failed)),
        (REWARDS, (world.reward, crowd[0], crowd[1], failed, ("",))),
        (ZOO, (world.prompts, members)),
    ]
    for stage, inputs in asked:
        job = Job(**json.loads(json.dumps(asdict(stage.job(own, *inputs)))))
        plan, there = stage.plan(own, world.store, *inputs), stage.planned(job, world.store)
        assert (there.total, there.tag, there.facts()) == (3, plan.tag, plan.facts())
        for index in range(plan.total):
            found, expected = compute(job, world.store, index), plan.compute(index)
            assert found.frame.equals(expected.frame)
            assert (found.counts, found.notes) == (expected.counts, expected.notes)
        by_name = stage._inputs.model_validate_json(job.inputs)
        assert stage.spec(own, *(getattr(by_name, n) for n in stage.inputs)) == stage.spec(
            own, *inputs
        )


def test_answers_to_held_out_prompts_are_those_of_one_model(tmp_path: Path) -> None:
    """Of two samples the first."""
    heldout = {"share": 0.5, "answers": "a"}
    config = config_of(tmp_path, TEXTS, heldout=heldout, sampling_a={"n": 2})
    store, own = Store(config.store), without_missing(config, find_missing(config))
    run, engine, (model, _) = InProcess(store), Echo("a"), config.everyone
    rows = run(HELDOUT, own, run(INSTRUCTIONS, own))
    prompts = run(PROMPTS, own, rows)
    generation.generate(own, store, prompts, model, engine, ignore)
    assert engine.asked == 2 * rows.rows
    assert 0 < rows.rows < len(TEXTS)
    answered = Answered(model, run(RESPONSES, own, prompts, model))
    ref = run(HELDOUT_ANSWERS, own, rows, answered)
    pairs = ref.open(store).frame().drop_nulls("answer").select("messages", "answer").rows()
    texts = [messages[-1]["content"] for messages, _ in pairs]
    assert [answer for _, answer in pairs] == [f"a1: {text}" for text in texts]
    held = is_drawn([read_text(text) for text in TEXTS], 0.5, config.seed)
    assert texts == [text for text, is_held in zip(TEXTS, held, strict=True) if is_held]


def test_an_experiment_lacks_nothing_once_its_crowd_has_answered(tmp_path: Path) -> None:
    """So the best of several reward models is known, though no cell's selection scores the rest."""
    heldout = {"share": 0.5, "answers": "best"}
    config = config_of(tmp_path, TEXTS, heldout=heldout)
    [judge] = config.reward_models
    assert not isinstance(judge, str)
    second = judge.model_copy(update={"name": "second"})
    world = World(config.model_copy(update={"heldout": None}))
    members = [
        Member(m.answered, (*m.scored, Scored("second", ("",), m.scored[0].rewards)))
        for m in world.scored(world.answered(), Longer())
    ]
    several = config.model_copy(update={"reward_models": [judge, second]})
    made = dataset_of(several, world.run(ZOO, world.config, world.prompts, members))
    whole = as_whole(several, made)
    assert (whole.heldout, whole.reward_names) == (config.heldout, ["judge", "second"])
    assert not find_missing(whole)


def test_a_prompt_on_several_rows_is_asked_once(tmp_path: Path) -> None:
    engine = Echo("a")
    world = World(config_of(tmp_path, ["One.", "Two.", "One.", "One."]))
    scorer = Longer()
    table = world.zoo(world.scored(world.answered({"a": engine}), scorer))
    assert engine.asked == 2
    assert len(scorer.items) == 4  # two answers of a, two of b
    assert table["a"].struct.field("content").to_list() == [
        f"a1: {t}" for t in ("One.", "Two.", "One.", "One.")
    ]


def test_another_reference_answer_is_another_score(tmp_path: Path) -> None:
    world = World(config_of(tmp_path, TEXTS))
    before = world.scored(world.answered(), Longer())
    other = World(config_of(tmp_path, TEXTS, sampling_b={"seed": 2}))
    scorer = Longer()
    after = other.scored(other.answered({"b": Echo("longer-b")}), scorer)
    assert len(scorer.items) == 2 * len(TEXTS)
    assert after[0].answered.responses.key == before[0].answered.responses.key
    assert after[0].scored[0].rewards.key != before[0].scored[0].rewards.key
    scores = other.zoo(after)["a"].struct.field("judge").to_list()
    assert scores == [float(-len("longer-"))] * len(TEXTS)


def test_answers_that_are_gone_are_told_and_made_anew(tmp_path: Path) -> None:
    world = World(config_of(tmp_path, TEXTS))
    crowd = world.answered()
    model = world.models[0]
    folder = tmp_path / "store" / responses.cache_spec(model).folder
    for path in folder.glob("cells-*.parquet"):
        path.unlink()
    with pytest.raises(DamagedArtifact, match="9 answers of a were removed or changed"):
        world.scored(crowd, Longer())
    assert world.store.find(RESPONSES.spec(world.config, world.prompts, model)) is None
    engine = Echo("a")
    members = world.scored(world.answered({"a": engine}), Longer())
    assert engine.asked == len(TEXTS)
    assert world.zoo(members)["a"].struct.field("content").to_list() == [f"a1: {t}" for t in TEXTS]


def test_of_several_samples_the_best_is_shown_and_the_mean_counts(tmp_path: Path) -> None:
    class Growing(Echo):
        def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
            for request in requests:
                done(Answer(request.key, text="x" * ((request.seed or 0) ** 2)))

    world = World(config_of(tmp_path, TEXTS, sampling_a={"seed": 1, "n": 3}))
    engines = {"a": Growing("a"), "b": Growing("b")}
    table = world.zoo(world.scored(world.answered(engines), Longer()))
    assert table["a"].struct.field("content").to_list() == ["x" * 9] * len(TEXTS)
    assert table["a"].struct.field("judge").to_list() == [pytest.approx((0 + 3 + 8) / 3)] * 9


def test_the_bill_tells_what_a_judge_will_cost_and_what_is_scored(tmp_path: Path) -> None:
    config = config_of(tmp_path, TEXTS, price={"input": 2.0, "output": 8.0})
    missing = find_missing(config)

    def bill() -> ScoreBill:
        return score_bill(config, missing, Store(config.store), missing.scores[0])

    first = bill()
    assert (first.answers, first.cached, first.certain) == (18, 0, False)
    assert "at most 18 answers" in first.line
    assert "18 requests" in first.line  # a alone, either side first
    assert first.completion_tokens == 18 * JudgeSampling().max_tokens
    assert first.hours is None
    assert first.money == pytest.approx(
        (2 * first.prompt_tokens + 8 * first.completion_tokens) / 1e6
    )
    world = World(config)
    crowd = world.answered()
    known = bill()
    assert (known.answers, known.cached, known.certain) == (18, 0, True)
    world.scored(crowd, Longer())
    last = bill()
    assert (last.answers, last.cached, last.money) == (0, 18, 0.0)
    assert last.line == "judge (judge): 0 answers (18 have their score)"
    longer = config_of(tmp_path, [*TEXTS, "One more."])
    more = score_bill(longer, find_missing(longer), Store(config.store), missing.scores[0])
    assert more.rate is not None
    assert "hours at" in more.line


def test_scores_that_are_gone_are_told_and_never_taken_for_none(tmp_path: Path) -> None:
    world = World(config_of(tmp_path, TEXTS))
    crowd = world.answered()
    own = (world.config, world.store, world.reward, crowd[0], crowd[1])
    rewards.score(*own, Longer(), ignore)
    for path in (tmp_path / "store" / rewards.cache_spec(world.reward).folder).glob("cells-*"):
        path.write_bytes(b"damaged")
    with pytest.raises(DamagedArtifact, match="9 scores vanished"):
        world.run(REWARDS, world.config, world.reward, crowd[0], crowd[1], {}, ("",))
    scorer = Longer()
    world.scored(crowd, scorer)
    assert len(scorer.items) == 2 * len(TEXTS)


def test_a_prompt_that_failed_on_one_row_and_not_on_another_is_answered(tmp_path: Path) -> None:
    class Moody(Echo):
        def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
            first = next(requests)
            done(Answer(first.key, error="timeout: 1 s", failure=Failure.INFRASTRUCTURE))
            super().run(requests, done)

    world = World(config_of(tmp_path, ["One."] * 4))
    model = world.models[0]
    calls = generation.generate(world.config, world.store, world.prompts, model, Moody("a"), ignore)
    assert (calls.planned, calls.answered, calls.failed) == (1, 1, {})
    failed = {responses.sample_key(b"", 0): "x"}
    table = world.run(RESPONSES, world.config, world.prompts, model, failed).open(world.store)
    assert table.frame()["error"].null_count() == 4


def test_the_bill_counts_a_repeated_prompt_once(tmp_path: Path) -> None:
    config = config_of(tmp_path, ["One."] * 5 + ["Two."])
    answers, *_ = bills(config, find_missing(config))
    assert "a: 2 requests (0% cached)" in answers


def test_the_bill_asks_nothing_of_a_model_that_has_answered(tmp_path: Path) -> None:
    config = config_of(tmp_path, TEXTS)
    rows = pl.read_parquet(tmp_path / "data.parquet").with_columns(
        a=pl.struct(content=pl.lit("An answer."))
    )
    rows.write_parquet(tmp_path / "data.parquet")
    gone = {"kind": "transformers", "model": str(tmp_path / "gone")}
    entry = config.everyone[0].model_dump(mode="json") | {"engine": gone}
    other = config.everyone[1].model_dump(mode="json")
    changed = SelectConfig.model_validate(
        config.model_dump(mode="json") | {"crowd": [entry, other]}
    ).resolved()
    missing = find_missing(changed)
    assert [m.name for m in missing.answers] == ["b"]
    assert score_bill(changed, missing, Store(changed.store), missing.scores[0]).answers == 18


def test_what_is_scored_needs_no_scorer(tmp_path: Path) -> None:
    config = config_of(tmp_path, TEXTS)
    missing = find_missing(config)
    there = StoredLookup(config, missing, Store(config.store))
    assert there.stored_answers(config.everyone[0]) is None
    assert not there.is_scored(missing.scores[0])
    world = World(config)
    crowd = world.answered()
    assert all(there.stored_answers(m) is not None for m in config.everyone)
    assert not there.is_scored(missing.scores[0])
    members = world.scored(crowd, Longer())
    assert there.is_scored(missing.scores[0])
    assert there.zoo() is None
    world.zoo(members)
    found = there.zoo()
    assert found is not None
    assert found.key == ZOO.spec(world.config, world.prompts, members).key


def test_the_bill_of_a_method_is_exact_once_all_is_answered(tmp_path: Path) -> None:
    """Five rows, two of them with one prompt: each is asked for its grade, equal pairs once."""
    engine = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "g"}
    own = {"engine": engine, "sampling": {"max_tokens": 7}}
    keys = {"method": "direct-score", "direct_score": own, "budget": 2, "clusters": 0}
    config = config_of(tmp_path, ["One.", "Two.", "Three.", "Four.", "One."], **keys)

    def told() -> str:
        return next(line for line in forecast(config, ranked) if line.startswith("annotated  "))

    assert told().startswith("annotated  direct-score: at most 5 rows to read (0 cached), 5 req")
    world = World(config)
    members = world.scored(world.answered(), Longer())
    zoo = world.run(ZOO, world.config, world.prompts, members)
    assert "at most 5 rows to read" in told()  # till it is known which answers are kept
    whole = dataset_of(config, zoo)
    ranked(whole.model_copy(update={"method": "reward"}), run=world.run)
    line = told()
    assert line.startswith("annotated  direct-score: 4 rows to read (0 cached), 4 requests, ")
    assert "28 completion tokens (at most)" in line


def test_a_row_of_a_live_crowd_is_explained_from_the_store(tmp_path: Path) -> None:
    keys = {"method": "reward", "budget": 2, "clusters": 0, "out": str(tmp_path / "out")}
    config = config_of(tmp_path, TEXTS, **keys)
    world = World(config)
    with pytest.raises(NoSelection, match="has no answers and scores of the whole crowd"):
        find_selection(config, chosen)
    members = world.scored(world.answered({"a": Echo("long\x1b-a")}), Longer())
    zoo = world.run(ZOO, world.config, world.prompts, members)
    chosen(dataset_of(config, zoo), run=world.run)
    found = find_selection(config, chosen)
    row = found.inputs.selection.open(found.store).frame()["instruction_id"][0]
    text = "\n".join(explanation_lines(explain(found, row)))
    assert "kept       a: the highest score" in text
    assert "  | long\\x1b-a1: Say the number" in text
    assert "  | b1: Say the number" in text


def test_the_clock_starts_when_the_model_is_ready() -> None:
    calls = CallTracker("a", 3, 0, 0.01, ignore, started=0.0)
    pieces = [Request(bytes([n]), (), None) for n in range(3)]
    work = calls.timed(pieces)
    assert next(work) is pieces[0]
    assert calls.started == 0.0
    assert list(work) == pieces[1:]
    assert calls.seconds < 60

"""The bill beforehand of the scores: answers to be scored, a judge's tokens, hours and money.

How many answers there will be is known where they are in the store, else it is the most that can
come. What a judge reads is estimated as UTF-8 bytes / 4: its rubric, the instruction, the answer
(as long as a pilot's were, else max_tokens). Hours are those at the pace of an earlier run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from crowdselect_core.cluster import scoring, serving
from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.engine import PriceConfig
from crowdselect_core.config.reward import JudgeReward, RewardConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.identity import cache_spec as answer_cells
from crowdselect_core.models.token_count import estimate
from crowdselect_core.planning.heldout import left_out_rows
from crowdselect_core.planning.missing_work import MissingWork, without_missing
from crowdselect_core.planning.reading_bill import ReadingBill
from crowdselect_core.planning.stored_lookup import StoredLookup
from crowdselect_core.reward.identity import cache_spec
from crowdselect_core.reward.judge.rubrics import rubric_of
from crowdselect_core.stages.crowd import rewards
from crowdselect_core.stages.crowd.throughput import read_pace
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.store.artifacts import Store

COUNTED = 2_000  # instructions whose mean length stands for all


@dataclass
class ScoreBill(ReadingBill):
    """What one reward model has to score."""

    name: str
    kind: str
    answers: int = 0
    to_judge: int = 0  # answers that are not held against themselves
    rate: float | None = None  # scores a second

    @property
    def hours(self) -> float | None:
        """Hours at the pace that was measured."""
        return self.to_judge / self.rate / 3600 if self.rate else None

    @property
    def line(self) -> str:
        """What the user sees."""
        words = [f"{self.counted(self.answers, 'answer')} ({self.cached:,} have their score)"]
        if self.answers:
            pace = f" at {self.rate:,.1f} answers/s, as measured" if self.rate else ""
            words += self.cost_words(pace)
        return f"{self.name} ({self.kind}): {', '.join(words)}"


def score_bill(
    config: SelectConfig,
    missing: MissingWork,
    store: Store,
    reward: RewardConfig,
    *,
    heldout: bool = False,
) -> ScoreBill:
    """Forecast one reward model's scores; nothing is asked or written.

    Args:
        config: whole.
        missing: what has to be made.
        store: where answers and scores are kept.
        reward: that scores.
        heldout: whether it scores the answers to the held-out prompts, instead of the others.
    """
    own = without_missing(config, missing)
    servers = serving.placed(config.executor, getattr(reward, "engine", None))
    on_ray = "on the Ray cluster" if scoring.spreads(config, reward) else servers
    bill = ScoreBill(reward.name, reward.kind, price=reward.price, on_ray=on_ray)
    there = StoredLookup(config, missing, store, heldout=heldout)
    reference = there.reference(reward)
    dataset = open_dataset(own)
    rows = sum(part.rows for part in dataset.partitions(COUNTED))
    if (left_out_N := left_out_rows(config, dataset, heldout=heldout)) is not None:
        rows -= int(left_out_N.sum())
    for model in config.everyone:
        answered = there.stored_answers(model)
        if answered is None or (rewards.is_pairwise(reward) and reference is None):
            bill.certain, cached = False, 0
            left = rows * (model.sampling.n if model in missing.answers else 1)
        else:
            left, cached = rewards.count(own, store, reward, answered, reference)
        bill.answers, bill.cached = bill.answers + left, bill.cached + cached
        if model.name != getattr(reward, "reference_model", None):  # else held against itself
            bill.to_judge += left
    pace = read_pace(store, cache_spec(reward))
    bill.rate = pace.calls_a_second if pace is not None and pace.calls else None
    if isinstance(reward, JudgeReward):
        _judged(bill, reward, own, [answer_tokens(store, m, missing) for m in config.everyone])
    return bill


def _judged(
    bill: ScoreBill,
    reward: JudgeReward,
    own: SelectConfig,
    answers: Sequence[float],
) -> None:
    """Add what a judge reads and writes; `answers` are the tokens of an answer of each model."""
    sides = 2 if rewards.is_pairwise(reward) else 1  # also how often it is asked: sides are swapped
    bill.requests = sides * bill.to_judge
    (rubric,) = estimate([rubric_of(reward)])
    answer = sum(answers) / len(answers)
    each = rubric + _instruction_tokens(own) + sides * answer
    bill.prompt_tokens = each * bill.requests
    bill.completion_tokens = float(reward.sampling.max_tokens * bill.requests)
    if bill.price == PriceConfig():
        bill.price = reward.engine.price
    if bill.rate is None and reward.engine.rate and bill.answers:
        bill.rate = reward.engine.rate / (reward.sampling.max_tokens * sides)


def answer_tokens(store: Store, model: CrowdModel, missing: MissingWork) -> float:
    """Return the tokens of an answer: as measured, else the most that can come."""
    if model in missing.answers:
        pace = read_pace(store, answer_cells(model))
        if pace is not None and pace.calls and pace.completion_tokens:
            return pace.completion_tokens / pace.calls
    return float(model.sampling.max_tokens)


def _instruction_tokens(config: SelectConfig) -> float:
    """Return the mean tokens of the first instructions."""
    part = open_dataset(config).partitions(COUNTED)[0]
    texts = [t for _, batch in open_dataset(config).instructions(part) for t in batch][:COUNTED]
    counts = estimate(texts)
    return sum(counts) / len(counts) if counts else 0.0

"""The bill beforehand of the scores: answers to be scored, a judge's tokens, hours and money.

How many answers there will be is known where they are in the store, else it is the most that can
come. What a judge reads is estimated as UTF-8 bytes / 4: its rubric, the instruction, the answer
(as long as a pilot's were, else max_tokens). Hours are those at the pace of an earlier run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from crowdselect_core.config import SelectConfig
from crowdselect_core.crowd import CrowdModel
from crowdselect_core.generate.config import PriceConfig
from crowdselect_core.generate.identity import cells_spec as answer_cells
from crowdselect_core.live import Lacking, given
from crowdselect_core.reward.config import JudgeReward, RewardConfig
from crowdselect_core.reward.identity import cells_spec
from crowdselect_core.reward.rubrics import rubric_of
from crowdselect_core.stages import instructions, prompts, responses, rewards
from crowdselect_core.stages.common import Ref, open_dataset
from crowdselect_core.stages.pace import read_pace
from crowdselect_core.stages.responses import Answered
from crowdselect_core.store.store import Store
from crowdselect_core.tokens import estimate

COUNTED = 2_000  # instructions whose mean length stands for all


@dataclass
class ScoreBill:
    """What one reward model has to do, as far as it can be known before."""

    name: str
    kind: str
    answers: int = 0
    cached: int = 0
    certain: bool = True
    calls_each: int = 0  # to a judge, for one answer
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    rate: float | None = None  # scores a second
    price: PriceConfig = field(default_factory=PriceConfig)

    @property
    def hours(self) -> float | None:
        """Hours at the pace that was measured."""
        return self.answers / self.rate / 3600 if self.rate else None

    @property
    def money(self) -> float:
        """At the prices of the config; 0 where it names none."""
        tokens = self.prompt_tokens * self.price.input + self.completion_tokens * self.price.output
        return tokens / 1e6 + (self.hours or 0.0) * self.price.hour

    @property
    def line(self) -> str:
        """What the user sees."""
        most = "" if self.certain else "at most "
        words = [f"{most}{self.answers:,} answers ({self.cached:,} have their score)"]
        if self.answers and self.calls_each:
            words.append(f"{self.calls_each * self.answers:,} requests")
            words.append(f"{self.prompt_tokens:,.0f} prompt tokens (UTF-8 bytes / 4)")
            words.append(f"{self.completion_tokens:,.0f} completion tokens (at most)")
        if self.answers:
            hours = self.hours
            words.append(
                f"{hours:,.2f} hours at {self.rate:,.1f} answers/s, as measured"
                if hours is not None
                else "hours unknown: make a pilot with --limit"
            )
            if self.price != PriceConfig():
                words.append(f"{self.money:,.2f} at the prices given")
        return f"{self.name} ({self.kind}): {', '.join(words)}"


def score_bill(
    config: SelectConfig, lacks: Lacking, store: Store, reward: RewardConfig
) -> ScoreBill:
    """Forecast one reward model's scores; nothing is asked or written."""
    own = given(config, lacks)
    bill = ScoreBill(reward.name, reward.kind, price=reward.price)
    named = _prompts(own)
    reference = _answered(store, named, lacks, _model(config, reward))
    dataset = open_dataset(own)
    rows = sum(part.rows for part in dataset.partitions(COUNTED))
    for model in config.everyone:
        answered = _answered(store, named, lacks, model)
        if answered is None or (rewards.is_pairwise(reward) and reference is None):
            bill.certain = False
            bill.answers += rows * (model.sampling.n if model in lacks.answers else 1)
        else:
            left, there = rewards.count(own, store, reward, answered, reference)
            bill.answers, bill.cached = bill.answers + left, bill.cached + there
    pace = read_pace(store, cells_spec(reward))
    bill.rate = pace.calls_a_second if pace is not None and pace.calls else None
    if isinstance(reward, JudgeReward):
        _judged(bill, reward, own, store, config.everyone)
    return bill


def _judged(
    bill: ScoreBill,
    reward: JudgeReward,
    own: SelectConfig,
    store: Store,
    crowd: Sequence[CrowdModel],
) -> None:
    """Add what a judge reads and writes."""
    sides = 2 if rewards.is_pairwise(reward) else 1  # also how often it is asked: sides are swapped
    bill.calls_each = sides
    (rubric,) = estimate([rubric_of(reward)])
    answers = [_answer_tokens(store, model) for model in crowd]
    answer = sum(answers) / len(answers)
    each = rubric + _instruction_tokens(own) + sides * answer
    bill.prompt_tokens = each * sides * bill.answers
    bill.completion_tokens = float(reward.sampling.max_tokens * sides * bill.answers)
    if bill.price == PriceConfig():
        bill.price = reward.engine.price
    if bill.rate is None and reward.engine.rate and bill.answers:
        bill.rate = reward.engine.rate / (reward.sampling.max_tokens * sides)


def _answer_tokens(store: Store, model: CrowdModel) -> float:
    """Return the tokens of an answer: as measured, else the most that can come."""
    if model.engine is not None:
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


def _prompts(config: SelectConfig) -> Ref:
    """Name the prompts of a data set, whether they are in the store or not."""
    i = instructions.spec(config)
    p = prompts.spec(Ref(stage=i.stage, key=i.key, rows=0))
    return Ref(stage=p.stage, key=p.key, rows=0)


def _model(config: SelectConfig, reward: RewardConfig) -> CrowdModel | None:
    wanted = getattr(reward, "reference_model", None)
    return next((m for m in config.everyone if m.name == wanted), None)


def _answered(
    store: Store, named: Ref, lacks: Lacking, model: CrowdModel | None
) -> Answered | None:
    """Return a model's answers where their table is in the store."""
    if model is None:
        return None
    asked = model.name in {m.name for m in lacks.answers}
    spec = responses.spec(named, model) if asked else responses.given_spec(named, model.name)
    found = store.find(spec)
    if found is None:
        return None
    m = found.manifest
    ref = Ref(stage=m.stage, key=m.key, rows=m.rows, counts=m.counts, facts=m.facts)
    return Answered(model, ref)

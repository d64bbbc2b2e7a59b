"""What the benchmarks share whose answers are judged: missing answers, costs, notes of judges."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from crowdselect_core.chat import Message
from crowdselect_core.config.engine import PriceConfig
from crowdselect_core.errors import ConfigError, first_line, shown
from crowdselect_core.evaluate.answers import Reply, price_of, replies
from crowdselect_core.evaluate.candidates import Candidate, base_of
from crowdselect_core.evaluate.judging.judge import Judge, Verdict
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.evaluate.tally import Outcome

NAMED = 5  # questions that a note names

Prompt = tuple[Message, ...]


class JudgedBenchmark(ABC):
    """A benchmark whose answers are judged: what its verdicts will be, for the forecast."""

    name: str
    questions: Sequence[Question]

    @abstractmethod
    def verdict_count(self, models: Sequence[str]) -> int:
        """Return the verdicts of one judge once these models have answered everything."""

    @abstractmethod
    def judge_prompts(self, models: Sequence[Candidate], tools: Tools) -> list[Prompt]:
        """Return what a judge is sent, of the answers that are stored."""


Replies = Mapping[str, Mapping[str, Reply]]  # by model and question


def stored_replies(
    questions: Sequence[Question], models: Sequence[Candidate], tools: Tools
) -> Replies:
    """Return the answers of every model by the id of the question."""

    def found(model: Candidate) -> Sequence[Reply]:
        if model.is_pending:
            return [Reply() for _ in questions]
        return replies(questions, model, tools)

    return {
        model.name: {q.id: r for q, r in zip(questions, found(model), strict=True)}
        for model in models
    }


def missing_answers(questions: Sequence[Question], found: Replies) -> list[str]:
    """Name the questions that a model has no whole answer to, and why."""
    notes = []
    for model, by_id in found.items():
        lacking = [q for q in questions if len(by_id[q.id].turns) < len(q.turns)]
        if not lacking:
            continue
        reasons = Counter((by_id[q.id].error or "not answered").partition(":")[0] for q in lacking)
        why = ", ".join(f"{n:,} {reason}" for reason, n in sorted(reasons.items()))
        named = shown([q.id for q in lacking], NAMED)
        notes.append(
            f"{model}: no answer to {len(lacking):,} of {len(questions):,} questions ({why}): "
            f"{named}"
        )
    return notes


def missing_verdicts(judge: Judge, what: Sequence[tuple[str, Verdict]]) -> list[str]:
    """Name what a judge gave no reply to, and why.

    Args:
        judge: the judge.
        what: of every verdict, what was judged.
    """
    lacking = [(name, v) for name, v in what if v.words is None]
    if not lacking:
        return []
    why = first_line(ValueError(lacking[0][1].error or "no reply"), 100)
    named = shown(dict.fromkeys(name for name, _ in lacking), NAMED)
    return [f"{judge.name}: no verdict on {len(lacking):,} of {len(what):,} games: {named} ({why})"]


@dataclass
class Costs:
    """What the answers and verdicts of each model cost; None where no price is set."""

    tools: Tools
    judge: Judge

    def __post_init__(self) -> None:
        self._verdicts: Counter[str] = Counter()
        self._money: dict[str, float] = {}

    def add(self, model: str, verdict: Verdict) -> None:
        """Count a verdict on a model's answer."""
        money = self.judge.price.cost(verdict.prompt_tokens, verdict.completion_tokens, None)
        self._money[model] = self._money.get(model, 0.0) + money

    def outcome(
        self, found: Outcome, notes: Sequence[str], models: Sequence[Candidate], given: Replies
    ) -> Outcome:
        """Return the outcome of the judge with its costs, further notes and its snapshot."""
        by_name = {model.name: model for model in models}
        results = [replace(r, cost=self._cost(by_name.get(r.model), given)) for r in found.results]
        snapshot = {self.judge.name: self.judge.snapshot} if self.judge.snapshot else {}
        return Outcome(results, [*found.notes, *notes], snapshot)

    def _cost(self, model: Candidate | None, given: Replies) -> float | None:
        if model is None:
            return None
        price = price_of(model, self.tools.evaluation)
        if price == PriceConfig() and self.judge.price == PriceConfig():
            return None
        answers = given[model.name].values()
        own = price.cost(
            sum(a.prompt_tokens for a in answers), sum(a.completion_tokens for a in answers), None
        )
        return own + self._money.get(model.name, 0.0)


def baseline_of(named: str | None, models: Sequence[Candidate], where: str) -> Candidate:
    """Return the model that all others are compared with: the named one, or the base.

    Raises:
        ConfigError: there is none, or nobody beside it.
    """
    names = [m.name for m in models]
    found = base_of(models) if named is None else next((m for m in models if m.name == named), None)
    if found is None:
        what = f"baseline {named!r} is none of" if named else "there is no base model among"
        raise ConfigError(
            f"{where}: {what} the evaluated models ({shown(names)}): name one of them in baseline"
        )
    if len(names) < 2:
        raise ConfigError(f"{where}: nobody is there to compare {found.name!r} with")
    return found


def merged(outcomes: Sequence[Outcome]) -> Outcome:
    """Join the outcomes of several judges."""
    notes = [note for outcome in outcomes for note in outcome.notes]
    results = [result for outcome in outcomes for result in outcome.results]
    snapshots = {j: name for outcome in outcomes for j, name in outcome.snapshots.items()}
    return Outcome(results, list(dict.fromkeys(notes)), snapshots)

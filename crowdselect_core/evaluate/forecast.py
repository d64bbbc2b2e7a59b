"""The bill of an evaluation beforehand: questions, answers, verdicts, tokens and money.

Tokens of prompts are estimated as UTF-8 bytes / 4. Those of an answer or a verdict are the mean of
the ones in the store, where there are any of the same model or judge, else the most that can come
(max_tokens), which is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from crowdselect_core.chat import Message
from crowdselect_core.config.engine import PriceConfig
from crowdselect_core.config.evaluation import JudgeConfig
from crowdselect_core.config.reward import JudgeReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate.answers import Reply, replies
from crowdselect_core.evaluate.benchmarks.judged import JudgedBenchmark
from crowdselect_core.evaluate.benchmarks.reward_win_rate import RewardWinRate
from crowdselect_core.evaluate.candidate_engine import engine_config
from crowdselect_core.evaluate.candidates import TRAINED, Candidate, expected
from crowdselect_core.evaluate.distinct import check_distinct
from crowdselect_core.evaluate.judging.calibration import prompts as calibration_prompts
from crowdselect_core.evaluate.judging.judge import Judge, Load
from crowdselect_core.evaluate.live import Benchmark, Question, Tools
from crowdselect_core.models.token_count import estimate


@dataclass(frozen=True)
class Bill:
    """What one model or judge has to do.

    Args:
        what: `answers`, `verdicts` or `scores`.
        name: of the model, or of the judge and the benchmark.
        requests: that the store lacks.
        cached: that the store has.
        prompt_tokens: of the requests.
        completion_tokens: of the requests.
        by: how the latter are known.
        price: of a token.
        judge: who gives the verdicts.
        grades: the benchmark whose reward model they are grades of.
        hours: of the work, where they are known; a price may be one of hours.
        told: what the user sees, where it is not made of these.
    """

    what: str
    name: str
    requests: int
    cached: int
    prompt_tokens: float
    completion_tokens: float
    by: str
    price: PriceConfig
    judge: str | None = None
    grades: str | None = None
    hours: float | None = None
    told: str | None = None

    @property
    def money(self) -> float:
        """At the prices of the config."""
        return self.price.cost(self.prompt_tokens, self.completion_tokens, self.hours)

    @property
    def line(self) -> str:
        """What the user sees."""
        if self.told is not None:
            return f"{self.what:<10} {self.told}"
        words = [f"{self.requests:,} to ask, {self.cached:,} cached"]
        if self.requests:
            words.append(f"{self.prompt_tokens:,.0f} prompt tokens")
            words.append(f"{self.completion_tokens:,.0f} completion tokens ({self.by})")
            if self.price != PriceConfig():
                words.append(f"{self.money:,.2f} at the configured prices")
        return f"{self.what:<10} {self.name}: {', '.join(words)}"


def asked(benchmark: Benchmark, drawn: Sequence[Sequence[Message]]) -> Sequence[Question]:
    """Return what a benchmark asks every model, as far as it is known beforehand.

    Args:
        benchmark: of the evaluation.
        drawn: the held-out prompts.
    """
    return benchmark.asked(drawn) if isinstance(benchmark, RewardWinRate) else benchmark.questions


def bills(
    benchmarks: Sequence[Benchmark],
    models: Sequence[Candidate],
    tools: Tools,
    drawn: Sequence[Sequence[Message]] = (),
) -> list[Bill]:
    """Forecast the answers of every model and the verdicts of every judge.

    Args:
        benchmarks: of the evaluation.
        models: those that are known; a model that is to be trained comes on top.
        tools: of the run; nobody is asked.
        drawn: the held-out prompts, where a benchmark asks the models them.

    Raises:
        ConfigError: two models or two judges that the store could not tell apart.
    """
    check_distinct(models, tools.evaluation)
    pending = tools.config.trains and not any(m.role == "trained" for m in models)
    questions = [question for benchmark in benchmarks for question in asked(benchmark, drawn)]
    found = [_answers(questions, model, tools) for model in models]
    if pending:
        found.insert(0, _answers_of_nobody(questions, models, tools))
    for judge_config in tools.evaluation.judges:
        judge = Judge(judge_config, tools)
        if tools.evaluation.calibration and any(isinstance(b, JudgedBenchmark) for b in benchmarks):
            known = calibration_prompts(tools.evaluation.calibration)
            found.append(_verdicts(judge_config, "pairs of known order", judge.load(known), 0, 0))
        judged = [b for b in benchmarks if isinstance(b, JudgedBenchmark)]
        found += [_judged(b, judge, models, tools) for b in judged]
    for benchmark in benchmarks:
        if isinstance(benchmark, RewardWinRate):
            found += _graded(benchmark, asked(benchmark, drawn), models, int(pending), tools)
    return found


def refuse_above(found: Sequence[Bill], most: float | None) -> None:
    """Refuse a bill that is too high.

    Raises:
        ConfigError: it is above `most`, with what it is made of.
    """
    money = sum(bill.money for bill in found)
    if most is None or money <= most:
        return
    dear = max(found, key=lambda bill: bill.money)
    raise ConfigError(
        f"the evaluation may cost {money:,.2f}, more than evaluation.max_cost {most:,.2f}, most of "
        f"it for {dear.what} of {dear.name}: {dear.requests:,} requests, {dear.by}; raise "
        "max_cost, set limit on a benchmark, or lower max_tokens"
    )


def _answers(questions: Sequence[Question], model: Candidate, tools: Tools) -> Bill:
    given = replies(questions, model, tools)
    price = engine_config(model, tools.evaluation).price
    return _bill(model.name, questions, given, price)


def _answers_of_nobody(
    questions: Sequence[Question], models: Sequence[Candidate], tools: Tools
) -> Bill:
    """Forecast the answers of the model that is still to be trained."""
    base = next(m for m in models if m.role == "base")
    price = engine_config(base, tools.evaluation).price
    return _bill(f"{base.name}{TRAINED}", questions, [Reply() for _ in questions], price)


def _bill(
    name: str, questions: Sequence[Question], given: Sequence[Reply], price: PriceConfig
) -> Bill:
    whole = sum(len(q.turns) for q in questions)
    cached = sum(len(r.turns) + (r.error is not None) for r in given)
    told = sum(r.completion_tokens for r in given)
    prompts = most = 0.0
    for question, reply in zip(questions, given, strict=True):
        if reply.error is not None:
            continue
        for turn in range(len(reply.turns), len(question.turns)):
            history = [text for _, text in question.history]
            before = estimate(["".join([*history, *question.turns[: turn + 1]])])[0]
            prompts += before + turn * question.max_tokens / 2
            most += question.max_tokens
    requests = max(whole - cached, 0)
    if cached and told:
        mean, by = told / cached * requests, f"as measured over {cached:,}"
    else:
        mean, by = most, "at most: max_tokens each"
    return Bill("answers", name, requests, cached, prompts, mean, by, price)


def _judged(
    benchmark: JudgedBenchmark,
    judge: Judge,
    models: Sequence[Candidate],
    tools: Tools,
) -> Bill:
    models = expected(tools.config, models)
    whole = benchmark.verdict_count([m.name for m in models])
    load = judge.load(benchmark.judge_prompts(models, tools))
    most = max((q.max_tokens for q in benchmark.questions), default=0)
    return _verdicts(judge.config, benchmark.name, load, whole, most)


def _graded(
    benchmark: RewardWinRate,
    questions: Sequence[Question],
    models: Sequence[Candidate],
    pending: int,
    tools: Tools,
) -> list[Bill]:
    """Forecast the grades of a reward model that is a judge; others have no bill."""
    reward = benchmark.reward
    load = benchmark.load(questions, models, pending, tools)
    if load is None or not isinstance(reward, JudgeReward):
        return []
    return [Bill(
        "verdicts", f"{reward.name} on {benchmark.name}", load.missing, load.prompts - load.missing,
        load.prompt_tokens, float(reward.sampling.max_tokens * load.missing),
        "at most: max_tokens each",
        reward.engine.price if reward.price == PriceConfig() else reward.price,
        grades=benchmark.name,
    )]  # fmt: skip


def _verdicts(config: JudgeConfig, what: str, load: Load, whole: int, answer_tokens: int) -> Bill:
    """Return the bill of known prompts, and of those whose answers are still to come."""
    later = max(whole - load.prompts, 0)
    each = load.prompt_tokens / load.missing if load.missing else 2.0 * answer_tokens + 500
    requests = load.missing + later
    if load.stored_tokens is not None:
        mean, by = load.stored_tokens, "as measured"
    else:
        mean, by = float(config.sampling.max_tokens), "at most: max_tokens each"
    return Bill(
        "verdicts", f"{config.name} on {what}", requests, load.prompts - load.missing,
        load.prompt_tokens + later * each, mean * requests, by, config.engine.price,
        config.name,
    )  # fmt: skip

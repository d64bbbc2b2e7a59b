"""The benchmark reward-win-rate: a reward model prefers a model's answer or the baseline's."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

from crowdselect_core.chat import Message
from crowdselect_core.config.benchmarks import RewardWinRateBenchmark
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.reward import FunctionReward, JudgeReward, RewardConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate import answers, reward_win_rate
from crowdselect_core.evaluate.benchmarks import heldout
from crowdselect_core.evaluate.benchmarks.judged import (
    baseline_of,
    missing_answers,
    stored_replies,
)
from crowdselect_core.evaluate.benchmarks.reward_choice import reward_of, selects
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging.judge import Load
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.evaluate.prompt_file import read_prompts
from crowdselect_core.evaluate.reward_win_rate import Answers, Scores
from crowdselect_core.evaluate.tally import Outcome
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.models.token_count import estimate
from crowdselect_core.reward.base import Scorer
from crowdselect_core.reward.conformance_gate import conform
from crowdselect_core.reward.factory import Resources, scorer_of
from crowdselect_core.reward.judge.rubrics import rubric_of
from crowdselect_core.reward.score_cells import cells_of
from crowdselect_core.store.cache.key_index import as_keys


class RewardWinRate:
    """How often a reward model prefers a model's answer to the baseline's."""

    def __init__(self, config: RewardWinRateBenchmark, run: EvaluateConfig) -> None:
        """Read the prompts, where they are a file's.

        Raises:
            UserError: the file or the reward model is not there.
        """
        self.name = config.name or config.kind
        self._config, self._where = config, f"evaluation.benchmarks, {self.name}"
        self._reward = reward_of(self._where, config, run)
        self._selects = selects(self._reward, run)
        own = read_prompts(config.path, config.limit) if config.path is not None else []
        self._category_of = {p.id: p.category for p in own if p.category is not None}
        self.questions: Sequence[Question] = [
            heldout.question_of(p.id, list(p.messages), config.temperature, config.max_tokens)
            for p in own
        ]

    def check(self, config: EvaluateConfig, models: Sequence[Candidate]) -> None:
        """Find out whether there are prompts, and the reward model may and can score.

        Raises:
            ConfigError: there are none, no model is the baseline, or the reward model made the
                selection.
        """
        if self._config.path is None:
            heldout.check(self._where, config, answers=False)
        baseline_of(self._config.baseline, models, self._where)
        if self._selects and not self._config.allow_selector:
            raise ConfigError(
                f"{self._where}: reward model {self._reward.name!r} also made the selection, so "
                "that its preference is no evidence: give another one, as a mapping, or set "
                "allow_selector: true, which marks the result"
            )
        scorer = scorer_of(self._reward, Resources(lambda name: name))
        try:
            if not isinstance(self._reward, JudgeReward):  # its key may lie in a block
                scorer.check()
        finally:
            scorer.close()

    def run(self, models: Sequence[Candidate], tools: Tools) -> Outcome:
        """Have the models answer, and the reward model score.

        Raises:
            UserError: no baseline, or a model cannot answer or score.
            TooManyFailures: more calls failed than may; what came is stored.
        """
        base = baseline_of(self._config.baseline, models, self._where)
        questions = self.questions or self._heldout(tools)
        for model in models:
            answers.answer(questions, model, tools)  # those of a file are stored already
        replies = stored_replies(questions, models, tools)
        scores = self._scores(questions, replies, tools)
        results = reward_win_rate.win_rates(
            scores,
            base.name,
            [q.id for q in questions],
            self._category_of,
            self._reward.name,
            tools.config.seed,
        )
        notes = [f"{self.name}: {note}" for note in missing_answers(questions, replies)]
        if self._selects:
            notes.insert(
                0,
                f"{self.name} is not evidence: the reward model {self._reward.name} also made the "
                "selection",
            )
        return Outcome(results, notes)

    @property
    def reward(self) -> RewardConfig:
        """The reward model."""
        return self._reward

    def asked(self, drawn: Sequence[Sequence[Message]]) -> Sequence[Question]:
        """Return what the models will be asked.

        Args:
            drawn: the held-out prompts, as they are known beforehand.
        """
        config = self._config
        if config.path is not None:
            return self.questions
        return [
            heldout.question_of(str(i), list(messages), config.temperature, config.max_tokens)
            for i, messages in enumerate(drawn[: config.limit])
        ]

    def load(
        self, questions: Sequence[Question], models: Sequence[Candidate], later: int, tools: Tools
    ) -> Load | None:
        """Return what a judge has to grade; None where the reward model is none.

        Args:
            questions: see `asked`.
            models: those that are known.
            later: models that are still to be trained.
            tools: of the run; nobody is asked.
        """
        if not isinstance(self._reward, JudgeReward):
            return None
        replies = stored_replies(questions, models, tools)
        cells, missing, stored, tokens = cells_of(tools.store, self._reward), 0, 0, 0.0
        cells.refresh()
        asked = estimate(["\n".join([*(t for _, t in q.history), *q.turns]) for q in questions])
        (rubric,) = estimate([rubric_of(self._reward)])
        for by_id in [*replies.values(), *[{q.id: answers.Reply() for q in questions}] * later]:
            answered = _answered(questions, by_id)
            keys = {i: reward_win_rate.score_key(*one) for i, one in answered.items()}
            lacks = dict(zip(keys, cells.missing(as_keys(keys.values())), strict=True))
            for question, own in zip(questions, asked, strict=True):
                if question.id in answered:
                    (answer,) = estimate([answered[question.id][1]])
                elif by_id[question.id].error is None and not by_id[question.id].turns:
                    answer = question.max_tokens
                else:
                    continue  # there is no answer, and none will come
                if lacks.get(question.id, True):
                    missing, tokens = missing + 1, tokens + rubric + own + answer
                else:
                    stored += 1
        return Load(missing + stored, missing, tokens, None)

    def _heldout(self, tools: Tools) -> list[Question]:
        config = self._config
        return heldout.questions(tools, config.limit, config.temperature, config.max_tokens)

    def _scores(
        self,
        questions: Sequence[Question],
        replies: Mapping[str, Mapping[str, answers.Reply]],
        tools: Tools,
    ) -> dict[str, Scores]:
        found: dict[str, Scores] = {}
        with ExitStack() as stack:
            made: list[Scorer] = []

            def scorer() -> Scorer:
                if not made:
                    made.append(self._opened(stack, tools))
                return made[0]

            for model, by_id in replies.items():
                name = f"{self._reward.name} of {model}"
                with tools.shown("rewards", name) as report:
                    calls = CallTracker(name, 0, 0, tools.config.max_failure_rate, report)
                    given = _answered(questions, by_id)
                    found[model] = reward_win_rate.score(
                        tools.store, self._reward, given, scorer, calls
                    )
        return found

    def _opened(self, stack: ExitStack, tools: Tools) -> Scorer:
        """Load the reward model, once its devices are free."""
        gpus = stack.enter_context(self._lent(tools))
        tools.check()
        scorer = scorer_of(self._reward, Resources(tools.secret, gpus, tools.stopped))
        stack.callback(scorer.close)
        conform(self._reward, scorer)
        return scorer

    def _lent(self, tools: Tools) -> AbstractContextManager[list[str]]:
        if isinstance(self._reward, FunctionReward):
            return nullcontext([])
        return tools.lent(getattr(self._reward, "engine", None), self._reward.name)


def _answered(questions: Sequence[Question], by_id: Mapping[str, answers.Reply]) -> Answers:
    """Return the prompts that have an answer, with their messages."""
    found: dict[str, tuple[Sequence[Message], str]] = {}
    for question in questions:
        turns = by_id[question.id].turns
        if turns and turns[0]:
            history = [Message(role=role, content=text) for role, text in question.history]
            messages = [*history, Message(role="user", content=question.turns[0])]
            found[question.id] = (messages, turns[0])
    return found

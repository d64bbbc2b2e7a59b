"""Your own prompts: every model against the base model or a named one, in both orders."""

from collections.abc import Sequence
from typing import Any

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import PairwiseBenchmark
from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate import files, pairwise
from crowdselect_core.evaluate.benchmarks.games import (
    Both,
    Pair,
    Winners,
    judged_pairs,
)
from crowdselect_core.evaluate.benchmarks.heldout import question_of
from crowdselect_core.evaluate.benchmarks.judged import (
    JudgedBenchmark,
    Prompt,
    Replies,
    baseline_of,
    stored_replies,
)
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging.judge import Judge
from crowdselect_core.evaluate.judging.prompts import own_pair
from crowdselect_core.evaluate.judging.verdicts import read_winner
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.evaluate.out_folder import (
    ANSWERS,
    JUDGMENTS,
    OutFolder,
    answer_id,
    file_name,
)
from crowdselect_core.evaluate.prompt_file import read_prompts
from crowdselect_core.evaluate.tally import Outcome

TEMPERATURE = 0.7
MAX_TOKENS = 1024


class Pairwise(JudgedBenchmark):
    """The user's own prompts; see `evaluate.live.Benchmark`."""

    def __init__(self, config: PairwiseBenchmark, run: EvaluateConfig) -> None:
        self._config, self._out, self._seed = config, run.out, run.seed
        self.name = config.name or config.kind
        self._where = f"evaluation.benchmarks, {self.name}"
        temperature = TEMPERATURE if config.temperature is None else config.temperature
        most = config.max_tokens or MAX_TOKENS
        self.questions: Sequence[Question] = [
            question_of(p.id, list(p.messages), temperature, most, p.category)
            for p in read_prompts(config.path, config.limit)
        ]
        self._prompt = own_pair(two_turns=False, reference=False)

    def check(self, config: EvaluateConfig, models: Sequence[Candidate]) -> None:
        """Find out whether the baseline is one of the models; the file was read when it was opened.

        Raises:
            ConfigError: it is none.
        """
        baseline_of(self._config.baseline, models, self._where)

    def run(self, models: Sequence[Candidate], tools: Tools) -> Outcome:
        """Judge every pair, write the files, and compute the results from them."""
        baseline = baseline_of(self._config.baseline, models, self._where)
        given = stored_replies(self.questions, models, tools)
        out = OutFolder(self._out, self.name)
        self._write_answers(out, given)
        others = [model for model in models if model.name != baseline.name]
        pairs = [p for model in others for p in self._pairs(model.name, baseline.name, given)]
        if not pairs:
            raise EvaluationError(f"{self._where}: no two models have answered the same prompt")
        category_of = {q.id: q.category for q in self.questions if q.category is not None}

        def results(judge: Judge, replied: Sequence[tuple[Pair, Both]]) -> Outcome:
            rows = [_row(judge, pair, both) for pair, both in replied]
            place = out.write(f"{JUDGMENTS}/{judge.name}_pair.jsonl", rows)
            return pairwise.evaluate(pairwise.find(place), category_of, baseline.name, self._seed)

        return judged_pairs(
            self._where, self.name, pairs, self.questions, models, given, tools, results, _winners
        )

    def verdict_count(self, models: Sequence[str]) -> int:
        """Two games a prompt for every model but the baseline."""
        return 2 * (len(models) - 1) * len(self.questions)

    def judge_prompts(self, models: Sequence[Candidate], tools: Tools) -> list[Prompt]:
        """Return what a judge is sent, of the answers that are stored."""
        baseline = baseline_of(self._config.baseline, models, self._where).name
        given = stored_replies(self.questions, models, tools)
        others = [model.name for model in models if model.name != baseline]
        return [
            game
            for name in others
            for pair in self._pairs(name, baseline, given)
            for game in pair.games
        ]

    def _pairs(self, model: str, baseline: str, given: Replies) -> list[Pair]:
        found = []
        for question in self.questions:
            own, other = given[model][question.id].turns, given[baseline][question.id].turns
            if not own or not other:
                continue
            text = _text_of(question)
            first = {"question": text, "answer_a": own[0], "answer_b": other[0]}
            second = {"question": text, "answer_a": other[0], "answer_b": own[0]}
            games = (self._prompt.filled(first), self._prompt.filled(second))
            found.append(Pair(model, baseline, question, own[0], other[0], self._prompt, games))
        return found

    def _write_answers(self, out: OutFolder, given: Replies) -> None:
        rows = [
            {"question_id": q.id, "category": q.category, "turns": [_text_of(q)]}
            for q in self.questions
        ]
        out.write(files.QUESTIONS, rows)
        for model, by_id in given.items():
            answers = [
                {
                    "question_id": q.id,
                    "answer_id": answer_id(model, q.id, *by_id[q.id].turns),
                    "model_id": model,
                    "choices": [{"index": 0, "turns": by_id[q.id].turns}],
                }
                for q in self.questions
                if by_id[q.id].turns
            ]
            out.write(f"{ANSWERS}/{file_name(model)}.jsonl", answers)


def _row(judge: Judge, pair: Pair, both: Both) -> dict[str, Any]:
    """Return FastChat's row of a pair: model_1 is side A of game 1 and side B of game 2."""
    first, second = _winners(both)
    winners = {"A": ("model_1", "model_2"), "B": ("model_2", "model_1"), "C": ("tie", "tie")}
    return {
        "question_id": pair.question.id,
        "model_1": pair.model,
        "model_2": pair.baseline,
        "g1_winner": winners[first][0] if first else "error",
        "g2_winner": winners[second][1] if second else "error",
        "judge": [judge.name, pair.prompt.name],
        "g1_user_prompt": pair.games[0][-1]["content"],
        "g1_judgment": both[0].words,
        "g2_user_prompt": pair.games[1][-1]["content"],
        "g2_judgment": both[1].words,
        "turn": 1,
        "judge_model": both[0].served_model,
        "prompt_version": pair.prompt.version,
    }


def _winners(both: Both) -> Winners:
    first, second = both
    return (
        read_winner(first.words, first.finish_reason),
        read_winner(second.words, second.finish_reason),
    )


def _text_of(question: Question) -> str:
    """Return a prompt as text: one user message as it is, else every turn under its number."""
    if not question.history:
        return question.turns[0]
    told = [*question.history, ("user", question.turns[0])]
    return "\n\n".join(
        f"[turn {number}, {role}]\n{content}" for number, (role, content) in enumerate(told, 1)
    )

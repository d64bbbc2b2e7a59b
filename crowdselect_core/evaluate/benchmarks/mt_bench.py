"""MT-Bench with live models: 80 questions of two turns, graded by judges or compared in pairs.

As FastChat (0e6d3e4): temperatures by category, reference answers for reasoning, math and coding,
prompts of the user's judge_prompts.jsonl; grades by `single`, both games against the baseline by
`pairwise`. The files in OUT are FastChat's, and the results are computed from them.
"""

from collections.abc import Hashable, Sequence
from typing import Any

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import MtBenchBenchmark
from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate import files, mt_bench
from crowdselect_core.evaluate.benchmarks.judged import (
    Costs,
    JudgedBenchmark,
    Prompt,
    Replies,
    baseline_of,
    merged,
    missing_answers,
    missing_verdicts,
    stored_replies,
)
from crowdselect_core.evaluate.benchmarks.mt_bench_rows import (
    Item,
    biases,
    pair_row,
    readable,
    single_row,
    turns_of,
    values,
)
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging.judge import Judge, Verdict
from crowdselect_core.evaluate.judging.mt_bench_prompts import mt_bench_prompts
from crowdselect_core.evaluate.judging.quality import (
    agreement_notes,
)
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.evaluate.out_folder import (
    ANSWERS,
    JUDGMENTS,
    OutFolder,
    answer_id,
    file_name,
)
from crowdselect_core.evaluate.tally import Outcome

# FastChat's own sampling temperatures; other categories are answered at the last one.
TEMPERATURES = {
    "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0,
    "reasoning": 0.0, "stem": 0.1, "humanities": 0.1,
}  # fmt: skip
OTHERWISE = 0.7
MAX_TOKENS = 1024
WITH_REFERENCE = ("math", "reasoning", "coding")
REFERENCES = "reference_answer"


class MtBench(JudgedBenchmark):
    """MT-Bench; see `evaluate.live.Benchmark`."""

    def __init__(self, config: MtBenchBenchmark, run: EvaluateConfig) -> None:
        self._config, self._out, self._seed = config, run.out, run.seed
        self.name = config.name or config.kind
        self._where = f"evaluation.benchmarks, {self.name}"
        fs, root = files.folder_of(config.path)
        shown = config.path.rstrip("/")
        self._rows = self._read(fs, root, shown)
        self.questions: Sequence[Question] = [self._question(row) for row in self._rows]
        self._prompts = mt_bench_prompts(fs, root, shown, config.mode)
        self._references = self._read_references(fs, root, shown)

    def check(self, config: EvaluateConfig, models: Sequence[Candidate]) -> None:
        """Find out whether the baseline is one of the models; files were read when it was opened.

        Raises:
            ConfigError: it is none.
        """
        self._baseline(models)

    def run(self, models: Sequence[Candidate], tools: Tools) -> Outcome:
        """Judge every answer, write the files, and compute the results from them."""
        baseline = self._baseline(models)
        given = stored_replies(self.questions, models, tools)
        out = OutFolder(self._out, self.name)
        self._write_answers(out, models, given)
        items = self._all_items(models, baseline, given)
        if not items:
            raise EvaluationError(f"{self._where}: no model has an answer that could be judged")
        outcomes = [Outcome([], missing_answers(self.questions, given))]
        said: dict[str, dict[Hashable, float | str]] = {}
        for judge_config in tools.evaluation.judges:
            judge = Judge(judge_config, tools)
            flat = [game for item in items for game in item.games]
            found = iter(judge.verdicts(flat, self.name))
            verdicts = [tuple(next(found) for _ in item.games) for item in items]
            outcome = self._outcome(judge, items, verdicts, baseline, out)
            said[judge.name] = readable(items, verdicts)
            notes = biases(judge.name, items, verdicts)
            costs = Costs(tools, judge)
            for item, games in zip(items, verdicts, strict=True):
                for verdict in games:
                    costs.add(item.model, verdict)
            outcomes.append(costs.outcome(outcome, notes, models, given))
        return merged([*outcomes, Outcome([], agreement_notes(said))])

    def verdict_count(self, models: Sequence[str]) -> int:
        """One verdict a turn, or two games a turn against the baseline."""
        turns = sum(len(question.turns) for question in self.questions)
        pairs = self._config.mode == "pairwise"
        return turns * (2 * (len(models) - 1) if pairs else len(models))

    def judge_prompts(self, models: Sequence[Candidate], tools: Tools) -> list[Prompt]:
        """Return what a judge is sent, of the answers that are stored."""
        given = stored_replies(self.questions, models, tools)
        items = self._all_items(models, self._baseline(models), given)
        return [game for item in items for game in item.games]

    def _baseline(self, models: Sequence[Candidate]) -> Candidate | None:
        if self._config.mode == "single":
            return None
        return baseline_of(self._config.baseline, models, self._where)

    def _all_items(
        self, models: Sequence[Candidate], baseline: Candidate | None, given: Replies
    ) -> list[Item]:
        return [
            item
            for model in models
            if model is not baseline
            for question in self.questions
            for item in self._items(model.name, question, given, baseline)
        ]

    def _outcome(
        self,
        judge: Judge,
        items: Sequence[Item],
        verdicts: Sequence[tuple[Verdict, ...]],
        baseline: Candidate | None,
        out: OutFolder,
    ) -> Outcome:
        row_of = single_row if baseline is None else pair_row
        rows = [
            row_of(judge, item, games, self._id(item.question), baseline)
            for item, games in zip(items, verdicts, strict=True)
            if all(verdict.words is not None for verdict in games)
        ]
        told = [
            (f"{item.model} on question {item.question.id}", verdict)
            for item, games in zip(items, verdicts, strict=True)
            for verdict in games
        ]
        notes = missing_verdicts(judge, told)
        if not rows:
            raise EvaluationError(f"{self._where}: {notes[0]}")
        suffix = "single" if baseline is None else "pair"
        place = out.write(f"{JUDGMENTS}/{judge.name}_{suffix}.jsonl", rows)
        category_of = {q.id: q.category for q in self.questions if q.category is not None}
        name = baseline.name if baseline else None
        outcome = mt_bench.evaluate(mt_bench.find(place), category_of, name, seed=self._seed)
        return Outcome(outcome.results, [*notes, *outcome.notes])

    def _items(
        self, model: str, question: Question, given: Replies, baseline: Candidate | None
    ) -> list[Item]:
        """Return what is to be judged of one model's answer to one question."""
        own = given[model][question.id]
        other = given[baseline.name][question.id] if baseline else None
        reference = self._references.get(question.id)
        items = []
        for turn in range(len(question.turns)):
            if len(own.turns) <= turn or (other is not None and len(other.turns) <= turn):
                break  # missing answers are named
            prompt = self._prompts[turn > 0, reference is not None]
            games = ((own,),) if other is None else ((own, other), (other, own))
            messages = tuple(
                prompt.filled(values(question, turn, reference, sides)) for sides in games
            )
            lengths = tuple(len(reply.turns[turn]) for reply in games[0])
            items.append(Item(model, question, turn, prompt, messages, lengths))
        return items

    def _read(self, fs: Any, root: str, shown: str) -> list[files.Row]:
        rows = files.rows_at(fs, f"{root}/{files.QUESTIONS}", f"{shown}/{files.QUESTIONS}")
        rows = rows[: self._config.limit]
        if not rows:
            raise EvaluationError(f"{shown}/{files.QUESTIONS}: has no questions")
        return rows

    def _question(self, row: files.Row) -> Question:
        turns = row.values.get("turns")
        is_text = isinstance(turns, list) and all(isinstance(t, str) and t for t in turns)
        if not is_text or not turns or len(turns) > 2:
            row.fail("key 'turns': expected one or two questions, as MT-Bench has them; it is "
                     "another benchmark or version")  # fmt: skip
        category = row.text("category")
        own = TEMPERATURES.get(category, OTHERWISE)
        temperature = self._config.temperature
        return Question(
            id=row.id("question_id"),
            turns=tuple(turns),
            temperature=own if temperature is None else temperature,
            max_tokens=self._config.max_tokens or MAX_TOKENS,
            category=category,
        )

    def _id(self, question: Question) -> Any:
        row = self._rows[self.questions.index(question)]
        return row.values["question_id"]

    def _read_references(self, fs: Any, root: str, shown: str) -> dict[str, list[str]]:
        """Return the reference answers of the questions whose category needs one.

        Raises:
            EvaluationError: there is no file of them, there are several, or one lacks.
        """
        needed = [q for q in self.questions if q.category in WITH_REFERENCE]
        if not needed:
            return {}
        folder, named = f"{root}/{REFERENCES}", f"{shown}/{REFERENCES}"
        paths = sorted(fs.glob(f"{folder}/*.jsonl")) if fs.isdir(folder) else []
        if len(paths) != 1:
            raise EvaluationError(
                f"{named}: expected one file of reference answers (*.jsonl), found {len(paths)}; "
                f"questions of {', '.join(WITH_REFERENCE)} are judged with them"
            )
        file = f"{named}/{paths[0].rpartition('/')[2]}"
        found = {r.id("question_id"): turns_of(r) for r in files.rows_at(fs, paths[0], file)}
        for question in needed:
            if len(found.get(question.id, [])) < len(question.turns):
                raise EvaluationError(f"{file}: has no reference answer to question {question.id}")
        return {q.id: found[q.id] for q in needed}

    def _write_answers(self, out: OutFolder, models: Sequence[Candidate], given: Replies) -> None:
        out.write(files.QUESTIONS, [row.values for row in self._rows])
        for model in models:
            rows = []
            for row, question in zip(self._rows, self.questions, strict=True):
                turns = given[model.name][question.id].turns
                if len(turns) == len(question.turns):
                    rows.append({
                        "question_id": row.values["question_id"],
                        "answer_id": answer_id(model.name, question.id, *turns),
                        "model_id": model.name,
                        "choices": [{"index": 0, "turns": turns}],
                    })  # fmt: skip
            out.write(f"{ANSWERS}/{file_name(model.name)}.jsonl", rows)

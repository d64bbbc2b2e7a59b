"""Arena-Hard v0.1 and v2 with live models: two games against the baseline on each question.

In game 1 answer A is the baseline's, in game 2 the model's. The baseline's answers come from the
benchmark's model_answer/, or the baseline is one of the evaluated models. The files in OUT are the
benchmark's own, and the results are computed from them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import ArenaHardBenchmark
from crowdselect_core.errors import EvaluationError, shown
from crowdselect_core.evaluate import arena_hard, arena_rows, files, style
from crowdselect_core.evaluate.benchmarks.arena_hard_rows import (
    answer_of,
    id_of,
    prompt_of,
    winners,
)
from crowdselect_core.evaluate.benchmarks.games import (
    Both,
    Pair,
    judged_pairs,
)
from crowdselect_core.evaluate.benchmarks.judged import (
    JudgedBenchmark,
    Prompt,
    Replies,
    stored_replies,
)
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging.arena_prompts import arena_prompt, values
from crowdselect_core.evaluate.judging.judge import Judge
from crowdselect_core.evaluate.judging.verdicts import read_label
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.evaluate.out_folder import (
    ANSWERS,
    JUDGMENTS,
    OutFolder,
    answer_id,
    file_name,
)
from crowdselect_core.evaluate.style_counts import style_counts
from crowdselect_core.evaluate.tally import Outcome

TEMPERATURE = 0.0  # the benchmark's own
MAX_TOKENS = 4096
V01 = "arena-hard-v0.1"  # the category of its questions

Answers = Mapping[str, Mapping[str, str]]  # by model and question


class ArenaHard(JudgedBenchmark):
    """Arena-Hard; see `evaluate.live.Benchmark`."""

    def __init__(self, config: ArenaHardBenchmark, run: EvaluateConfig) -> None:
        self._config, self._out, self._seed = config, run.out, run.seed
        self.name = config.name or config.kind
        self._where = f"evaluation.benchmarks, {self.name}"
        self._fs, self._root = files.folder_of(config.path)
        self._shown = config.path.rstrip("/")
        self._rows = self._read()
        self.questions: Sequence[Question] = [self._question(row) for row in self._rows]
        self._prompt = arena_prompt(self._fs, self._root, self._shown)

    def check(self, config: EvaluateConfig, models: Sequence[Candidate]) -> None:
        """Check that the judge's prompt serves every category, and the baselines have answers.

        Raises:
            EvaluationError: a baseline is none of the models, and has no answers in the folder.
        """
        for question in self.questions:
            self._prompt.of(question.category)
        names = {model.name for model in models}
        for name in sorted({self._baseline_of(question) for question in self.questions} - names):
            self._baseline_answers(name)

    def run(self, models: Sequence[Candidate], tools: Tools) -> Outcome:
        """Judge every answer, write the files, and compute the results from them."""
        given = stored_replies(self.questions, models, tools)
        answers = self._with_baselines(given)
        out = OutFolder(self._out, self.name)
        self._write_answers(out, answers)
        pairs = [pair for model in models for pair in self._pairs(model.name, answers)]
        if not pairs:
            raise EvaluationError(
                f"{self._where}: no model beside the baseline has an answer that could be judged"
            )
        return judged_pairs(
            self._where, self.name, pairs, self.questions, models, given, tools,
            lambda judge, replied: self._results(judge, replied, out),
            lambda both: winners(self._labels(both)),
        )  # fmt: skip

    def verdict_count(self, models: Sequence[str]) -> int:
        """Two games a question, but for a baseline that is one of the models."""
        baselines = [self._baseline_of(question) for question in self.questions]
        return 2 * sum(name != baseline for baseline in baselines for name in models)

    def judge_prompts(self, models: Sequence[Candidate], tools: Tools) -> list[Prompt]:
        """Return what a judge is sent, of the answers that are stored."""
        answers = self._with_baselines(stored_replies(self.questions, models, tools))
        pairs = [pair for model in models for pair in self._pairs(model.name, answers)]
        return [game for pair in pairs for game in pair.games]

    def _results(
        self, judge: Judge, replied: Sequence[tuple[Pair, Both]], out: OutFolder
    ) -> Outcome:
        """Write the file of every model, and compute the results from them."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for pair, both in replied:
            rows.setdefault(pair.model, []).append(self._row(judge, pair, both))
        for model, own in rows.items():
            out.write(f"{JUDGMENTS}/{judge.name}/{file_name(model)}.jsonl", own)
        found = arena_rows.find(f"{out.root}/{JUDGMENTS}/{judge.name}")
        category_of = {q.id: q.category for q in self.questions if q.category is not None}
        games = arena_rows.read(found, category_of, self._config.baseline)
        counts = style.find(found, None)
        return arena_hard.evaluate(games, category_of, counts, seed=self._seed)

    def _pairs(self, model: str, answers: Answers) -> list[Pair]:
        found = []
        for question in self.questions:
            baseline = self._baseline_of(question)
            own = answers[model].get(question.id)
            other = answers[baseline].get(question.id)
            if model == baseline or own is None or other is None:
                continue
            prompt, text = self._prompt.of(question.category), question.turns[0]
            games = (
                prompt.filled(values(prompt, text, other, own)),
                prompt.filled(values(prompt, text, own, other)),
            )
            found.append(Pair(model, baseline, question, own, other, prompt, games, own_is_b=True))
        return found

    def _labels(self, both: Both) -> list[str | None]:
        patterns, version = self._prompt.patterns, self._config.version
        return [read_label(v.words, v.finish_reason, patterns, version) for v in both]

    def _row(self, judge: Judge, pair: Pair, both: Both) -> dict[str, Any]:
        """Return a judgment as the version of the benchmark writes it."""
        version = self._config.version
        labels = self._labels(both)
        told = {
            "judge": judge.name,
            "model": pair.model,
            "judge_model": both[0].served_model,
            "prompt_version": pair.prompt.version,
        }
        if version == "v0.1":
            games = [
                {"user_prompt": game[-1]["content"], "judgment": v.words, "score": label}
                for game, v, label in zip(pair.games, both, labels, strict=True)
            ]
            return {"question_id": pair.question.id, **told, "games": games}
        return {
            "uid": pair.question.id,
            "category": pair.question.category,
            **told,
            "baseline": pair.baseline,
            "games": [
                {"score": label, "judgment": {"answer": v.words}, "prompt": list(game)}
                for game, v, label in zip(pair.games, both, labels, strict=True)
            ],
        }

    def _baseline_of(self, question: Question) -> str:
        if self._config.baseline is not None:
            return self._config.baseline
        if self._config.version == "v0.1":
            return arena_rows.BASELINE
        found = arena_rows.BASELINES.get(question.category or "")
        if found is None:
            raise EvaluationError(
                f"{self._where}: category {question.category!r} has no baseline of its own; name "
                "one in baseline"
            )
        return found

    def _with_baselines(self, given: Replies) -> dict[str, dict[str, str]]:
        """Return the answers of the models, and of the baselines that are none of them."""
        answers = {
            model: {q: reply.turns[0] for q, reply in by_id.items() if reply.turns}
            for model, by_id in given.items()
        }
        for name in sorted({self._baseline_of(question) for question in self.questions}):
            if name not in answers:
                answers[name] = self._baseline_answers(name)
        return answers

    def _baseline_answers(self, name: str) -> dict[str, str]:
        """Read the baseline's answers from the benchmark's folder.

        Raises:
            EvaluationError: they are not there, or one lacks.
        """
        file = f"{ANSWERS}/{name}.jsonl"
        path, where = f"{self._root}/{file}", f"{self._shown}/{file}"
        if "/" in name or not self._fs.exists(path):
            raise EvaluationError(
                f"{where}: no such file, expected the answers of the baseline {name!r}; download "
                "them, or name one of the evaluated models in baseline"
            )
        found = {id_of(row): answer_of(row) for row in files.rows_at(self._fs, path, where)}
        own = [q for q in self.questions if self._baseline_of(q) == name]
        if lacking := [q.id for q in own if q.id not in found]:
            raise EvaluationError(
                f"{where}: has no answer to {len(lacking):,} questions: {shown(lacking, 5)}"
            )
        return {q.id: found[q.id] for q in own}

    def _read(self) -> list[files.Row]:
        name = files.QUESTIONS
        rows = files.rows_at(self._fs, f"{self._root}/{name}", f"{self._shown}/{name}")
        if not rows:
            raise EvaluationError(f"{self._shown}/{name}: has no questions")
        for row in rows:
            is_v01 = row.values.get("category") in (None, V01)
            if is_v01 != (self._config.version == "v0.1"):
                row.fail(
                    f"is of category {row.values.get('category')!r}, which is none of version "
                    f"{self._config.version}; set version"
                )
        return rows[: self._config.limit]

    def _question(self, row: files.Row) -> Question:
        temperature = self._config.temperature
        return Question(
            id=id_of(row),
            turns=(prompt_of(row),),
            temperature=TEMPERATURE if temperature is None else temperature,
            max_tokens=self._config.max_tokens or MAX_TOKENS,
            category=row.text("category") if "category" in row.values else None,
        )

    def _write_answers(self, out: OutFolder, answers: Answers) -> None:
        """Write the answers with their counts, by which style is controlled."""
        out.write(files.QUESTIONS, [row.values for row in self._rows])
        key = arena_rows.ID_KEYS[self._config.version]
        text_of = {question.id: question.turns[0] for question in self.questions}
        for model, by_id in answers.items():
            rows = [
                {
                    key: question,
                    "ans_id": answer_id(model, question, answer),
                    "model": model,
                    "messages": [
                        {"role": "user", "content": text_of[question]},
                        {"role": "assistant", "content": {"answer": answer}},
                    ],
                    "metadata": style_counts(answer),
                }
                for question, answer in by_id.items()
            ]
            out.write(f"{ANSWERS}/{file_name(model)}.jsonl", rows)

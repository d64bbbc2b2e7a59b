"""What tasks of lm-eval ask, answered by a model's engine; each answer is a cell of the store.

So an endpoint or a vLLM server is measured by lm-eval, and nothing that was answered is asked
again. A cell is that of every other benchmark: the same prompt with the same sampling has one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from pydantic import ValidationError

from crowdselect_core.chat import Message
from crowdselect_core.config.engine import SamplingConfig
from crowdselect_core.errors import EvaluationError, first_line
from crowdselect_core.evaluate.answers import answer_cells, answer_spec
from crowdselect_core.evaluate.calls import ask
from crowdselect_core.evaluate.candidate_engine import SAMPLING, running
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.live import Report, Tools
from crowdselect_core.generate.answer_cells import cell_of, read_answers
from crowdselect_core.generate.base import Engine, Request
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.ingest.prompts import prompt_key
from crowdselect_core.store.cache.key_index import as_keys, cell_key

MAX_TOKENS = 256  # of an answer, where a task says nothing: lm-eval's own number
STOPS = 4  # stop strings that OpenAI's API takes; a text is cut at all of them
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
SAME = ("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")


def engine_identity(model: Candidate, tools: Tools) -> dict[str, Any]:
    """Return what answers, as the identity of results; the sampling is each task's."""
    named = dict(answer_spec(model, SamplingConfig(), tools.evaluation).identity)
    named.pop("sampling")
    return {"engine": named}


class EngineAnswers:
    """Answers the requests of tasks by a model's engine, which stays open between them.

    Args:
        where: the benchmark, for messages.
        model: what answers.
        tools: of the run.
        report: shows the progress.
    """

    def __init__(self, where: str, model: Candidate, tools: Tools, report: Report) -> None:
        self._where, self._model, self._tools, self._report = where, model, tools, report
        self._stack = ExitStack()
        self._opened: tuple[SamplingConfig, Engine] | None = None

    def close(self) -> None:
        """Close the engine."""
        self._opened = None
        self._stack.close()

    def __call__(self, requests: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Return the answers, asking for those that the store lacks; None where one is refused.

        Args:
            requests: of `lm_eval_process`: messages, and sampling in lm-eval's names.

        Raises:
            TooManyFailures: more calls failed than may; the answers that came are stored.
            EvaluationError: a call failed, a larger share than max_failure_rate is refused for
                good, or a key of the sampling is unknown.
        """
        groups: dict[str, tuple[SamplingConfig, list[str], list[int]]] = {}
        for place, one in enumerate(requests):
            sampling, stops = sampling_of(self._where, one["sampling"])
            name = f"{sampling.model_dump_json()} {stops}"
            groups.setdefault(name, (sampling, stops, []))[2].append(place)
        limit = self._tools.config.max_failure_rate
        calls = CallTracker(self._model.name, len(requests), 0, limit, self._report)
        rows: list[Mapping[str, Any]] = [{}] * len(requests)
        for sampling, stops, places in groups.values():
            found = self._answers([requests[i]["messages"] for i in places], sampling, calls)
            for place, row in zip(places, found, strict=True):
                text = row.get("text")
                rows[place] = {**row, "text": None if text is None else cut(text, stops)}
        self._check(rows, limit)
        return [row["text"] for row in rows]

    def _check(self, rows: Sequence[Mapping[str, Any]], limit: float) -> None:
        """Refuse answers of which too many are missing; a failed call is asked again."""
        missing = [row for row in rows if row["text"] is None]
        refused = [row for row in missing if "key" in row]  # stored, and not asked again
        too_many = len(refused) > limit * len(rows)
        if len(refused) == len(missing) and not too_many:
            return
        why, remedy = "calls failed", "those that came are stored: run it again"
        if too_many:
            why = first_line(ValueError(refused[0]["error"] or "no text"), 100)
            remedy = (
                f"{len(refused):,} of these were refused and are not asked again: leave the task "
                "out, set gen_kwargs, limit or num_fewshot so that all are answered, or raise "
                f"max_failure_rate ({limit:g}), up to which they count as empty answers"
            )
        raise EvaluationError(
            f"{self._where}: {self._model.name}: {len(missing):,} of {len(rows):,} answers are "
            f"missing ({why}); {remedy}"
        )

    def _engine(self, sampling: SamplingConfig) -> Engine:
        """Open the engine, or another one: requests set only their temperature and max_tokens."""
        fixed = SAMPLING.model_copy(
            update=sampling.model_dump(exclude={"temperature", "max_tokens"})
        )
        if self._opened is None or self._opened[0] != fixed:
            self.close()
            opened = self._stack.enter_context(running(self._model, self._tools, fixed))
            self._opened = fixed, opened
        return self._opened[1]

    def _answers(
        self, prompts: Sequence[Sequence[Message]], sampling: SamplingConfig, calls: CallTracker
    ) -> list[Mapping[str, Any]]:
        """Return the rows of the store; an empty one where a call failed."""
        cells = answer_cells(self._model, sampling, self._tools)
        requests = _requests(prompts, sampling)
        ask(cells, requests, lambda: self._engine(sampling), calls, cell_of)
        table = read_answers(cells, as_keys(request.key for request in requests))
        rows = {row["key"]: row for row in table.iter_rows(named=True)}
        return [rows.get(request.key, {}) for request in requests]


def sampling_of(where: str, given: Mapping[str, Any]) -> tuple[SamplingConfig, list[str]]:
    """Return the sampling that lm-eval's generation arguments ask for, and all stop strings.

    Without `do_sample: true` or a temperature the likeliest token is taken, as lm-eval does.

    Raises:
        EvaluationError: an argument that no engine takes, or a wrong value.
    """
    left = dict(given)
    until = left.pop("until", None) or []
    stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
    most = [left.pop(name, None) for name in LENGTHS]
    temperature, sampled = left.pop("temperature", None), left.pop("do_sample", None)
    if sampled is False:
        temperature = 0.0
    elif sampled and temperature is None:
        temperature = 1.0  # of transformers and vLLM
    keys = {name: left.pop(name) for name in SAME if left.get(name) is not None}
    if keys.get("top_k", 1) < 1:  # 0 and -1: all tokens
        del keys["top_k"]
    if left:
        raise EvaluationError(
            f"{where}: the engine takes no generation argument {sorted(left)[0][:80]!r} of lm-eval"
        )
    try:
        sampling = SamplingConfig(
            temperature=temperature or 0.0,
            max_tokens=next((m for m in most if m is not None), MAX_TOKENS),
            stop=stops[:STOPS],
            **keys,
        )
    except ValidationError as e:
        what = e.errors()[0]
        named = ".".join(map(str, what["loc"]))
        raise EvaluationError(f"{where}: generation argument {named}: {what['msg']}") from None
    return sampling, stops


def cut(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first stop string in it."""
    return text[: min((at for at in map(text.find, stops) if at >= 0), default=len(text))]


def _requests(prompts: Sequence[Sequence[Message]], sampling: SamplingConfig) -> list[Request]:
    """Return the requests; a prompt that stands again is another sample of it."""
    before: Counter[bytes] = Counter()
    requests = []
    for messages in prompts:
        prompt = prompt_key(messages)
        sample = before[prompt]
        before[prompt] += 1
        requests.append(Request(
            cell_key(prompt, sample.to_bytes(4, "big")), tuple(messages),
            None if sampling.seed is None else sampling.seed + sample,
            sampling.temperature, sampling.max_tokens,
        ))  # fmt: skip
    return requests

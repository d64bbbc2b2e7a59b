"""The answers of one model to the questions of benchmarks, each asked once and kept.

An answer is a cell of the model's identity and the sampling, found by its messages: the same
question in another benchmark, or another run, is answered already. The second turn sees the answer
to the first one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from crowdselect_core.chat import Message
from crowdselect_core.config.engine import OpenAIEngineConfig, PriceConfig, SamplingConfig
from crowdselect_core.config.evaluation import EvaluationConfig
from crowdselect_core.evaluate.calls import ask
from crowdselect_core.evaluate.candidate_engine import engine_config, lazily, revision_of
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.generate.answer_cells import cell_of, cells_of, read_answers
from crowdselect_core.generate.base import Request
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.identity import STAGE, VERSION, engine_identity, sampling_identity
from crowdselect_core.ingest.prompts import prompt_key
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_keys, cell_key
from crowdselect_core.store.identity import Spec


@dataclass
class Reply:
    """What a model answered to a question.

    Args:
        turns: the answers so far; fewer than the question has where one is missing.
        error: why the next one is missing; None: it was not asked for, or all are there.
        prompt_tokens: of all turns.
        completion_tokens: of all turns.
    """

    turns: list[str] = field(default_factory=list)
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


def answer(questions: Sequence[Question], model: Candidate, tools: Tools) -> CallTracker:
    """Have a model answer what the store has no answer to; the model is loaded where it is needed.

    With `tools.elsewhere` a model that no endpoint serves answers there.

    Raises:
        TooManyFailures: more calls failed than may; the answers that came are stored.
        UserError: the model cannot be run.
    """
    by_endpoint = isinstance(engine_config(model, tools.evaluation), OpenAIEngineConfig)
    if tools.elsewhere is not None and not by_endpoint:
        return tools.elsewhere(questions, model, tools)
    turns = sum(len(q.turns) for q in questions)
    with tools.shown("answers", model.name) as report, lazily(model, tools) as engine:
        calls = CallTracker(model.name, turns, 0, tools.config.max_failure_rate, report)
        _replies(questions, model, tools, lambda cells, requests: ask(
            cells, requests, engine, calls, cell_of
        ))  # fmt: skip
        return calls


def replies(questions: Sequence[Question], model: Candidate, tools: Tools) -> list[Reply]:
    """Return the stored answers to questions, in their order; nobody is asked."""
    return _replies(questions, model, tools, lambda cells, requests: cells.refresh())


def missing(questions: Sequence[Question], model: Candidate, tools: Tools) -> int:
    """Count the turns without a stored answer; those after a refused one count as answered."""
    found = replies(questions, model, tools)
    return sum(
        len(question.turns) - len(reply.turns)
        for question, reply in zip(questions, found, strict=True)
        if reply.error is None
    )


def price_of(model: Candidate, evaluation: EvaluationConfig) -> PriceConfig:
    """Return what a model's tokens cost."""
    return engine_config(model, evaluation).price


def answer_cells(model: Candidate, sampling: SamplingConfig, tools: Tools) -> CallCache:
    """Open the cells of a model's answers by one sampling."""
    return cells_of(tools.store, answer_spec(model, sampling, tools.evaluation))


def answer_spec(model: Candidate, sampling: SamplingConfig, evaluation: EvaluationConfig) -> Spec:
    """Name the cells of a model's answers by one sampling."""
    engine = engine_config(model, evaluation)
    return Spec(
        STAGE,
        VERSION,
        {
            **engine_identity(engine, model.name, revision_of(model), model.weights),
            "sampling": sampling_identity(sampling),
            "chat_template_kwargs": model.chat_template_kwargs,
            "system_prompt": model.system_prompt,
        },
    )


def _replies(
    questions: Sequence[Question],
    model: Candidate,
    tools: Tools,
    prepare: Callable[[CallCache, list[Request]], None],
) -> list[Reply]:
    """Go through the turns; `prepare` asks for those that are missing, or only looks."""
    found = [Reply() for _ in questions]
    for turn in range(max((len(q.turns) for q in questions), default=0)):
        for sampling, places in _by_sampling(questions):
            asked = [
                i
                for i in places
                if len(questions[i].turns) > turn and len(found[i].turns) == turn
                and found[i].error is None
            ]  # fmt: skip
            if not asked:
                continue
            cells = answer_cells(model, sampling, tools)
            requests = [_request(questions[i], found[i], model, sampling) for i in asked]
            prepare(cells, requests)
            rows = {
                row["key"]: row
                for row in read_answers(cells, as_keys(r.key for r in requests)).iter_rows(
                    named=True
                )
            }
            for i, request in zip(asked, requests, strict=True):
                row = rows.get(request.key)
                if row is None:
                    continue
                found[i].prompt_tokens += row["prompt_tokens"] or 0
                found[i].completion_tokens += row["completion_tokens"] or 0
                if row["error"] is None and row["text"] is not None:
                    found[i].turns.append(row["text"])
                else:
                    found[i].error = row["error"] or "no text"
    return found


def _by_sampling(questions: Sequence[Question]) -> Iterator[tuple[SamplingConfig, list[int]]]:
    groups: dict[tuple[float, int], list[int]] = {}
    for i, question in enumerate(questions):
        groups.setdefault((question.temperature, question.max_tokens), []).append(i)
    for (temperature, most), places in sorted(groups.items()):
        yield SamplingConfig(temperature=temperature, max_tokens=most), places


def _request(
    question: Question, said: Reply, model: Candidate, sampling: SamplingConfig
) -> Request:
    """Return the request of the next turn."""
    messages = [Message(role=role, content=text) for role, text in question.history]
    if model.system_prompt is not None and not any(m["role"] == "system" for m in messages):
        messages.insert(0, Message(role="system", content=model.system_prompt))
    for i, turn in enumerate(question.turns[: len(said.turns) + 1]):
        messages.append(Message(role="user", content=turn))
        if i < len(said.turns):
            messages.append(Message(role="assistant", content=said.turns[i]))
    key = cell_key(prompt_key(messages), (0).to_bytes(4, "big"))
    return Request(
        key, tuple(messages), sampling.seed, sampling.temperature, sampling.max_tokens
    )  # fmt: skip

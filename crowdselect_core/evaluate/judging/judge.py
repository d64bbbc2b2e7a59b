"""A judge that is asked: verdicts come from the store where they are, else from its engine.

A verdict is a cell of the judge's identity (model, sampling, template), found by its messages: the
prompt, the question, the texts and their order. The name of the model that the server reports is
kept: behind an alias the model may change, and verdicts of two models never stand in one table.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import polars as pl

from crowdselect_core.chat import Message
from crowdselect_core.config.engine import PriceConfig
from crowdselect_core.config.evaluation import JudgeConfig
from crowdselect_core.errors import EvaluationError, shown
from crowdselect_core.evaluate.calls import ask
from crowdselect_core.evaluate.live import Tools
from crowdselect_core.generate.answer_cells import BROKEN_OFF, CELL, cell_of
from crowdselect_core.generate.base import Answer, Engine, Request
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.factory import Secret, open_engine
from crowdselect_core.generate.identity import engine_identity, sampling_identity
from crowdselect_core.ingest.prompts import prompt_key
from crowdselect_core.models.token_count import estimate
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import KEY, as_keys, cell_key
from crowdselect_core.store.identity import Spec

STAGE, VERSION = "judged", 1
VERDICT = {**CELL, "served_model": pl.String}


class Verdict(NamedTuple):
    """A judge's reply; `words` is None where there is none, with the reason in `error`."""

    words: str | None
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    served_model: str | None = None
    error: str | None = None


class Load(NamedTuple):
    """What some prompts would cost.

    Args:
        prompts: how many.
        missing: that the store has no verdict to.
        prompt_tokens: of the missing ones, estimated.
        stored_tokens: mean completion tokens of the stored verdicts; None without any.
    """

    prompts: int
    missing: int
    prompt_tokens: float
    stored_tokens: float | None


class Judge:
    """One judge of the config."""

    def __init__(self, config: JudgeConfig, tools: Tools) -> None:
        self.config, self._tools = config, tools
        self.name = config.name
        # The model that the server reports, once it is known
        self.snapshot = tools.snapshots.get(config.name)
        self.cells = CallCache(tools.store, verdict_spec(config), VERDICT, BROKEN_OFF)

    @property
    def price(self) -> PriceConfig:
        """What its tokens cost."""
        return self.config.engine.price

    def verdicts(self, prompts: Sequence[Sequence[Message]], what: str) -> list[Verdict]:
        """Return a verdict for each prompt, in their order; those that are missing are asked for.

        Args:
            prompts: the messages of each.
            what: is judged, for the progress.

        Raises:
            TooManyFailures: more calls failed than may; the verdicts that came are stored.
            EvaluationError: the server answers with another model than before.
            UserError: the judge cannot be reached.
        """
        config, tools = self.config, self._tools
        requests = [
            Request(_key(messages), tuple(messages), config.sampling.seed) for messages in prompts
        ]
        self.cells.refresh()
        self._agreed(v.served_model for v in self._stored(requests).values())
        with (
            tools.shown("judgments", f"{self.name}-{what}") as report,
            ExitStack() as stack,
        ):
            calls = CallTracker(
                f"{self.name} on {what}", len(requests), 0, tools.config.max_failure_rate, report
            )
            ask(self.cells, requests, lambda: self._engine(stack), calls, self._row, self._seen)
        found = self._stored(requests)
        self._agreed(v.served_model for v in found.values())
        return [found.get(request.key, _missing(calls, request)) for request in requests]

    def load(self, prompts: Sequence[Sequence[Message]]) -> Load:
        """Return what the prompts would cost; nobody is asked.

        Raises:
            EvaluationError: stored verdicts, on these prompts or those before, are of two models.
        """
        wanted = {_key(messages): messages for messages in prompts}
        self.cells.refresh()
        missing = self.cells.missing(as_keys(wanted))
        lacking = [m for m, lacks in zip(wanted.values(), missing, strict=True) if lacks]
        tokens = sum(estimate(["".join(m["content"] for m in one) for one in lacking]))
        requests = [Request(key, tuple(messages)) for key, messages in wanted.items()]
        found = self._stored(requests).values()
        self._agreed(v.served_model for v in found)
        stored = [v.completion_tokens for v in found]
        mean = sum(stored) / len(stored) if any(stored) else None
        return Load(len(prompts), len(lacking), tokens, mean)

    def _engine(self, stack: ExitStack) -> Engine:
        gpus = stack.enter_context(self._tools.lent(self.config.engine, self.name))
        self._tools.check()
        engine = judge_engine(self.config, self._tools.secret, gpus)
        engine.stopped = self._tools.stopped
        return stack.enter_context(closing(engine))

    def _row(self, answer: Answer) -> tuple[Any, ...]:
        return (*cell_of(answer), answer.served_model)

    def _seen(self, answer: Answer) -> None:
        """Stop at the first verdict of another model: the rest would be paid for in vain."""
        if answer.served_model not in (None, self.snapshot):
            self._agreed([answer.served_model])

    def _stored(self, requests: Sequence[Request]) -> dict[bytes, Verdict]:
        rows = self.cells.read(as_keys({r.key: None for r in requests})) if requests else None
        if rows is None:
            return {}
        tokens = pl.col("prompt_tokens", "completion_tokens").fill_null(0)
        told = rows.with_columns(tokens).select(KEY, "text", *Verdict._fields[1:])
        return {key: Verdict(*fields) for key, *fields in told.iter_rows()}

    def _agreed(self, reported: Iterable[str | None]) -> None:
        """Take note of the model that the server reports; of two, none stands in a table."""
        served = Counter(name for name in reported if name is not None)
        names = sorted({*served, *([self.snapshot] if self.snapshot else [])})
        if len(names) > 1:
            raise EvaluationError(
                f"judge {self.name!r}: the server reports different models for its verdicts "
                f"({shown(names)}), and these do not stand in one table: name one of them in "
                "engine.model, by which every verdict is asked and paid for anew; those stored "
                "under the old name are kept, not reused"
            )
        self.snapshot = next(iter(names), None)


def verdict_spec(config: JudgeConfig) -> Spec:
    """Name the cells of a judge's verdicts."""
    identity = {
        **engine_identity(config.engine, config.name, config.revision),
        "sampling": sampling_identity(config.sampling),
        "chat_template_kwargs": config.chat_template_kwargs,
    }
    return Spec(STAGE, VERSION, identity)


def judge_engine(config: JudgeConfig, secret: Secret, gpus: Sequence[str] = ()) -> Engine:
    """Return the engine of a judge; raises as `open_engine` does."""
    return open_engine(
        config.name, config.engine, config.sampling, config.chat_template_kwargs, config.revision,
        secret, gpus,
    )  # fmt: skip


def _key(messages: Sequence[Message]) -> bytes:
    return cell_key(b"verdict", prompt_key(messages))


def _missing(calls: CallTracker, request: Request) -> Verdict:
    return Verdict(None, error=calls.failed.get(request.key, "not answered"))

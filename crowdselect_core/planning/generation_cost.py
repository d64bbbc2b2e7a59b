"""The bill beforehand: requests, tokens, hours and money of the answers and scores to be made.

Prompt tokens are counted with the model's own tokenizer where it lies here, else estimated as
UTF-8 bytes / 4. Completion tokens and hours are those that an earlier run measured (`--limit N`
makes one), else the most that can come (max_tokens), which is said.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.cluster import serving
from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.engine import OpenAIEngineConfig, PriceConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import UserError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.prompts import Prompt, prompt_key
from crowdselect_core.models.token_count import Counter, counter, estimate
from crowdselect_core.planning.heldout import left_out_rows
from crowdselect_core.planning.missing_work import MissingWork, without_missing
from crowdselect_core.planning.scoring_cost import score_bill
from crowdselect_core.stages.crowd import generation
from crowdselect_core.stages.crowd.answer_requests import messages_of
from crowdselect_core.stages.crowd.answer_texts import open_cells
from crowdselect_core.stages.crowd.throughput import Throughput, read_pace
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.key_index import Keys, as_keys
from crowdselect_core.util.text import plural

COUNTED = 2_000  # prompts whose tokens are counted; the rest is scaled up from them
PART = 10_000  # prompts that are read at once


@dataclass
class Bill:
    """What one model has to do, as far as it can be known before."""

    name: str
    requests: int = 0
    cached: int = 0
    prompt_tokens: float = 0.0
    counted_by: str = ""
    completion_tokens: float = 0.0
    completion_by: str = ""
    rate: float | None = None
    price: PriceConfig = field(default_factory=PriceConfig)
    servers: str | None = None  # that Ray places

    @property
    def hours(self) -> float | None:
        """Hours at the rate that is given or was measured."""
        return self.completion_tokens / self.rate / 3600 if self.rate else None

    @property
    def money(self) -> float:
        """At the prices of the config; 0 where it names none."""
        return self.price.cost(self.prompt_tokens, self.completion_tokens, self.hours)

    @property
    def line(self) -> str:
        """What the user sees."""
        whole = self.requests + self.cached
        share = f"{self.cached / whole:.0%} cached" if whole else "no prompts"
        words = [f"{plural(self.requests, 'request')} ({share})"]
        if self.requests and self.servers:
            words.append(self.servers)
        if self.requests:
            words.append(f"{self.prompt_tokens:,.0f} prompt tokens ({self.counted_by})")
            words.append(f"{self.completion_tokens:,.0f} completion tokens ({self.completion_by})")
            hours = self.hours
            words.append(
                f"{hours:,.2f} hours at {self.rate:,.0f} tokens/s"
                if hours is not None
                else "hours unknown: set engine.rate, or run a pilot with --limit"
            )
            if self.price != PriceConfig():
                words.append(f"{self.money:,.2f} at the configured prices")
        return f"{self.name}: {', '.join(words)}"


def bills(config: SelectConfig, missing: MissingWork) -> Iterator[str]:
    """Yield a line per model and reward model, and the totals; nothing is asked or written."""
    store = Store(config.store)
    made = [answer_bill(config, missing, store, model) for model in missing.answers]
    for bill in made:
        yield f"answers    {bill.line}"
    scores = [score_bill(config, missing, store, r) for r in missing.scores]
    for score in scores:
        yield f"scores     {score.line}"
    money = sum(b.money for b in made) + sum(b.money for b in scores)
    if len(made) + len(scores) > 1:
        yield (
            f"in all     {sum(b.requests for b in made):,} requests for answers, "
            f"{sum(b.prompt_tokens for b in made):,.0f} prompt tokens, "
            f"{sum(b.completion_tokens for b in made):,.0f} completion tokens"
            + (f"; with the scores {money:,.2f} at the configured prices" if money else "")
        )


def answer_bill(
    config: SelectConfig,
    missing: MissingWork,
    store: Store,
    model: CrowdModel,
    *,
    heldout: bool = False,
) -> Bill:
    """Forecast one model's answers.

    Args:
        config: whole.
        missing: what has to be made.
        store: where answers are kept.
        model: that answers.
        heldout: whether it answers the held-out prompts, instead of the others.
    """
    dataset = open_dataset(without_missing(config, missing))
    cells = open_cells(store, model)
    cells.refresh()
    count, counted_by = _counter(model)
    servers = serving.placed(config.executor, model.engine)
    bill = Bill(model.name, counted_by=counted_by, servers=servers)
    rows = counted = 0
    tokens = 0.0
    keys: list[Keys] = []
    for prompts in usable_prompts(dataset, left_out_rows(config, dataset, heldout=heldout)):
        rows += len(prompts)
        keys.append(as_keys(prompt_key(p.messages) for p in prompts))
        if counted < COUNTED:
            some = prompts[: COUNTED - counted]
            tokens += sum(count([_text(p, model) for p in some]))
            counted += len(some)
    bill.requests, bill.cached = generation.count(cells, keys, model.sampling.n)
    bill.prompt_tokens = tokens / counted * bill.requests if counted else 0.0
    if rows > counted:
        bill.counted_by += f", of {counted:,} prompts, scaled up"
    _completions(bill, model, read_pace(store, cells.spec))
    return bill


def _completions(bill: Bill, model: CrowdModel, pace: Throughput | None) -> None:
    engine = model.engine
    if pace is not None and pace.calls and pace.completion_tokens:
        bill.completion_tokens = pace.completion_tokens / pace.calls * bill.requests
        bill.completion_by = f"as measured over {plural(pace.calls, 'answer')}"
        bill.rate = pace.rate
    else:
        bill.completion_tokens = float(model.sampling.max_tokens * bill.requests)
        bill.completion_by = "at most: max_tokens each; a pilot with --limit measures it"
    if engine is not None:
        bill.rate = engine.rate or bill.rate
        bill.price = engine.price


def usable_prompts(
    dataset: Dataset, left_out_N: NDArray[np.bool_] | None
) -> Iterator[list[Prompt]]:
    """Yield the usable prompts that are not left out, in parts of bounded size."""
    for part in dataset.partitions(PART):
        for first, prompts in dataset.prompts(part):
            usable = [
                prompt
                for row, prompt in enumerate(prompts, first)
                if prompt.error is None and (left_out_N is None or not left_out_N[row])
            ]
            if usable:
                yield usable


def _text(prompt: Prompt, model: CrowdModel) -> str:
    return "\n".join(m["content"] for m in messages_of(prompt, model))


def _counter(model: CrowdModel) -> tuple[Counter, str]:
    """Return what counts a model's prompt tokens, and how it counts."""
    engine = model.engine
    name = (engine.model if engine is not None else None) or model.name
    alias = isinstance(engine, OpenAIEngineConfig) and model.revision is None
    if not alias:
        try:
            return counter(name), "its tokenizer, without template"
        except UserError as e:
            return estimate, f"UTF-8 bytes / 4: {e}"
    return estimate, "UTF-8 bytes / 4"

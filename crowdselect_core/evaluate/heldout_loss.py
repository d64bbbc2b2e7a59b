"""Held-out loss: how likely a model finds the answers of rows that nothing was trained on.

    -log p(answer | prompt)

in nats, row by row; `heldout_results` aggregates them. The tokens are those that supervised
fine-tuning trains (`finetune/chat_turns.py` with train_on: last): the model's own chat template,
the answer and its end of turn; a model without a template gets Tulu's, as in training.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from crowdselect_core.chat import Message
from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate.heldout_results import Losses, RowLoss
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_keys, cell_key
from crowdselect_core.store.cache.writer import CacheWriter
from crowdselect_core.store.identity import Spec
from crowdselect_core.tables import Columns

STAGE, VERSION = "heldout-loss", 1
CELL: Columns = {"loss": pl.Float64, "tokens": pl.Int64}  # nats over all tokens; how many

CPU_TOKENS, GPU_TOKENS = 2_048, 16_384  # padded tokens of a batch: seconds of work


class HeldOutAnswer(NamedTuple):
    """A held-out row and the answer that the loss is taken on."""

    row_id: str
    messages: Sequence[Message]  # the prompt
    answer: str


@dataclass(frozen=True)
class LossModel:
    """A model whose loss is taken.

    Args:
        name: in the leaderboard and in messages.
        identity: of its weights.
        source: folder or hub id of the weights, or of the base that an adapter is for.
        revision: of a hub id.
        adapter: folder of a PEFT adapter; None without one.
        dtype: number format that it is computed in.
        device: torch's name; None: the first GPU, else the processor.
    """

    name: str
    identity: str
    source: str
    revision: str | None = None
    adapter: Path | None = None
    dtype: str = "float32"
    device: str | None = None


@dataclass
class _Work:
    """Token ids of the rows that are to be computed."""

    row_ids: list[str] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)
    answers: list[list[int]] = field(default_factory=list)
    too_long: list[str] = field(default_factory=list)

    def length(self, place: int) -> int:
        return len(self.prompts[place]) + len(self.answers[place])


def cache_spec(model: LossModel) -> Spec:
    """Name the cells of a model's losses; a cell's key is of the token ids themselves.

    So another chat template or tokenizer is another cell, and batches and devices are not.
    """
    return Spec(STAGE, VERSION, {"weights": model.identity, "dtype": model.dtype})


def row_losses(
    store: Store,
    model: LossModel,
    rows: Sequence[HeldOutAnswer],
    max_length: int,
    report: Callable[[int, int], None],
) -> Losses:
    """Return the loss of every row, computing those that the store lacks, the longest first.

    Every loss is a cell of the store within a second of its batch.

    Args:
        store: for the cells.
        model: whose losses.
        rows: prompts and answers.
        max_length: most tokens of prompt and answer; a longer row has no loss and is counted.
        report: called with (rows done, rows in all) before the first batch and after each; what
            it raises ends the work.

    Raises:
        EvaluationError: the chat template refuses a row, the memory does not suffice, or a loss is
            not finite.
        ConfigError: the model cannot be loaded.
    """
    from crowdselect_core.models.causal_lm import Source, positions

    where = f"heldout-loss of {model.name}"
    source = Source(where, model.source, model.revision, model.dtype, model.device)
    limit = min(max_length, positions(source.config()) or max_length)
    tokenizer = _tokenizer(model, source)
    work = _tokenised(where, tokenizer, rows, limit)
    cells = CallCache(store, cache_spec(model), CELL)
    cells.refresh()
    missing = np.flatnonzero(cells.missing(as_keys(work.keys))).tolist()
    missing = list({work.keys[place]: place for place in missing}.values())  # equal rows once
    report(len(work.keys) - len(missing), len(work.keys))
    if missing:
        with CacheWriter(cells) as writer:
            _compute(model, source, tokenizer, work, missing, writer, report)
        cells.merge(all_small=True)
    found = cells.read(as_keys(work.keys))
    by_key = {
        key: RowLoss(loss, tokens)
        for key, loss, tokens in found.select("key", "loss", "tokens").iter_rows()
    }
    losses = {row: by_key[key] for row, key in zip(work.row_ids, work.keys, strict=True)}
    return Losses(losses, work.too_long, limit)


def _tokenizer(model: LossModel, source: Any) -> Any:
    """Return the tokenizer: the one beside the adapter, where a training stored it there."""
    from crowdselect_core.models.loading import load_tokenizer

    if model.adapter is not None and (model.adapter / "tokenizer_config.json").is_file():
        return load_tokenizer(str(model.adapter))
    return source.tokenizer()


def _tokenised(where: str, tokenizer: Any, rows: Sequence[HeldOutAnswer], limit: int) -> _Work:
    """Cut every row into its prompt and the answer with its end of turn."""
    from crowdselect_core.finetune.chat_turns import IGNORED, ChatTurns

    turns, work = ChatTurns(tokenizer, "last", where), _Work()
    for row in rows:
        answered = [*row.messages, Message(role="assistant", content=row.answer)]
        tokens = turns.tokens([{"role": m["role"], "content": m["content"]} for m in answered])
        trained = [place for place, label in enumerate(tokens.labels) if label != IGNORED]
        prompt = tokens.input_ids[: trained[0]]
        answer = tokens.input_ids[trained[0] : trained[-1] + 1]  # one run: only the last is trained
        if len(prompt) + len(answer) > limit:
            work.too_long.append(row.row_id)
            continue
        key = cell_key(*(np.asarray(ids, dtype="<i8").tobytes() for ids in (prompt, answer)))
        work.row_ids.append(row.row_id)
        work.keys.append(key)
        work.prompts.append(prompt)
        work.answers.append(answer)
    return work


def _compute(
    model: LossModel,
    source: Any,
    tokenizer: Any,
    work: _Work,
    missing: Sequence[int],
    writer: CacheWriter,
    report: Callable[[int, int], None],
) -> None:
    from crowdselect_core.models.batching import by_length
    from crowdselect_core.models.causal_lm import OutOfMemory
    from crowdselect_core.models.chat_templates import padding_id
    from crowdselect_core.models.logprobs import sequence_logprobs

    loaded, pad_id = _loaded(model, source), padding_id(tokenizer)
    tokens = GPU_TOKENS if loaded.device.type == "cuda" else CPU_TOKENS
    done = len(work.keys) - len(missing)
    for batch in by_length([work.length(place) for place in missing], tokens=tokens):
        places = [missing[i] for i in batch]
        try:
            found = sequence_logprobs(
                loaded,
                [work.prompts[place] for place in places],
                [work.answers[place] for place in places],
                pad_id=pad_id,
                batch_tokens=tokens,
            )
        except OutOfMemory:
            raise EvaluationError(
                f"heldout-loss of {model.name}: no memory for a row of "
                f"{max(map(work.length, places)):,} tokens: lower max_length, or set dtype: "
                "bfloat16"
            ) from None
        for place, logprob in zip(places, found, strict=True):
            if not math.isfinite(logprob.total):
                raise EvaluationError(
                    f"heldout-loss of {model.name}: row {work.row_ids[place]!r} has a loss of "
                    f"{-logprob.total}: set dtype: float32, and check that the training did not "
                    "diverge"
                )
            writer.add((work.keys[place], -logprob.total, logprob.tokens))
        done += len(places)
        report(done, len(work.keys))


def _loaded(model: LossModel, source: Any) -> Any:
    """Load the weights, with the adapter's layers in their places."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    loaded = source.load()
    if model.adapter is None:
        return loaded
    from peft import PeftModel

    with warnings.catch_warnings():
        # PEFT still uses names that transformers has renamed; users cannot change that.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = PeftModel.from_pretrained(loaded, str(model.adapter))
    return adapted.eval().get_base_model()  # knows the arguments of the forward pass

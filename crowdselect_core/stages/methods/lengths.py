"""Stage `lengths`: the tokens of every instruction, or of every answer that would be kept."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.models.token_count import counter, counter_identity
from crowdselect_core.stages.base import Stage, one_cpu
from crowdselect_core.stages.methods.kept_rows import KeptRowReader, kept_identity
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.row_lookup import RowLookup
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.util.once import Once

STAGE, VERSION = "lengths", 1
TOKENS = "tokens"


def spec(
    config: SelectConfig,
    scores: Ref,
    metrics: Ref,
    answers: Ref,
    of: str,
    tokenizer: str | None = None,
    earlier: Sequence[Ref] = (),
) -> Spec:
    """Name the artifact: the rows, what is counted and by what; of an answer, which is kept."""
    identity: dict[str, Any] = {"of": of, "counter": counter_identity(tokenizer)}
    inputs = {"answers": answers.key}
    if of == "response":
        identity["response"] = kept_identity(config)
        inputs["metrics"] = metrics.key
    return Spec(STAGE, VERSION, identity, inputs)


def plan(
    config: SelectConfig,
    store: Store,
    scores: Ref,
    metrics: Ref,
    answers: Ref,
    of: str,
    tokenizer: str | None = None,
    earlier: Sequence[Ref] = (),
) -> Plan:
    """Count tokens shard by shard of the scores.

    Output columns: instruction_id (rows that may be chosen alone), tokens (>= 0; null where there
    is no text).

    Args:
        config: the data set, and which answer is kept.
        store: where the artifacts are.
        scores: of the rows.
        metrics: of the rows.
        answers: of the rows.
        of: instruction or response.
        tokenizer: a folder or hub id; None estimates tokens as UTF-8 bytes / 4.
        earlier: artifacts of this stage that count the same of the same kept answers; what stands
            there is not read again. They change no result, and so are no part of the identity.
    """
    reader = KeptRowReader(config, store, scores, metrics, answers)
    count = Once(lambda: counter(tokenizer))
    lookup = Once(lambda: RowLookup(ref.open(store) for ref in earlier))

    def shard(frame: pl.DataFrame) -> ShardResult:
        fit = reader.fit(frame)
        known = lookup().of(fit["instruction_id"]) if earlier else None
        if known is None:
            return ShardResult(counted(fit))
        new = counted(fit.join(known, on="instruction_id", how="anti", maintain_order="left"))
        both = pl.concat([known.select(new.columns), new])
        ids = fit.select("instruction_id")
        return ShardResult(ids.join(both, on="instruction_id", maintain_order="left"))

    def counted(rows: pl.DataFrame) -> pl.DataFrame:
        found = reader.at(rows, responses=of == "response")
        texts = found.responses if of == "response" else found.instructions
        tokens = iter(count()([t for t in texts if t is not None]))
        numbers = [next(tokens) if t is not None else None for t in texts]
        return found.rows.select("instruction_id").with_columns(
            pl.Series(TOKENS, numbers, dtype=pl.Int64)
        )

    return by_shard(scores.open(store), shard)


LENGTHS = Stage(
    "lengths", "Count the tokens of the instructions or of the kept answers.", spec, plan, one_cpu
)

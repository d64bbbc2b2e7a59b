"""Stage `answer-tokens`: which answers of all rows are complete, and how long they are.

An experiment that compares choices alone asks that of the same rows in every replicate: the texts
are read once.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.models.token_count import BYTES_A_TOKEN, counter_identity
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.instruction_rows import InstructionRows
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_partition
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult

STAGE, VERSION = "answer-tokens", 1


def tokens_column(model: str) -> str:
    """Name the column of a model's answers."""
    return f"tokens/{model}"


def spec(config: SelectConfig, instructions: Ref) -> Spec:
    """Name the artifact: the rows, whose answers, and what counts."""
    identity = {"models": [m.name for m in config.models], "counter": counter_identity(None)}
    return Spec(STAGE, VERSION, identity, {"instructions": instructions.key})


def plan(config: SelectConfig, store: Store, instructions: Ref) -> Plan:
    """Measure the answers partition by partition, a model's at a time.

    Output columns: instruction_id, `tokens_column` of every crowd model (Int32; tokens of the
    answer, estimated as UTF-8 bytes / 4, rounded up; null where it has none that is complete).
    """
    dataset = open_dataset(config)
    rows = InstructionRows(instructions.open(store), dataset.partitions(config.shard_rows))

    def shard(part: Partition) -> ShardResult:
        kept, places = rows.of(part)
        columns = []
        for model in config.models:
            bytes_N = dataset.complete_bytes(part, model.name)[places]
            tokens_N = -(-bytes_N // BYTES_A_TOKEN)
            tokens = pl.Series(tokens_column(model.name), tokens_N, dtype=pl.Int32)
            columns.append(tokens.set(pl.Series(bytes_N < 0), None))
        return ShardResult(kept.with_columns(columns))

    return by_partition(rows.partitions, shard, config.shard_rows)


ANSWER_TOKENS = Stage("answer-tokens", "Measure every answer of the crowd.", spec, plan)


def complete_tokens(frame: pl.DataFrame, models: list[str]) -> NDArray[np.int64]:
    """Return tokens_NM of some rows of this stage, -1 where an answer is not complete."""
    found: NDArray[np.int64] = frame.select(
        pl.col(tokens_column(m)).cast(pl.Int64).fill_null(-1) for m in models
    ).to_numpy()
    return found

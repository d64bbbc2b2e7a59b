"""Stage `scores`: what every reward model gave every answer, one row per instruction.

The wide form of the scores: one column per (reward model, crowd model), the student's among them.
The answers' texts are not read.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.stages.base import Stage, one_cpu
from crowdselect_core.stages.instruction_rows import PLACES, InstructionRows
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_partition
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import CROWD_SCORES, check, score_column, shown_column

STAGE, VERSION = "scores", 2


def spec(config: SelectConfig, instructions: Ref) -> Spec:
    """Name the artifact: the rows, everyone's columns whatever their role, the reward models."""
    identity = {
        "crowd": [m.name for m in config.everyone],
        "reward_models": config.reward_names,
    }
    return Spec(STAGE, VERSION, identity, {"instructions": instructions.key})


def plan(config: SelectConfig, store: Store, instructions: Ref) -> Plan:
    """Read the scores partition by partition; null, NaN and infinite scores become null.

    Output columns: instruction_id, source, source_row, `score_column` of every pair, and
    `shown_column` of those whose model has several samples.
    Counts: missing_scores, over all reward models, crowd models and the student.
    """
    dataset = open_dataset(config)
    partitions = dataset.partitions(config.shard_rows)
    rows = InstructionRows(instructions.open(store), partitions, columns=None)

    def shard(part: Partition) -> ShardResult:
        return _shard(dataset, part, *rows.of(part))

    return by_partition(rows.partitions, shard, config.shard_rows)


SCORES = Stage(
    "scores", "Read what the reward models gave every answer.", spec, plan, one_cpu, PLACES
)


def _shard(
    dataset: Dataset, part: Partition, kept: pl.DataFrame, places: NDArray[np.int64]
) -> ShardResult:
    """Read the scores of the rows `kept`, which stand at `places` of a partition."""
    whole = len(places) == part.rows
    columns: list[pl.Series] = []
    for pair, scores in dataset.score_columns(part).items():
        columns.append((scores if whole else scores[places]).alias(score_column(*pair)))
    missing = sum(column.null_count() for column in columns)
    columns += [
        pl.Series(shown_column(*pair), scores_N[places], nan_to_null=True)
        for pair, scores_N in dataset.shown_scores(part).items()
    ]
    frame = check(kept.with_columns(columns), CROWD_SCORES, "scores")
    return ShardResult(frame, {"missing_scores": missing})

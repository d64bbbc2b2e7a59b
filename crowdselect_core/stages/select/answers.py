"""Stage `answers`: which rows have an instruction and an answer that could be kept.

Eligibility needs to know of every row whether some answer is not empty. One model's answers are
read after the other, the one with the most scores first, until every row of a partition is
settled: usually that is one column of the crowd's.
"""

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.response_mode import ResponseMode, response_mode
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.prompts import NO_INSTRUCTION
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.stages.base import Stage, one_cpu
from crowdselect_core.stages.instruction_rows import PLACES
from crowdselect_core.stages.partitions import holding_rows, open_dataset, span_of
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.row_columns import RowReader, source_rows
from crowdselect_core.stages.select.metrics import shown_scores, stored_moments, used_reward_models
from crowdselect_core.stages.shards import by_partition
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import ANSWERABLE, check
from crowdselect_core.util.once import Once

STAGE, VERSION = "answers", 2

UNKNOWN_ENDING = "finish reason "  # what a count of an unknown one begins with


def mode_of(config: SelectConfig) -> ResponseMode:
    """Return the config's response mode, checked against the crowd."""
    return response_mode(config.response_mode, [m.name for m in config.models])


def spec(config: SelectConfig, scores: Ref, metrics: Ref) -> Spec:
    """Name the artifact: the rows, whose answers count, and whether they need a score."""
    mode = mode_of(config)
    identity: dict[str, Any] = {"models": list(mode.models), "scored": mode.needs_score}
    if mode.needs_score:
        identity["reward_models"] = used_reward_models(config, metrics)
    return Spec(STAGE, VERSION, identity, {"scores": scores.key})


def plan(config: SelectConfig, store: Store, scores: Ref, metrics: Ref) -> Plan:
    """Look for one complete answer per row.

    Output columns: instruction_id; answerable (true everywhere for scores alone); barred (where
    there are answers but no usable prompt: no_instruction, or bad_messages and the reason).
    Counts: finish reasons that nobody knows, of the answers that were looked at.
    """
    dataset = open_dataset(config)
    table = scores.open(store)
    partitions = dataset.partitions(config.shard_rows)
    source_N = source_rows(table, sum(part.rows for part in partitions))
    partitions = holding_rows(partitions, source_N)
    has_texts = bool(dataset.layout.answers)
    # the same ids stand in the metrics, a quarter of the bytes
    reader = RowReader(table) if has_texts else RowReader(metrics.open(store), ["instruction_id"])
    if reader.rows != len(source_N):
        raise DamagedArtifact("metrics: not the rows of the scores, in their order")
    fitted = Once(lambda: stored_moments(metrics.open(store)))
    mode = mode_of(config)

    def shard(part: Partition) -> ShardResult:
        start, end = span_of(source_N, part)
        rows, places = reader.span(start, end), source_N[start:end] - part.first_row
        unknown: Counter[str] = Counter()
        answerable = np.ones(len(places), dtype=bool)
        if has_texts:
            shown_NM = shown_scores(rows, config, fitted())
            answerable = _answerable(dataset, part, places, mode, shown_NM, unknown)
        frame = rows.select("instruction_id").with_columns(
            answerable=pl.Series(answerable, dtype=pl.Boolean),
            barred=_refused(dataset, part, places),
        )
        counts = {f"{UNKNOWN_ENDING}{word}": n for word, n in sorted(unknown.items())}
        return ShardResult(check(frame, ANSWERABLE, "answers"), counts)

    return by_partition(partitions, shard, config.shard_rows)


ANSWERS = Stage("answers", "Look for an answer to keep of every row.", spec, plan, one_cpu, PLACES)


def _answerable(
    dataset: Dataset,
    part: Partition,
    places: NDArray[np.int64],
    mode: ResponseMode,
    shown_NM: NDArray[np.float64],
    unknown: Counter[str],
) -> NDArray[np.bool_]:
    settled = np.zeros(len(places), dtype=bool)
    possible_NM = ~np.isnan(shown_NM) if mode.needs_score else np.ones(shown_NM.shape, dtype=bool)
    names = [m.name for m in dataset.crowd]
    by_scores = sorted(mode.models, key=lambda m: (-possible_NM[:, names.index(m)].sum(), m))
    for model in by_scores:
        open_rows = ~settled & possible_NM[:, names.index(model)]
        if open_rows.any():
            settled |= open_rows & dataset.complete(part, model, unknown)[places]
    return settled


def _refused(dataset: Dataset, part: Partition, places: NDArray[np.int64]) -> pl.Series:
    """Return why rows have no usable prompt, null for the others."""
    if dataset.layout.instruction is None or not dataset.layout.answers:
        return pl.repeat(None, len(places), dtype=pl.String, eager=True)
    found = [error for _, batch in dataset.refusals(part) for error in batch]
    bare = f"{NO_INSTRUCTION}: "
    words = [NO_INSTRUCTION if e is not None and e.startswith(bare) else e for e in found]
    return pl.Series(words, dtype=pl.String).gather(places)

"""The answers that the data set itself has of a model, as a table of the stage `responses`."""

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.crowd.answer_texts import digest_of
from crowdselect_core.stages.crowd.dataset_answers import given_answers
from crowdselect_core.stages.crowd.responses import STAGE, VERSION, counted
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import RESPONSES, check
from crowdselect_core.util.finish_reasons import normalise_finish_reason


def spec(config: SelectConfig, prompts: Ref, model: str) -> Spec:
    """Name the table."""
    return Spec(STAGE, VERSION, {"column": model}, {"prompts": prompts.key})


def plan(config: SelectConfig, store: Store, prompts: Ref, model: str) -> Plan:
    """Lay out the answers that the data set itself has of a model, as those that were asked for."""
    dataset = open_dataset(config)

    def shard(rows: pl.DataFrame) -> ShardResult:
        table = _given(rows, dataset, model)
        return ShardResult(check(table, RESPONSES, "responses"), counted(table))

    return by_shard(prompts.open(store), shard, facts=lambda: {"generated": False})


DATASET_RESPONSES = Stage(
    "given-answers", "Write the table of the answers that the data set has of a model.", spec, plan
)


def _given(rows: pl.DataFrame, dataset: Dataset, model: str) -> pl.DataFrame:
    texts: list[str | None] = [None] * rows.height
    ends: list[str | None] = [None] * rows.height
    for place, text, end in given_answers(dataset, rows, model):
        ending = normalise_finish_reason(end)
        texts[place], ends[place] = (text if ending.is_answer else None), ending.name
    digests = [digest_of(t) for t in texts]
    absent = [None if t is not None else _absent(e) for t, e in zip(texts, ends, strict=True)]
    return rows.with_columns(
        pl.lit(0, pl.Int64).alias("sample"),
        pl.lit(None, pl.Binary).alias("cell"),
        pl.Series("content", digests, dtype=pl.Binary),
        pl.Series("finish_reason", ends, dtype=pl.String),
        pl.Series("characters", [len(t) if t is not None else None for t in texts], pl.Int64),
        pl.lit(None, pl.Int64).alias("prompt_tokens"),
        pl.lit(None, pl.Int64).alias("completion_tokens"),
        pl.coalesce("error", pl.Series("absent", absent, dtype=pl.String)).alias("error"),
    ).select(list(RESPONSES))


def _absent(ending: str | None) -> str:
    """Say why a row has no answer."""
    if ending is None or normalise_finish_reason(ending).is_answer:
        return "no_answer: the data set has none"
    return f"no_answer: the data set's ended with {ending}"

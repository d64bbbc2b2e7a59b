"""Stage `heldout-answers`: the answers to held-out prompts that a loss is taken on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.heldout import BEST
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, DatasetError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.values import SPACE
from crowdselect_core.metrics.combine import combine
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.crowd.answer_texts import Answered, Texts
from crowdselect_core.stages.crowd.dataset_answers import given_answers, given_columns
from crowdselect_core.stages.crowd.prompts import near
from crowdselect_core.stages.heldout.split import settings
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.metrics import stored_moments
from crowdselect_core.stages.shards import AlignedReader, by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import HELDOUT_ANSWERS as TABLE
from crowdselect_core.tables import check
from crowdselect_core.util.finish_reasons import normalise_finish_reason
from crowdselect_core.util.once import Once

STAGE, VERSION = "heldout-answers", 1

Texted = list[str | None]


def whose(config: SelectConfig) -> str:
    """Return whose answers the loss is taken on.

    Raises:
        ConfigError: heldout.answers is empty.
    """
    name = settings(config).answers
    if name is None:
        raise ConfigError(
            "heldout.answers is empty: name whose answers the loss is taken on, a crowd model, a "
            "text column of the data set, or best"
        )
    return name


def spec(
    config: SelectConfig,
    heldout: Ref,
    answered: Answered | None = None,
    metrics: Ref | None = None,
) -> Spec:
    """Name the artifact: the held-out rows, and whose answers.

    Args:
        config: of the data set that the rows were held out from, as in `plan`.
        heldout: the rows (stage `heldout`).
        answered: answers that were generated, where the model has no column.
        metrics: of the rows that remain; with `best` and several reward models, its moments count.

    Raises:
        ConfigError: heldout.answers is empty.
    """
    name = whose(config)
    identity: dict[str, Any] = {"answers": name}
    inputs = {"heldout": heldout.key}
    if answered is not None:
        inputs["responses"] = answered.responses.key
        identity["fingerprint"] = answered.responses.counts.get("fingerprint")
    elif name == BEST:
        identity |= {
            "crowd": [m.name for m in config.models],
            "reward_models": config.reward_names,
        }
        if metrics is not None and len(config.reward_names) > 1:
            inputs["metrics"] = metrics.key
    return Spec(STAGE, VERSION, identity, inputs)


def plan(
    config: SelectConfig,
    store: Store,
    heldout: Ref,
    answered: Answered | None = None,
    metrics: Ref | None = None,
) -> Plan:
    """Read the answers, shard by shard of the held-out rows.

    `best` is the answer of the highest score among the complete ones, ties by model name; with
    several reward models the mean of the z-scores, by the moments of the rows that remain.

    Output columns: HELDOUT_ANSWERS, in the order of the data set. Counts: answers, unanswered.

    Raises:
        ConfigError: heldout.answers is empty.
        DatasetError: no such column, or it holds no texts.
    """
    name, dataset = whose(config), open_dataset(config)
    crowd = {m.name for m in config.everyone}
    generated = Once(lambda: _Generated(store, dataset, answered)) if answered else None

    def shard(rows: pl.DataFrame) -> ShardResult:
        models: Sequence[str | None] = [name] * rows.height
        if generated is not None:
            texts = generated().of(rows)
        elif name == BEST:
            models, texts = _best(config, store, dataset, rows, metrics)
        elif name in crowd:
            texts = _of_model(dataset, rows, name)
        else:
            texts = _of_column(dataset, rows, name)
        whole = [t if t is not None and t.strip(SPACE) else None for t in texts]
        table = rows.select("instruction_id", "messages").with_columns(
            pl.Series("model", models, dtype=pl.String), pl.Series("answer", whole, dtype=pl.String)
        )
        without = table["answer"].null_count()
        counts = {"answers": table.height - without, "unanswered": without}
        return ShardResult(check(table, TABLE, STAGE), counts)

    return by_shard(heldout.open(store), shard)


HELDOUT_ANSWERS = Stage(STAGE, "Read the answers to the held-out prompts.", spec, plan)


class _Generated:
    """Answers of a model that were generated for the held-out rows: of each the first sample."""

    def __init__(self, store: Store, dataset: Dataset, answered: Answered) -> None:
        self._table = AlignedReader(answered.responses.open(store))
        self._texts = Texts(store, dataset, answered)

    def of(self, rows: pl.DataFrame) -> Texted:
        table = self._table.of(rows).filter(pl.col("sample") == 0)
        texts = self._texts.of(table)
        ends = table["finish_reason"].to_list()
        found = {
            row_id: text if _is_whole(end) else None
            for row_id, text, end in zip(table["instruction_id"], texts, ends, strict=True)
        }
        return [found.get(row_id) for row_id in rows["instruction_id"]]


def _is_whole(end: str | None) -> bool:
    """Tell that an answer was not cut off by a length limit and did not fail."""
    ending = normalise_finish_reason(end)
    return ending.is_answer and not ending.is_cut


def _of_model(dataset: Dataset, rows: pl.DataFrame, model: str) -> Texted:
    """Return the complete answers that the data set has of a crowd model."""
    texts: Texted = [None] * rows.height
    for place, text, end in given_answers(dataset, rows, model):
        texts[place] = text if _is_whole(end) else None
    return texts


def _of_column(dataset: Dataset, rows: pl.DataFrame, column: str) -> Texted:
    """Return the texts of a column outside the crowd, or of a model's that is no part of it."""
    values = given_columns(dataset, rows, [column], "heldout.answers")[column]
    content = dataset.config.columns.get("content", "content")
    # A model's answers that are no part of the crowd: its struct holds the text.
    values = [v.get(content, v) if isinstance(v, dict) else v for v in values]
    for value in values:
        if value is not None and not isinstance(value, str):
            raise DatasetError(
                f"{dataset.config.path}: column {column!r}, which heldout.answers names, holds "
                f"{type(value).__name__}, expected texts"
            )
    return [dataset.answer(value) for value in values]


def _best(
    config: SelectConfig, store: Store, dataset: Dataset, rows: pl.DataFrame, metrics: Ref | None
) -> tuple[list[str | None], Texted]:
    """Return the model and the text of the best complete answer of every row."""
    several = len(config.reward_names) > 1
    if several and metrics is None:
        raise TypeError("heldout-answers: best of several reward models needs the metrics")
    fitted = stored_moments(metrics.open(store)) if several and metrics is not None else {}
    scores, complete_NM = _scores(config, dataset, rows)
    c_NM = np.where(complete_NM, combine(scores, fitted), np.nan)
    names = [m.name for m in config.models]
    scored_N = np.count_nonzero(np.isfinite(c_NM), axis=1) > 0
    best_N = np.where(np.isfinite(c_NM), c_NM, -np.inf).argmax(axis=1)
    models: list[str | None] = [
        names[m] if scored else None for m, scored in zip(best_N, scored_N, strict=True)
    ]
    texts: Texted = [None] * rows.height
    for m, name in enumerate(names):
        places = np.flatnonzero(scored_N & (best_N == m))
        own = _of_model(dataset, rows[places.tolist()], name) if len(places) else []
        for place, text in zip(places.tolist(), own, strict=True):
            texts[place] = text
    return models, texts


def _scores(
    config: SelectConfig, dataset: Dataset, rows: pl.DataFrame
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_]]:
    """Return the crowd's scores of some rows per reward model, and which answers are complete."""
    source_N = rows["source_row"].to_numpy()
    of_crowd = [m.role == "crowd" for m in config.everyone]
    shape = (len(source_N), len(config.models))
    scores = {r: np.full(shape, np.nan) for r in config.reward_names}
    complete_NM = np.zeros(shape, dtype=bool)
    for part in near(dataset, source_N):
        start, stop = np.searchsorted(source_N, [part.first_row, part.first_row + part.rows])
        here = source_N[start:stop] - part.first_row
        blocks = [found for _, found in dataset.scores(part)]
        for reward_model, found_NM in scores.items():
            whole_NM = np.concatenate([block[reward_model] for block in blocks])
            found_NM[start:stop] = whole_NM[here][:, of_crowd]
        for m, model in enumerate(config.models):
            complete_NM[start:stop, m] = dataset.complete(part, model.name)[here]
    return scores, complete_NM

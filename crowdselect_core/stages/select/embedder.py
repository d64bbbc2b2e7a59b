"""Stage `embedder`: the lexical embedder, fitted once and kept, so that later rows meet the same.

A model is pinned by its weights and needs no such stage.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.embedding import FIT_ROWS, LexicalEmbedder, fit_lexical, fit_sample
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.row_columns import RowReader
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult, single
from crowdselect_core.tables import check, embedder_schema

STAGE, VERSION = "embedder", 1


def is_fitted(config: SelectConfig) -> bool:
    """Tell whether the config's embedder is fitted on the texts, and so is an artifact."""
    return config.embedder.kind == "lexical"


def spec(config: SelectConfig, instructions: Ref) -> Spec:
    """Name the artifact: the rows and the seed."""
    identity = {"kind": config.embedder.kind, "seed": config.seed}
    return Spec(STAGE, VERSION, identity, {"instructions": instructions.key})


def plan(config: SelectConfig, store: Store, instructions: Ref) -> Plan:
    """Fit TF-IDF and truncated SVD on the texts (a sample of them past FIT_ROWS), in id order.

    Output columns: term, weight (what its tf is multiplied by), vector (its share of every
    component).

    Raises:
        DatasetError: no instruction texts, or none with a letter or digit.
    """
    dataset = open_dataset(config)
    partitions = dataset.partitions(config.shard_rows)

    def make() -> ShardResult:
        table = instructions.open(store)
        ids = (frame["instruction_id"] for frame in table.frames(["instruction_id"]))
        sample = fit_sample(ids, FIT_ROWS, config.seed)
        wanted = RowReader(table, ["source_row"]).gather(sample)["source_row"].to_numpy()
        texts = dict(_texts_at(dataset, partitions, np.sort(wanted)))
        fitted = fit_lexical([texts[int(row)] for row in wanted], seed=config.seed)
        return ShardResult(check(fitted.table(), embedder_schema(fitted.width), "embedder"))

    return single(make)


EMBEDDER = Stage("embedder", "Fit the lexical embedder on the instructions.", spec, plan)


def stored(store: Store, embedder: Ref) -> LexicalEmbedder:
    """Return the embedder that an artifact of this stage holds."""
    return LexicalEmbedder.of(embedder.open(store).frame())


def _texts_at(
    dataset: Dataset, partitions: list[Partition], wanted: NDArray[np.int64]
) -> Iterator[tuple[int, str]]:
    """Yield (row, text) of the rows `wanted`, which are sorted."""
    for part in partitions:
        start, end = np.searchsorted(wanted, [part.first_row, part.first_row + part.rows])
        if start == end:
            continue
        for first_row, texts in dataset.instructions(part):
            start, end = np.searchsorted(wanted, [first_row, first_row + len(texts)])
            for row in wanted[start:end].tolist():
                yield row, texts[row - first_row]

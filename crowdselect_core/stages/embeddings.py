"""Stage `embeddings`: one vector per instruction."""

import logging
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config import EmbedderConfig, SelectConfig
from crowdselect_core.embedding import FIT_ROWS, Embedder, fit_lexical, fit_sample, load_model
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.stages.common import Once, Ref, kept_rows, open_dataset
from crowdselect_core.store.build import Part, Plan
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.store import Store
from crowdselect_core.tables import check, embeddings_schema
from crowdselect_core.weights import model_identity

STAGE, VERSION = "embeddings", 1

log = logging.getLogger("crowdselect")

Vectors = NDArray[np.float32]


def spec(config: SelectConfig, instructions: Ref) -> Spec:
    """Name the artifact: the rows, and the embedder with its weights.

    Raises:
        UserError: the model is not there or cannot be pinned.
    """
    embedder = config.embedder
    identity: dict[str, object] = {"kind": embedder.kind}
    if embedder.kind == "lexical":
        identity["seed"] = config.seed
    elif embedder.kind == "column":
        identity["column"] = embedder.column
    else:
        identity |= {
            "weights": model_identity(str(embedder.model), embedder.revision),
            "task": embedder.task,
            "prompt_name": embedder.prompt_name,
            "normalize": embedder.normalize,
            "dtype": embedder.dtype,
            "max_length": embedder.max_length,
        }
    return Spec(STAGE, VERSION, identity, {"instructions": instructions.key})


def plan(config: SelectConfig, store: Store, instructions: Ref) -> Plan:
    """Embed the instructions partition by partition.

    Output columns: instruction_id, vector (Float32, one width).

    Raises:
        DatasetError: no instruction texts, or no such vector column.
    """
    dataset = open_dataset(config)
    rows = Once(lambda: instructions.open(store).frame())
    partitions = dataset.partitions(config.shard_rows)
    vectors = _vectors_of(config, dataset, partitions, rows)

    def shard(part: Partition) -> Callable[[], Part]:
        def make() -> Part:
            kept, places = kept_rows(rows(), part)
            vectors_ND = vectors(part)[places]
            frame = kept.select("instruction_id").with_columns(vector=pl.Series(vectors_ND))
            return Part(check(frame, embeddings_schema(vectors_ND.shape[1]), "embeddings"))

        return make

    return Plan(
        [shard(p) for p in partitions], cut={"rows": config.shard_rows}, total=len(partitions)
    )


def _vectors_of(
    config: SelectConfig,
    dataset: Dataset,
    partitions: list[Partition],
    rows: Once[pl.DataFrame],
) -> Callable[[Partition], Vectors]:
    """Return the call that gives the vectors of all rows of a partition."""
    embedder = config.embedder
    if embedder.kind == "column":
        return partial(_stored, dataset, str(embedder.column))
    model = Once(partial(_embedder, config.seed, embedder, dataset, partitions, rows))
    return lambda part: model().transform(
        [t for _, texts in dataset.instructions(part) for t in texts]
    )


def _stored(dataset: Dataset, column: str, part: Partition) -> Vectors:
    return np.concatenate([vectors for _, vectors in dataset.vectors(part, column)])


def _embedder(
    seed: int,
    embedder: EmbedderConfig,
    dataset: Dataset,
    partitions: list[Partition],
    rows: Once[pl.DataFrame],
) -> Embedder:
    """Load the model, or fit the lexical embedder on (a sample of) the texts in id order."""
    if embedder.kind == "sentence-transformers":
        return load_model(embedder)
    log.info("embedding by TF-IDF and truncated SVD (lexical); the paper: jina-embeddings-v3")
    sample = fit_sample(rows()["instruction_id"], FIT_ROWS, seed)
    wanted = rows()["source_row"].gather(sample).to_numpy()
    texts = dict(_texts_at(dataset, partitions, np.sort(wanted)))
    return fit_lexical([texts[int(row)] for row in wanted], seed=seed)


def _texts_at(
    dataset: Dataset, partitions: list[Partition], wanted: NDArray[np.int64]
) -> Iterator[tuple[int, str]]:
    """Yield (row, text) of the rows `wanted`, which are sorted."""
    for part in partitions:
        for first_row, texts in dataset.instructions(part):
            start, end = np.searchsorted(wanted, [first_row, first_row + len(texts)])
            for row in wanted[start:end].tolist():
                yield row, texts[row - first_row]

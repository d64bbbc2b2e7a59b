"""Stage `contamination`: the rows whose instruction holds a prompt of a benchmark."""

from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.config.quality import DecontaminationGate, required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.embedding import load_model
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.quality.benchmark_prompts import (
    BenchmarkPrompt,
    fingerprint,
    read_benchmarks,
)
from crowdselect_core.quality.decontamination import PromptIndex
from crowdselect_core.quality.semantic_duplicates import Vectors, unit_length
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.instruction_rows import PLACES, InstructionRows
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select import embeddings as embedded
from crowdselect_core.stages.select.embedder import stored
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.executors.base import Needs
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import CONTAMINATED, check
from crowdselect_core.util.once import Once
from crowdselect_core.util.single_thread import one_thread
from crowdselect_core.util.text import excerpt

STAGE, VERSION = "contamination", 1
EMBEDDING = "embedding"
BLOCK = 4_096


def spec(
    config: SelectConfig,
    instructions: Ref,
    fitted: Ref | None = None,
    embeddings: Ref | None = None,
) -> Spec:
    """Name the artifact: the rows, the prompts, what counts as a match.

    Raises:
        ConfigError: a file of prompts cannot be read.
    """
    gate = _gate(config)
    identity: dict[str, Any] = {
        "prompts": fingerprint(read_benchmarks(gate.against)),
        "ngram": gate.ngram,
        "min_overlap": gate.min_overlap,
    }
    inputs = {"instructions": instructions.key}
    if gate.similarity is not None and embeddings is not None:
        identity["similarity"] = gate.similarity
        inputs["embeddings"] = embeddings.key
    return Spec(STAGE, VERSION, identity, inputs)


def plan(
    config: SelectConfig,
    store: Store,
    instructions: Ref,
    fitted: Ref | None = None,
    embeddings: Ref | None = None,
) -> Plan:
    """Look for the prompts' n-grams, a part for each partition, then for vectors near theirs.

    Output columns: CONTAMINATED; of each row the prompt that it shares most with, and, by
    embeddings, the nearest one.

    Args:
        config: the files of prompts, and what counts as a match.
        store: where the artifacts are.
        instructions: the rows.
        fitted: the lexical embedder, where it is the one.
        embeddings: of the rows, where they are compared.
    """
    gate = _gate(config)
    dataset = open_dataset(config)
    rows = InstructionRows(instructions.open(store), dataset.partitions(config.shard_rows))
    partitions = rows.partitions
    prompts = read_benchmarks(gate.against)
    texts = [p.text for p in prompts]
    index = Once(lambda: PromptIndex(texts, gate.ngram, gate.min_overlap))
    compared = gate.similarity is not None and embeddings is not None
    vectors = embeddings.open(store) if compared and embeddings else None
    prompts_BD = Once(lambda: unit_length(_embedded(config, store, fitted, texts)))

    def part(number: int) -> ShardResult:
        if number < len(partitions):
            found = _by_words(dataset, partitions[number], rows, index(), prompts)
        else:
            frame = vectors.shard(number - len(partitions))  # type: ignore[union-attr]
            found = _by_vectors(frame, prompts_BD(), prompts, float(gate.similarity or 1))
        return ShardResult(check(found, CONTAMINATED, STAGE), {"matches": found.height})

    shards = len(vectors.manifest.shards) if vectors else 0
    cut = {"rows": config.shard_rows, "vectors": shards}
    return Plan(len(partitions) + shards, part, cut, without_model=len(partitions))


def needs(config: SelectConfig) -> Needs:
    """Return what a part takes that compares embeddings, where any does: it embeds the prompts."""
    gate = _gate(config)
    return embedded.needs(config) if gate.similarity is not None else Needs()


CONTAMINATION = Stage(
    STAGE, "Look for prompts of benchmarks in the instructions.", spec, plan, needs, PLACES
)


def _gate(config: SelectConfig) -> DecontaminationGate:
    gate = required(config.quality).decontamination
    if gate is None:
        raise ValueError("quality.decontamination is off")
    return gate


def _by_words(
    dataset: Dataset,
    part: Partition,
    instructions: InstructionRows,
    index: PromptIndex,
    prompts: list[BenchmarkPrompt],
) -> pl.DataFrame:
    rows, places = instructions.of(part)
    ids, wanted = rows["instruction_id"].to_list(), places.tolist()
    found, done = [], 0
    for first_row, batch in dataset.instructions(part):
        first = first_row - part.first_row
        own = []
        while done < len(wanted) and wanted[done] < first + len(batch):
            own.append((ids[done], batch[wanted[done] - first]))
            done += 1
        for match in index.overlaps([text for _, text in own]):
            row, text = own[match.text]
            prompt = prompts[match.prompt]
            found.append(
                (row, prompt.benchmark, prompt.item, match.kind, match.share, match.shared,
                 excerpt(text), excerpt(prompt.text))
            )  # fmt: skip
    return pl.DataFrame(found, CONTAMINATED, orient="row")


def _by_vectors(
    frame: pl.DataFrame, prompts_BD: Vectors, prompts: list[BenchmarkPrompt], least: float
) -> pl.DataFrame:
    """Return the rows of a shard whose vector is near a prompt's, with the nearest one."""
    ids = frame["instruction_id"]
    found = []
    with one_thread():
        for start in range(0, frame.height, BLOCK):
            units_RD = unit_length(frame["vector"][start : start + BLOCK].to_numpy())
            near_RB = units_RD @ prompts_BD.T
            best_R = near_RB.argmax(axis=1)
            cosine_R = near_RB[np.arange(len(best_R)), best_R]
            for place in np.flatnonzero(cosine_R >= np.float32(least - 1e-6)).tolist():
                prompt = prompts[int(best_R[place])]
                cosine = min(1.0, round(float(cosine_R[place]), 4))
                found.append(
                    (ids[start + place], prompt.benchmark, prompt.item, EMBEDDING, cosine, None,
                     None, excerpt(prompt.text))
                )  # fmt: skip
    return pl.DataFrame(found, CONTAMINATED, orient="row")


def _embedded(config: SelectConfig, store: Store, fitted: Ref | None, texts: list[str]) -> Vectors:
    embedder = stored(store, fitted) if fitted is not None else load_model(config.embedder)
    return embedder.transform(texts)

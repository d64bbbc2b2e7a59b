"""OUT/responses.parquet and OUT/scores.parquet: the long tables, written shard by shard.

Beside each lies a small manifest (generation.json, scoring.json) that is written last: a table is
whole when its manifest names it, and a repeated run leaves it alone.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.crowd.answer_texts import Answered, Texts
from crowdselect_core.stages.crowd.zoo import Member, Scored
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.identity import canonical
from crowdselect_core.store.out_files import PENDING, check_replaceable, writing
from crowdselect_core.store.pending_files import size_and_sha256

RESPONSES, GENERATION = "responses.parquet", "generation.json"
SCORES, SCORING = "scores.parquet", "scoring.json"
ANSWER_FILES, SCORE_FILES = (RESPONSES, GENERATION), (SCORES, SCORING)
READ_ROWS = 4096


def key_of(parts_of: Sequence[tuple[str, Ref]]) -> str:
    """Name a table by the names in it, the artifacts it is made of and their content."""
    parts = [[name, r.key, r.counts.get("fingerprint")] for name, r in parts_of]
    return sha256(canonical(parts)).hexdigest()


def responses_key(crowd: Sequence[Answered]) -> str:
    """Name OUT/responses.parquet."""
    return key_of([(a.model.name, a.responses) for a in crowd])


def scores_key(members: Sequence[Member]) -> str:
    """Name OUT/scores.parquet."""
    return key_of([(f"{m.name}/{s.reward}", s.rewards) for m in members for s in m.scored])


def is_there(config: SelectConfig, manifest: str, table: str, key: str) -> bool:
    """Tell whether OUT has this very table, by its manifest and its size."""
    place = open_backend(config.out)
    try:
        told = json.loads(place.read(manifest))
    except (FileNotFoundError, ValueError):
        return False
    if not isinstance(told, dict) or told.get("key") != key:
        return False
    if place.sizes("").get(table) != told.get("bytes"):
        return False
    place.remove(PENDING)  # of a run that was killed after its last file
    return True


def write_responses(
    config: SelectConfig, store: Store, crowd: Sequence[Answered], summary: Mapping[str, Any]
) -> None:
    """Write OUT/responses.parquet, model by model, and its manifest.

    Args:
        config: of the given data set.
        store: where the answers are.
        crowd: the models with their tables.
        summary: what the manifest tells of the run.

    Raises:
        StorageError: OUT cannot be written.
    """
    frames = (frame for answered in crowd for frame in _responses(config, store, answered))
    key = responses_key(crowd)
    _write(config, RESPONSES, GENERATION, frames, key, summary)


def write_scores(
    config: SelectConfig, store: Store, members: Sequence[Member], summary: Mapping[str, Any]
) -> None:
    """Write OUT/scores.parquet, reward model by reward model, and its manifest."""
    frames = (frame for m in members for scored in m.scored for frame in _scores(store, m, scored))
    _write(config, SCORES, SCORING, frames, scores_key(members), summary)


def _responses(config: SelectConfig, store: Store, answered: Answered) -> Iterator[pl.DataFrame]:
    model = answered.model
    texts = Texts(store, open_dataset(config), answered)
    for frame in answered.responses.open(store).frames():
        for start in range(0, frame.height, READ_ROWS):
            rows = frame[start : start + READ_ROWS]
            yield rows.select(
                "instruction_id",
                pl.lit(model.name).alias("model"),
                "sample",
                pl.Series("text", texts.of(rows), dtype=pl.String),
                pl.Series("reasoning", texts.reasoning(rows), dtype=pl.String),
                "finish_reason", "prompt_tokens", "completion_tokens", "error",
            )  # fmt: skip


def _scores(store: Store, member: Member, scored: Scored) -> Iterator[pl.DataFrame]:
    for frame in scored.rewards.open(store).frames():
        for place, head in enumerate(scored.heads):
            yield frame.select(
                "instruction_id",
                pl.lit(member.name).alias("model"),
                "sample",
                pl.lit(scored.reward).alias("reward_model"),
                pl.lit(head).alias("head"),
                pl.col("scores").list.get(place, null_on_oob=True).alias("score"),
                "error",
            )


def _write(
    config: SelectConfig,
    table: str,
    manifest: str,
    frames: Iterator[pl.DataFrame],
    key: str,
    summary: Mapping[str, Any],
) -> None:
    place = open_backend(config.out)
    check_replaceable(place, (table, manifest), config.out)
    number, path = tempfile.mkstemp(prefix="crowdselect-", suffix=".parquet")
    os.close(number)
    file, writer, rows = Path(path), None, 0
    try:
        for frame in frames:
            arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                writer = pq.ParquetWriter(file, arrow.schema, compression="zstd")
            writer.write_table(arrow)
            rows += frame.height
        if writer is not None:
            writer.close()
        told = {"key": key, "rows": rows, "bytes": file.stat().st_size, "summary": dict(summary)}
        text = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False)
        with writing(place, key, {table: size_and_sha256(file)}, mark=manifest):
            place.remove(manifest)
            place.upload(table, file)
            place.replace(manifest, text.encode("utf-8", "backslashreplace") + b"\n")
    finally:
        file.unlink()

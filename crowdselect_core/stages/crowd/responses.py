"""Stage `responses`: what became of every request to one crowd model.

The texts are cells of the model's identity (`generate.identity`), found again whatever the data
set: a row that was answered is never asked again. The artifact is the table of one data set over
them, without texts. Where calls failed for reasons that may pass, their cells are part of the
artifact's identity, so that a later run with fewer failures is another artifact.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import polars as pl

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.generate.answer_cells import read_answers
from crowdselect_core.generate.identity import cache_spec
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.crowd.answer_texts import digest_of, open_cells
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import WIDTH, Keys, as_bytes, as_keys, cell_key
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import RESPONSES as TABLE
from crowdselect_core.tables import check
from crowdselect_core.util.finish_reasons import Ending, normalise_finish_reason

STAGE, VERSION = "responses", 2
MOST_UNKNOWN = 10  # unknown finish reasons that are counted by name, of a shard


def spec(
    config: SelectConfig, prompts: Ref, model: CrowdModel, failed: Mapping[bytes, str] = {}
) -> Spec:
    """Name the artifact: the prompts, the model, how many samples, and what is left out."""
    identity: dict[str, Any] = {"cells": cache_spec(model).key, "n": model.sampling.n}
    if failed:
        identity["failed"] = sha256(b"".join(sorted(failed))).hexdigest()
    return Spec(STAGE, VERSION, identity, {"prompts": prompts.key})


def sample_key(prompt: bytes, sample: int) -> bytes:
    """Name one sample of a model's answer to a prompt."""
    return cell_key(prompt, sample.to_bytes(4, "big"))


def sample_keys(prompts: Keys, sample: int) -> Keys:
    """Name one sample of a model's answers to many prompts, as `sample_key` names each."""
    head, tail = WIDTH.to_bytes(8, "big"), (4).to_bytes(8, "big") + sample.to_bytes(4, "big")
    made = [sha256(head + prompt + tail).digest()[:WIDTH] for prompt in as_bytes(prompts)]
    return as_keys(made)


def plan(
    config: SelectConfig,
    store: Store,
    prompts: Ref,
    model: CrowdModel,
    failed: Mapping[bytes, str] = {},
) -> Plan:
    """Lay out what became of every request, shard by shard of the prompts.

    Output columns: RESPONSES, n rows per instruction. Counts: answers, truncated (cut at
    max_tokens), empty, declined (content_filter), every finish reason that is unknown, every
    error by its code.
    """
    cells = open_cells(store, model)
    cells.refresh()

    def shard(rows: pl.DataFrame) -> ShardResult:
        return _table(rows, cells, model.sampling.n, failed)

    return by_shard(prompts.open(store), shard, facts=lambda: {"generated": True})


RESPONSES = Stage("responses", "Write the table of a model's answers.", spec, plan)


def _table(
    rows: pl.DataFrame, cells: CallCache, n: int, failed: Mapping[bytes, str]
) -> ShardResult:
    samples = rows.select("instruction_id", "source_row", "prompt", pl.col("error").alias("none"))
    table = samples.join(pl.DataFrame({"sample": range(n)}), how="cross", maintain_order="left")
    keys = [
        sample_key(prompt, sample) if prompt is not None else None
        for prompt, sample in zip(table["prompt"].to_list(), table["sample"].to_list(), strict=True)
    ]
    found = read_answers(cells, as_keys(k for k in keys if k is not None))
    digests = [digest_of(t) for t in found["text"].to_list()]
    told = found.select(
        pl.col("key").alias("cell"),
        pl.Series("content", digests, dtype=pl.Binary),
        "finish_reason",
        pl.col("text").str.len_chars().cast(pl.Int64).alias("characters"),
        "prompt_tokens",
        "completion_tokens",
        "error",
    )
    table = table.with_columns(pl.Series("cell", keys, dtype=pl.Binary))
    table = table.join(told, on="cell", how="left", maintain_order="left")
    lost = [failed.get(k) if k is not None else None for k in keys]
    failures = pl.when(pl.col("content").is_null()).then(pl.Series("lost", lost, dtype=pl.String))
    table = table.with_columns(error=pl.coalesce("error", "none", failures)).select(list(TABLE))
    if gone := table.filter(pl.col("content").is_null() & pl.col("error").is_null()).height:
        raise DamagedArtifact(f"{cells.spec.folder}: {gone} answers vanished while they were read")
    return ShardResult(check(table, TABLE, "responses"), counted(table))


def counted(table: pl.DataFrame) -> dict[str, int]:
    """Count what the closing summary tells of a model's answers."""
    answered = table.filter(pl.col("error").is_null())
    reason, tokens = pl.col("finish_reason"), pl.col("completion_tokens")
    row = answered.select(
        answers=pl.len(),
        truncated=(reason == "length").sum(),
        empty=(pl.col("characters") == 0).sum(),
        characters=pl.col("characters").sum(),
        prompt_tokens=pl.col("prompt_tokens").sum(),
        completion_tokens=tokens.sum(),
    ).row(0, named=True)
    codes = table["error"].drop_nulls().str.split(":").list.first().value_counts().sort("error")
    errors = {f"error/{code}": int(count) for code, count in codes.iter_rows()}
    kept = table.select("prompt", "sample", "content", "finish_reason")
    return {
        **{k: int(v or 0) for k, v in row.items()},
        **errors,
        **_unknown(answered["finish_reason"]),
        "fingerprint": fingerprint(kept),
    }


def _unknown(reasons: pl.Series) -> dict[str, int]:
    """Count the finish reasons that nobody knows: the answers are kept, and it is shown."""
    counts: dict[str, int] = {}
    for word, count in reasons.drop_nulls().value_counts().sort("finish_reason").iter_rows():
        if normalise_finish_reason(word).ending is Ending.UNKNOWN:
            name = f"finish/{word}" if len(counts) < MOST_UNKNOWN else "finish/(others)"
            counts[name] = counts.get(name, 0) + int(count)
    return counts


def fingerprint(rows: pl.DataFrame) -> int:
    """Return a number that stands for the content of rows, whatever their order and shards.

    The sum of 64 bits of each row's sha256, so that the parts of shards add up.
    """
    hashes = (sha256(repr(row).encode()).digest()[:8] for row in rows.iter_rows())
    return sum(int.from_bytes(h, "big") for h in hashes)

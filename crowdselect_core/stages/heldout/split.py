"""Stages `heldout`, `heldout-duplicates` and `remaining`: rows leave before anything is fitted.

A row is held out by a hash of (seed, prompt), so the same prompt is on one side in every data set,
whatever the order of the rows, `limit` or the shards. Rows that have a near-duplicate among the
held-out ones leave too. What remains takes the place of the instructions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.heldout import HeldoutConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.prompts import Prompt, prompt_key
from crowdselect_core.quality.near_duplicates import (
    THRESHOLD,
    WINDOW,
    near_duplicates_among,
)
from crowdselect_core.quality.shingles import N
from crowdselect_core.quality.sketches import BANDS, MOST_DIFFERENT, PERMUTATIONS
from crowdselect_core.stages.base import Stage, one_cpu
from crowdselect_core.stages.crowd.prompts import prompts_of
from crowdselect_core.stages.heldout.listed import HeldoutList, read_heldout
from crowdselect_core.stages.heldout.subsample import subsample_identity, subsampled
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import REMAINING_ROWS, Ref
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import HELDOUT as TABLE
from crowdselect_core.tables import HELDOUT_DUPLICATES, INSTRUCTIONS, check
from crowdselect_core.util.hashed_random import uniform
from crowdselect_core.util.notes import log_warning
from crowdselect_core.util.once import Once

VERSION = 1
PURPOSE = "heldout"  # of the random draw

Bools = NDArray[np.bool_]


def settings(config: SelectConfig) -> HeldoutConfig:
    """Return the key `heldout` of a config that has it."""
    if config.heldout is None:
        raise TypeError("SelectConfig.heldout: nothing is held out")
    return config.heldout


def identity(config: SelectConfig) -> dict[str, Any]:
    """Return what of the config changes the split.

    Raises:
        ConfigError: the list of held-out rows cannot be read.
    """
    heldout = settings(config)
    if heldout.file is not None:
        return {"list": read_heldout(heldout.file).digest}
    return {"share": heldout.share, "seed": split_seed(config)}


def split_seed(config: SelectConfig) -> int:
    """Return the seed of the draw of held-out rows: the split's own, or the run's."""
    own = settings(config).seed
    return config.seed if own is None else own


def is_drawn(prompts: Sequence[Prompt], share: float, seed: int) -> Bools:
    """Tell which prompts are held out: hash(seed, prompt) is below the share, as uniform in [0, 1).

    A row without a usable prompt is not held out.
    """
    usable_N = np.array([p.error is None for p in prompts], dtype=bool)
    keys = [prompt_key(p.messages).hex() for p in prompts]
    return usable_N & (uniform(keys, seed, PURPOSE) < share)


def heldout_spec(config: SelectConfig, instructions: Ref) -> Spec:
    """Name the artifact: the rows, and the share with its seed or the list.

    Raises:
        ConfigError: the list of held-out rows cannot be read.
    """
    return Spec("heldout", VERSION, identity(config), {"instructions": instructions.key})


def heldout_plan(config: SelectConfig, store: Store, instructions: Ref) -> Plan:
    """Set rows aside, shard by shard of the instructions.

    Output columns: HELDOUT, in the order of the data set.

    Raises:
        DatasetError: the data set has no prompts.
        ConfigError: the list of held-out rows cannot be read.
    """
    heldout, dataset = settings(config), _with_prompts(config)
    listed = read_heldout(heldout.file) if heldout.file is not None else None

    def shard(rows: pl.DataFrame) -> ShardResult:
        prompts = [prompt for _, prompt in prompts_of(dataset, rows)]
        keys = [prompt_key(p.messages) for p in prompts]
        table = rows.select(list(INSTRUCTIONS)).with_columns(
            pl.Series("prompt", keys, dtype=pl.Binary),
            pl.Series("messages", [list(p.messages) for p in prompts], dtype=TABLE["messages"]),
        )
        if listed is not None:
            wanted = is_listed(listed, rows["instruction_id"].to_list(), prompts)
        else:
            wanted = is_drawn(prompts, heldout.share or 0.0, split_seed(config))
        return ShardResult(check(table.filter(pl.Series(wanted)), TABLE, "heldout"))

    return by_shard(instructions.open(store), shard)


HELDOUT = Stage("heldout", "Set rows aside for an evaluation.", heldout_spec, heldout_plan, one_cpu)


def _with_prompts(config: SelectConfig) -> Dataset:
    dataset = open_dataset(config)
    check_prompts(dataset)
    return dataset


def check_prompts(dataset: Dataset) -> None:
    """Refuse a data set without prompts.

    Raises:
        DatasetError: it has none.
    """
    if dataset.layout.prompt is None:
        raise DatasetError(
            f"{dataset.config.path}: has no instruction texts, and rows are held out by their "
            "prompts; leave heldout out, or add the texts"
        )


def is_listed(listed: HeldoutList, ids: Sequence[str], prompts: Sequence[Prompt]) -> Bools:
    """Tell which rows a list names, by their ids or by their prompts."""
    return np.array(
        [
            row_id in listed.ids
            or (prompt.error is None and prompt_key(prompt.messages) in listed.prompts)
            for row_id, prompt in zip(ids, prompts, strict=True)
        ],
        dtype=bool,
    )


def duplicates_spec(config: SelectConfig, instructions: Ref, heldout: Ref) -> Spec:
    """Name the artifact: the rows, and how near-duplicates are found."""
    how = {
        "jaccard": THRESHOLD, "words": N, "permutations": PERMUTATIONS, "bands": BANDS,
        "window": WINDOW, "comparisons": MOST_DIFFERENT,
    }  # fmt: skip
    inputs = {"instructions": instructions.key, "heldout": heldout.key}
    return Spec("heldout-duplicates", VERSION, how, inputs)


def duplicates_plan(config: SelectConfig, store: Store, instructions: Ref, heldout: Ref) -> Plan:
    """Find the rows whose prompt is a near-duplicate of a held-out row's.

    Compared are the user turns. Memory: all of them, and about 0.5 kB a row.

    Output columns: HELDOUT_DUPLICATES, in the order of the data set.

    Raises:
        ConfigError: rensa is not installed.
    """
    dataset = _with_prompts(config)
    artifact = instructions.open(store)
    found = Once(lambda: _near_duplicates(dataset, artifact.frame(), heldout.open(store).frame()))

    def shard(rows: pl.DataFrame) -> ShardResult:
        table = rows.select(list(INSTRUCTIONS)).join(
            found(), on="instruction_id", how="inner", maintain_order="left"
        )
        return ShardResult(check(table, HELDOUT_DUPLICATES, "heldout-duplicates"))

    return by_shard(artifact, shard)


DUPLICATES = Stage(
    "heldout-duplicates",
    "Find the rows that resemble a held-out row.",
    duplicates_spec,
    duplicates_plan,
)


def _near_duplicates(dataset: Dataset, rows: pl.DataFrame, heldout: pl.DataFrame) -> pl.DataFrame:
    """Return the ids of rows that resemble a held-out one, with its id."""
    others = rows.join(heldout, on="instruction_id", how="anti", maintain_order="left")
    texts = [prompt.text for _, prompt in prompts_of(dataset, others)]
    sought = [prompt.text for _, prompt in prompts_of(dataset, heldout)]
    near_N = near_duplicates_among(texts, sought)
    places = np.flatnonzero(near_N >= 0)
    return pl.DataFrame(
        {
            "instruction_id": others["instruction_id"].gather(places),
            "heldout_id": heldout["instruction_id"].gather(near_N[places]),
        }
    )


def remaining_spec(
    config: SelectConfig,
    instructions: Ref,
    heldout: Ref | None = None,
    duplicates: Ref | None = None,
) -> Spec:
    """Name the artifact: the rows, those that leave, and the subsample where one is drawn."""
    left = {"heldout": heldout, "duplicates": duplicates}
    inputs = {"instructions": instructions.key}
    inputs |= {name: ref.key for name, ref in left.items() if ref is not None}
    return Spec(REMAINING_ROWS, VERSION, subsample_identity(config), inputs)


def remaining_plan(
    config: SelectConfig,
    store: Store,
    instructions: Ref,
    heldout: Ref | None = None,
    duplicates: Ref | None = None,
) -> Plan:
    """Leave out the held-out rows and those that resemble them, and what is not subsampled.

    Output columns: INSTRUCTIONS, in the order of the data set. Counts and facts: those of the
    instructions; notes.
    """
    leaving = [ref for ref in (heldout, duplicates) if ref is not None]
    left = Once(lambda: pl.concat(ref.open(store).frame(["instruction_id"]) for ref in leaving))
    dataset = open_dataset(config) if config.subsample is not None else None

    def shard(rows: pl.DataFrame) -> ShardResult:
        kept = rows
        if leaving:
            kept = rows.join(left(), on="instruction_id", how="anti", maintain_order="left")
        if dataset is not None:
            kept = kept.filter(pl.Series(subsampled(config, dataset, kept), dtype=pl.Boolean))
        return ShardResult(check(kept, INSTRUCTIONS, REMAINING_ROWS))

    def facts() -> dict[str, Any]:
        notes = []
        if heldout is not None:
            notes = _notes(config, heldout.open(store).frame(["instruction_id", "prompt"]))
        for note in notes:
            log_warning(note)
        told = {name: instructions.facts[name] for name in ("instructions", "answers")}
        return told | {"counts": dict(instructions.counts)} | ({"notes": notes} if notes else {})

    return by_shard(instructions.open(store), shard, facts=facts)


REMAINING = Stage(
    REMAINING_ROWS,
    "Leave out the held-out rows, those that resemble them, and what is not subsampled.",
    remaining_spec,
    remaining_plan,
)


def _notes(config: SelectConfig, heldout: pl.DataFrame) -> list[str]:
    """Say how many entries of the list are in no row."""
    path = settings(config).file
    if path is None:
        return []
    listed = read_heldout(path)
    lost = len(listed.ids - set(heldout["instruction_id"]))
    lost += len(listed.prompts - set(heldout["prompt"]))
    return [f"heldout.file: {lost} of its {len(listed)} entries are in no row"] if lost else []


def expected(config: SelectConfig, instructions: Ref) -> Ref:
    """Return the reference to what remains of instructions, whether or not it is computed."""
    if config.heldout is None and config.subsample is None:
        return instructions
    heldout = duplicates = None
    if config.heldout is not None:
        heldout = expected_heldout(config, instructions)
        named = duplicates_spec(config, instructions, heldout)
        duplicates = Ref(stage=named.stage, key=named.key, rows=0)
    named = remaining_spec(config, instructions, heldout, duplicates)
    return Ref(stage=named.stage, key=named.key, rows=0)


def expected_heldout(config: SelectConfig, instructions: Ref) -> Ref:
    """Return the reference to the held-out rows, whether or not they are computed."""
    named = heldout_spec(config, instructions)
    return Ref(stage=named.stage, key=named.key, rows=0)

"""The long form of scores, one row per (instruction, model), pivoted to one row per instruction."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest.column_layout import ID_NAMES
from crowdselect_core.ingest.columns import expect, is_number, is_text
from crowdselect_core.ingest.memory import MemoryReader
from crowdselect_core.ingest.reader import Leaf, Reader
from crowdselect_core.tables import shown_field

PARTITION_ROWS = 1_000_000


@dataclass(frozen=True)
class WideScores:
    """The scores of a long table, one row per instruction.

    Columns: instruction_id, and per crowd model a struct whose fields are reward models; of a
    model with several samples their means, and beside each that of the first sample.
    """

    frame: pl.DataFrame
    id_name: str  # what the table calls the id


def pivot(reader: Reader, config: DatasetConfig, reward_models: Sequence[str]) -> MemoryReader:
    """Return a table with one struct column per crowd model, whose fields are reward models.

    The scores are held whole: 8 bytes each and the ids. Several samples of a model are averaged.

    Input columns: instruction_id (or uuid, id), model, score; optionally reward_model, sample.

    Raises:
        DatasetError: a column is missing or of a wrong type, or one (instruction, model,
            reward model, sample) has two different scores.
    """
    wide = widened(reader, config, reward_models)
    return MemoryReader(wide.frame.to_arrow(), reader.fingerprint(), reader.source(0))


def widened(
    reader: Reader,
    config: DatasetConfig,
    reward_models: Sequence[str],
    *,
    first_samples: bool = False,
) -> WideScores:
    """Return the scores of a long table as `pivot` does.

    Args:
        reader: the table.
        config: what its columns are called.
        reward_models: those of the run; where the table names none, its scores are the first's.
        first_samples: whether to add each score's first sample, as `shown_field` names it.
    """
    names = reader.schema().names
    id_name = config.columns.get("instruction_id") or next((n for n in ID_NAMES if n in names), "")
    if id_name not in names:
        raise DatasetError(
            f"{config.path}: a long table of scores needs an id column ({shown(ID_NAMES)})"
            f"{nearest(id_name or 'instruction_id', names)}; found {shown(names)}"
        )
    optional = [n for n in ("reward_model", "sample", "head") if n in names]
    frame = _read(reader, [id_name, "model", "score", *optional], config.path)
    frame = frame.rename({id_name: "instruction_id"})
    if "reward_model" not in names:
        if len(reward_models) > 1:
            raise DatasetError(
                f"{config.path}: has no column 'reward_model', so it holds one reward model, but "
                f"{len(reward_models)} are named ({shown(reward_models)}); name one"
            )
        name = reward_models[0] if reward_models else "score"
        frame = frame.with_columns(reward_model=pl.lit(name))
    if "sample" not in names:
        frame = frame.with_columns(sample=pl.lit(0))
    if "head" in names:  # of several heads the main one comes first
        main = pl.col("head").first().over("reward_model")
        frame = frame.filter(pl.col("head").eq_missing(main)).drop("head")
    checked = _checked(frame, reader)
    wide = _widen(checked)
    if first_samples and frame["sample"].n_unique() > 1:
        first = frame.sort("sample", maintain_order=True).unique(
            ["instruction_id", "model", "reward_model"], keep="first", maintain_order=True
        )
        shown_name = pl.col("reward_model").map_elements(shown_field, return_dtype=pl.String)
        wide = _widen(pl.concat([checked, first.select(checked.columns).with_columns(
            reward_model=shown_name)]))  # fmt: skip
    return WideScores(wide, id_name)


def _read(reader: Reader, columns: list[str], where: str) -> pl.DataFrame:
    leaves = [Leaf(c) for c in columns]
    for leaf in leaves[1:2]:
        expect(reader.schema(), leaf, where, "text", is_text)
    expect(reader.schema(), Leaf("score"), where, "numbers", is_number)
    frames = [
        pl.DataFrame({leaf.column: pl.Series(leaf.column, batch.arrays[leaf]) for leaf in leaves})
        for part in reader.partitions(PARTITION_ROWS)
        for batch in reader.read(part, leaves)
    ]
    if not frames:
        raise DatasetError(f"{where}: has no rows; expected instruction_id, model, score")
    frame = pl.concat(frames, how="vertical_relaxed")
    return frame.with_columns(
        pl.col(columns[0]).cast(pl.String),
        pl.col("model").cast(pl.String),
        pl.col("score").cast(pl.Float64),
        *(pl.col(c).cast(pl.String) for c in columns if c in ("reward_model", "head")),
    )


def _checked(frame: pl.DataFrame, reader: Reader) -> pl.DataFrame:
    """Return the frame with one row per (instruction, model, reward model), samples averaged."""
    one = ["instruction_id", "model", "reward_model"]
    for name in one:
        if frame[name].null_count():
            row = int(frame[name].is_null().arg_max() or 0)
            raise DatasetError(
                f"{reader.place(row)}: has no {name}; every score needs it: fill it in"
            )
    distinct = frame.unique(maintain_order=True)
    clash = distinct.filter(distinct.select([*one, "sample"]).is_duplicated())
    if clash.height:
        first = clash.row(0, named=True)
        raise DatasetError(
            f"{reader.source(0)}: {first['instruction_id'][:80]!r} has two different scores "
            f"for the model {first['model']!r}; keep one, or number them in a column 'sample'"
        )
    finite = pl.col("score").is_finite()
    mean = pl.col("score").filter(finite).sort().mean()  # sorted: row order changes no bit
    return distinct.group_by(one, maintain_order=True).agg(mean)


def _widen(frame: pl.DataFrame) -> pl.DataFrame:
    wide = frame.select("instruction_id").unique(maintain_order=True)
    for model in frame["model"].unique().sort():
        rows = frame.filter(pl.col("model") == model)
        fields = rows.pivot(on="reward_model", index="instruction_id", values="score")
        names = [c for c in fields.columns if c != "instruction_id"]
        packed = fields.select("instruction_id", pl.struct(names).alias(model))
        wide = wide.join(packed, on="instruction_id", how="left", maintain_order="left")
    return wide

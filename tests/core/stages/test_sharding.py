"""The files of a selection: the same bytes whatever the shards, and those that they always were.

The sums below are those of the files before stages worked on columns: of train.jsonl, and of the
tables as JSON, so that they outlive a new version of a parquet writer.
"""

import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import Chosen, choose
from little import KEYS, NAMES, REWARD, parquet, rows

from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.selection import placement

TIED, EMPTY, UNSCORED = slice(0, None, 7), slice(4, None, 13), slice(5, None, 17)


def zoo(folder: Path) -> Path:
    """Write a zoo with equal scores, rows without a prompt or a score, a repeated row, vectors."""
    rng, table = random.Random(5), rows(90, seed=3)
    for one in table[TIED]:
        for number, name in enumerate(NAMES):
            one[name][REWARD] = float(number)
    for one in table[EMPTY]:
        one["instruction"] = ""
    for one in table[UNSCORED]:
        for name in NAMES:
            one[name][REWARD] = None
    for one in table:
        one["uuid"] = f"{rng.randrange(16**6):06x}"
    table.append(dict(table[3]))
    vectors = [[rng.gauss(number % 5, 0.3) for _ in range(4)] for number in range(90)]
    vectors.append(vectors[3])
    path = parquet(folder / "zoo.parquet", table)
    whole = pq.read_table(path).append_column(
        "vector", pa.array(vectors, pa.list_(pa.float32(), 4))
    )
    pq.write_table(whole, path, row_group_size=11)
    return path


def summed(found: Chosen) -> dict[str, str]:
    """Return the sums of what a selection wrote."""
    ranking = found.ranking.drop("reason")
    told = {
        "train.jsonl": (found.out / "train.jsonl").read_bytes(),
        "selection": found.selection.write_json().encode(),
        "ranking": ranking.write_json().encode(),
        "comparison": found.stored("comparison").write_json().encode(),
    }
    return {name: sha256(data).hexdigest()[:16] for name, data in told.items()}


CASES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "clusters": (
        {"clusters": 4, "budget": 20, "embedder": "column:vector"},
        {
            "train.jsonl": "1bedc1c1ef1d4921",
            "selection": "e179bf83dc3ee276",
            "ranking": "d09bcb5ebc842be8",
            "comparison": "02febc35a4c6f4a9",
        },
    ),
    "stability": (
        {"clusters": 0, "budget": 0.3, "method": "stability", "direction": "bottom"},
        {
            "train.jsonl": "402623b1019c8361",
            "selection": "6d5d21ec42f3c14b",
            "ranking": "030e27f68c616306",
            "comparison": "21d0160b91535e87",
        },
    ),
    "random": (
        {"clusters": 3, "budget": 9, "method": "random", "embedder": "column:vector"},
        {
            "train.jsonl": "631607619dfc97ae",
            "selection": "c87d2fe3aef5cb0f",
            "ranking": "b1eb4a509feb65c2",
            "comparison": "927e8bd69b8e1773",
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_files_are_the_same_whatever_the_shards(case: str, tmp_path: Path) -> None:
    keys, expected = CASES[case]
    keys = KEYS | {"dataset": str(zoo(tmp_path))} | keys
    one, other = (choose(tmp_path / str(n), **keys, shard_rows=n) for n in (8, 50_000))
    for name in ("train.jsonl", "selection.parquet", "ranking.parquet"):
        assert (one.out / name).read_bytes() == (other.out / name).read_bytes(), name
    assert summed(one) == expected


def test_blocks_are_the_table_and_reasons_are_told_where_somebody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows of each cluster are just missed here; the blocks of 16 rows are dealt out."""
    monkeypatch.setattr(placement, "JUST_MISSED", 2)
    keys, _ = CASES["clusters"]
    found = choose(tmp_path, **KEYS | {"dataset": str(zoo(tmp_path))} | keys | {"shard_rows": 8})
    explained = ExplainedRows(found.config, found.store, found.inputs)
    table = explained.table()
    blocks = list(explained.blocks(16))
    assert [block.height for block in blocks] == [16, 16, 16, 16, 16, 10]
    assert pl.concat(blocks).equals(table)
    assert table.equals(found.ranking)

    reason = pl.col("reason")
    assert table.filter("selected")["reason"].str.starts_with("chosen: rank ").all()
    refused = table.filter(~pl.col("eligible"))
    assert refused.height
    assert refused["reason"].str.starts_with("not eligible: ").all()
    left = table.filter(pl.col("eligible") & ~pl.col("selected"))
    told = left.with_columns(nth=pl.int_range(pl.len()).over("cluster_id"))
    assert (told["reason"].is_not_null() == (told["nth"] < 2)).all()
    assert told.drop_nulls("reason")["reason"].str.starts_with("not chosen: position ").all()
    assert left.filter(reason.is_null())["rank_in_cluster"].null_count() == 0
    [best, middle, last] = explained.at(explained.spread_of_others()).rows(named=True)
    assert best["instruction_id"] == left["instruction_id"][0]
    others = table.filter(~pl.col("selected"))
    assert middle["instruction_id"] == others["instruction_id"][others.height // 2]
    assert middle["reason"].startswith("not chosen: position ")
    assert last["instruction_id"] == others["instruction_id"][-1]

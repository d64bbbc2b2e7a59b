"""Lengths of kept answers: what an earlier table has is not read again."""

from pathlib import Path

import polars as pl
import pytest
from chain import choose
from little import KEYS, parquet, rows

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.stages.graph import LENGTHS
from crowdselect_core.stages.methods.kept_rows import KeptRowReader
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import ShardResult, single


def test_known_rows_keep_their_number_and_new_ones_are_counted(tmp_path: Path) -> None:
    path = parquet(tmp_path / "zoo.parquet", rows(12), row_group_size=4)
    first = choose(tmp_path, **KEYS | {"dataset": str(path), "budget": 2, "shard_rows": 4})
    assert first.inputs.lengths is not None
    whole = first.stored("lengths")
    known = whole.head(5).with_columns(tokens=pl.lit(1000, pl.Int64))  # tells what is read

    spec = Spec("lengths", 1, {"made": "by this test"}, {})
    made = build(first.store, spec, single(lambda: ShardResult(known)))
    given = (first.inputs.scores, first.inputs.metrics, first.inputs.answers)
    rest = LENGTHS.plan(first.config, first.store, *given, "response", None, [Ref.of(made)])
    found = pl.concat([rest.compute(index).frame for index in range(rest.total)])
    assert found["instruction_id"].to_list() == whole["instruction_id"].to_list()
    assert found["tokens"].to_list() == [1000] * 5 + whole["tokens"].to_list()[5:]
    assert LENGTHS.spec(first.config, *given, "response", None, [Ref.of(made)]) == LENGTHS.spec(
        first.config, *given, "response", None
    )


def test_rows_that_may_be_chosen_are_those_of_the_answers_shard_by_shard(tmp_path: Path) -> None:
    path = parquet(tmp_path / "zoo.parquet", rows(12), row_group_size=4)
    found = choose(tmp_path, **KEYS | {"dataset": str(path), "budget": 2, "shard_rows": 4})
    refs = found.inputs
    reader = KeptRowReader(found.config, found.store, refs.scores, refs.metrics, refs.answers)
    answers = found.stored("answers")
    expected = answers.filter(pl.col("answerable") & pl.col("barred").is_null())
    scores = refs.scores.open(found.store)
    shards = [scores.shard(i) for i in range(len(scores.manifest.shards))]
    assert len(shards) == 3
    for shards_in_order in (shards, shards[::-1]):
        kept = pl.concat([reader.fit(shard) for shard in shards_in_order])
        assert set(kept["instruction_id"]) == set(expected["instruction_id"])
    with pytest.raises(DamagedArtifact, match="not the rows of the scores"):
        reader.fit(shards[1][1:])

"""A copied shard has the table of another one, and tells of itself what is its own."""

from pathlib import Path

import polars as pl
import pytest

from crowdselect_core.store import safe_parquet
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardCopy, ShardResult, single

TABLE = pl.DataFrame({"id": [f"row {i}" for i in range(300)], "n": range(300)})


@pytest.mark.parametrize("note", ["", "short", "ü" * 400])  # lengths of one byte and of two
def test_a_copy_has_the_bytes_of_a_shard_that_is_encoded(tmp_path: Path, note: str) -> None:
    store, notes = Store(str(tmp_path)), [note] if note else []
    first = build(store, Spec("first", 1, {}), single(lambda: ShardResult(TABLE, {"a": 1})))
    data = first.bytes(0)
    copy = ShardCopy(data, 300, {"b": 2}, notes)
    copied = build(store, Spec("second", 1, {}), single(lambda: copy)).manifest
    anew = build(
        Store(str(tmp_path / "anew")),
        Spec("second", 1, {}),
        single(lambda: ShardResult(TABLE, {"b": 2}, notes)),
    )
    assert copied == anew.manifest
    assert copied.counts == {"b": 2}
    assert copy.frame.equals(TABLE)


def test_a_copy_is_finished_for_a_later_build(tmp_path: Path) -> None:
    store, spec = Store(str(tmp_path)), Spec("second", 1, {})
    first = build(store, Spec("first", 1, {}), single(lambda: ShardResult(TABLE)))
    made = build(store, spec, single(lambda: ShardCopy(first.bytes(0), 300))).manifest
    store.place.remove(f"{spec.folder}/manifest.json")

    def refused(_: int) -> ShardResult:
        raise AssertionError("it is there")

    plan = single(lambda: ShardResult(TABLE))
    again = build(store, spec, Plan(plan.total, refused, plan.cut))
    assert again.manifest == made


def test_a_file_that_tells_nothing_of_itself_is_no_shard(tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "table.parquet")
    data = (tmp_path / "table.parquet").read_bytes()
    with pytest.raises(safe_parquet.Unreadable, match="tells nothing of itself"):
        safe_parquet.with_metadata(data, "{}")

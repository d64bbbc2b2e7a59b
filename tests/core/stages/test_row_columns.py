"""Rows by their place: spans over shards, rows in any order, ids that are among others."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crowdselect_core.stages.row_columns import Members, RowReader, SparseRows, whole_numbers
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult

SIZES = [3, 0, 4, 1]
IDS = [f"row-{number}" for number in range(8)]


def stored(folder: Path, ids: list[str], sizes: list[int]) -> Artifact:
    """Store a table of ids and numbers, in shards of these sizes."""
    table = pl.DataFrame({"instruction_id": ids, "n": [10 * int(i[-1]) for i in ids]})
    ends = np.cumsum([0, *sizes])

    def part(index: int) -> ShardResult:
        return ShardResult(table[int(ends[index]) : int(ends[index + 1])])

    spec = Spec("little", 1, {"ids": ids}, {})
    return build(Store(str(folder)), spec, Plan(len(sizes), part, {"sizes": sizes}))


@pytest.mark.parametrize(("start", "end"), [(0, 8), (2, 5), (3, 3), (7, 8), (0, 3), (4, 7)])
def test_a_span_is_what_a_slice_of_the_whole_is(tmp_path: Path, start: int, end: int) -> None:
    reader = RowReader(stored(tmp_path, IDS, SIZES), ["instruction_id"])
    assert reader.rows == 8
    assert reader.span(start, end)["instruction_id"].to_list() == IDS[start:end]


def test_rows_are_gathered_in_the_order_that_they_are_asked_for(tmp_path: Path) -> None:
    artifact = stored(tmp_path, IDS, SIZES)
    found = RowReader(artifact).gather(np.array([6, 0, 7, 2, 6]))
    assert found["n"].to_list() == [60, 0, 70, 20, 60]
    assert RowReader(artifact).gather(np.array([], dtype=np.int64)).is_empty()
    assert whole_numbers(artifact, "n").tolist() == [0, 10, 20, 30, 40, 50, 60, 70]


def test_members() -> None:
    members = Members(pl.Series(["b", "d", "a"]))
    assert members.among(pl.Series(["a", "c", "d", "e", "b"])).tolist() == [1, 0, 1, 0, 1]
    nothing = pl.Series([], dtype=pl.String)
    assert Members(nothing).among(pl.Series(["a"])).tolist() == [False]
    assert members.among(nothing).tolist() == []


@pytest.mark.parametrize("order", [[1, 2, 6], [6, 1, 2]])
def test_numbers_of_some_rows_are_found_in_order_and_out_of_it(
    tmp_path: Path, order: list[int]
) -> None:
    numbers = SparseRows(stored(tmp_path, [IDS[i] for i in order], [2, 1]), "n")
    found = [numbers.of(pl.Series(IDS[start : start + 3])) for start in (0, 3, 6)]
    expected = [np.nan, 10, 20, np.nan, np.nan, np.nan, 60, np.nan]
    np.testing.assert_array_equal(np.concatenate(found), expected)

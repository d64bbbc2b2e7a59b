"""Rows found in earlier tables by their ids: beside the last ones, by their hashes, or not."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crowdselect_core.stages import known_rows
from crowdselect_core.stages.known_rows import KnownRows
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult


def stored(folder: Path, name: str, shards: Sequence[str]) -> Artifact:
    """Store a table of ids, a letter each, with their code points, a shard for each word."""
    frames = [pl.DataFrame({"n": [ord(i) for i in s], "instruction_id": list(s)}) for s in shards]
    schema = {"n": pl.Int64, "instruction_id": pl.String}
    plan = Plan(len(frames), lambda i: ShardResult(frames[i].cast(schema)), cut={})
    return build(Store(str(folder)), Spec("letters", 1, {"name": name}), plan)


@pytest.fixture
def tables(tmp_path: Path) -> list[Artifact]:
    return [stored(tmp_path, "old", ["abc", "", "defg"]), stored(tmp_path, "new", ["hi"])]


@pytest.fixture(params=["hashes", "collisions"])
def hashed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ids have their own hashes, or all of them one of two."""
    if request.param == "collisions":
        code = np.frompyfunc(lambda i: ord(i) % 2, 1, 1)
        monkeypatch.setattr(
            known_rows, "hashes_of", lambda ids: code(ids.to_numpy()).astype(np.uint64)
        )


@pytest.mark.usefixtures("hashed")
@pytest.mark.parametrize(
    ("today", "first", "expected"),
    [
        ("abc", 0, [0, 1, 2]),
        ("fghi", 5, [5, 6, 7, 8]),  # over the border of two tables
        ("cdx", 40, [2, 3, -1]),
        ("ihgfedcba", 0, [8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("xaybz", 3, [-1, 0, -1, 1, -1]),
        ("xyz", 0, [-1, -1, -1]),
        ("", 4, []),
    ],
)
def test_every_row_is_found_wherever_it_stands(
    tables: list[Artifact], today: str, first: int, expected: list[int]
) -> None:
    ids = pl.Series(list(today), dtype=pl.String)
    assert KnownRows(tables).places(ids, first).tolist() == expected
    found = KnownRows(tables).rows(ids, first)
    known = [i for i, place in zip(today, expected, strict=True) if place >= 0]
    assert found["instruction_id"].to_list() == known
    assert found["n"].to_list() == [ord(i) for i in known]
    assert found.columns == ["n", "instruction_id"]


def test_rows_that_moved_together_are_looked_up_once(
    tables: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    real = known_rows.hashes_of

    def counted(ids: pl.Series) -> np.ndarray:
        asked.append(ids.to_list())
        return real(ids)

    monkeypatch.setattr(known_rows, "hashes_of", counted)
    known = KnownRows(tables, ["instruction_id"])

    def places(today: str, first: int) -> list[int]:
        return known.places(pl.Series(list(today)), first).tolist()

    assert places("abc", 0) == [0, 1, 2]
    assert not asked  # they stand where they stood: nothing is read but these rows
    assert places("xde", 3) == [-1, 3, 4]
    assert asked.pop() == ["x", "d", "e"]
    asked.clear()  # those of the tables
    assert places("fg", 6) == [5, 6]  # one further on, as those before them
    assert places("hi", 8) == [7, 8]
    assert not asked


def test_nothing_is_known_of_no_table(tmp_path: Path) -> None:
    empty = stored(tmp_path, "empty", [""])
    assert KnownRows([empty]).places(pl.Series(["a"]), 0).tolist() == [-1]
    assert KnownRows([empty]).rows(pl.Series(["a"]), 0).is_empty()

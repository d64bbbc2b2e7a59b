"""Ids: whatever they hold, each stands for one row; content stands in where there are none."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import choose
from little import KEYS, NAMES, REWARD, SCHEMA, Row, jsonl, parquet, row, rows

from crowdselect_core.errors import DatasetError

STRANGE = [
    "a/b/../../etc/passwd", "line\nbreak", "carriage\r\nreturn", "tab\t", "nul\x00byte", "🦙" * 9,
    "x" * 10_000, "<script>alert(1)</script>", "'; DROP TABLE rows; --", " ", "", "null", "NaN",
    "-1", "٣", "e\u0301", "\u00e9", "\u202egnol", "a|b", "`tick`", "{}", "%s", "..", "C:\\x",
]  # fmt: skip
SCORES = [1.0, 2.0, 3.0, 4.0]


def with_ids(ids: list[Any]) -> list[Row]:
    return [row(i, [i, 2, 3, 4]) | {"uuid": one} for i, one in enumerate(ids)]


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_strange_ids_come_out_as_they_went_in(container: str, tmp_path: Path) -> None:
    path = tmp_path / f"zoo.{container}"
    (parquet if container == "parquet" else jsonl)(path, with_ids(STRANGE))
    chosen = choose(tmp_path, dataset=str(path), shard_rows=5, **KEYS | {"budget": 1.0})
    assert sorted(chosen.ids) == sorted(STRANGE)
    assert sorted(chosen.ranking["instruction_id"]) == sorted(STRANGE)
    kept = dict(chosen.selection.select("instruction_id", "response").iter_rows())
    assert kept == {one: f"bee-2.5b on {i}" if i < 4 else f"ant-1b on {i}"
                    for i, one in enumerate(STRANGE)}  # fmt: skip


def test_ids_never_name_a_file(tmp_path: Path) -> None:
    choose(tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", with_ids(STRANGE))), **KEYS)
    names = [p.name for p in tmp_path.rglob("*")]
    assert not any("passwd" in n or "script" in n or "🦙" in n for n in names)


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_whole_numbers_are_ids_by_their_digits(container: str, tmp_path: Path) -> None:
    table = with_ids([3, 20, 100, -7])
    path = tmp_path / f"zoo.{container}"
    if container == "parquet":
        parquet(path, table, SCHEMA.set(0, pa.field("uuid", pa.int32())))
    else:
        jsonl(path, table)
    chosen = choose(tmp_path, dataset=str(path), **KEYS | {"budget": 4})
    assert sorted(chosen.ids) == ["-7", "100", "20", "3"]


@pytest.mark.parametrize("name", ["instruction_id", "uuid", "id"])
def test_the_usual_names_of_an_id_column(name: str, tmp_path: Path) -> None:
    table = [{name: f"i{i}", **{k: v for k, v in one.items() if k != "uuid"}}
             for i, one in enumerate(rows(8))]  # fmt: skip
    chosen = choose(tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)), **KEYS)
    assert all(i.startswith("i") for i in chosen.ids)


def test_without_ids_the_content_is_the_id(tmp_path: Path) -> None:
    """32 hex digits of sha256 over the canonical JSON of the messages, wherever the row stands."""
    table = [{k: v for k, v in one.items() if k != "uuid"} for one in rows(12)]
    one = choose(tmp_path / "1", dataset=str(jsonl(tmp_path / "1.jsonl", table)), **KEYS)
    two = choose(tmp_path / "2", dataset=str(jsonl(tmp_path / "2.jsonl", table[::-1])), **KEYS)
    assert one.ids == two.ids
    # printf '[{"content":"Question 0?","role":"user"}]' | sha256sum
    first = one.stored("instructions")["instruction_id"][0]
    assert first == "d3294c7911754dc93d8b433a834cd194"
    assert all(len(i) == 32 and set(i) <= set("0123456789abcdef") for i in one.ids)
    same_question = [table[0], {**table[1], "instruction": table[0]["instruction"]}, *table[2:]]
    with pytest.raises(DatasetError) as caught:
        choose(tmp_path / "3", dataset=str(jsonl(tmp_path / "3.jsonl", same_question)), **KEYS)
    assert (
        "line 1 and line 2: the same prompt ('Question 0?') stands on both with different content "
        "in ant-1b, ant-7b, bee-0.5b, bee-2.5b (1 such prompt(s))"
    ) in str(caught.value)


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_a_row_without_an_id_is_named(container: str, tmp_path: Path) -> None:
    table = rows(9)
    table[6]["uuid"] = None
    path = tmp_path / f"zoo.{container}"
    (parquet if container == "parquet" else jsonl)(path, table)
    with pytest.raises(DatasetError) as caught:
        choose(tmp_path, dataset=str(path), **KEYS)
    place = {"parquet": "row", "jsonl": "line"}[container]
    assert f"zoo.{container}, {place} 7: has no id; fill it in" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
@pytest.mark.parametrize("columns", [{}, {"instruction_id": "uuid"}])
def test_a_column_without_any_id_is_none(
    columns: dict[str, str], container: str, tmp_path: Path
) -> None:
    """The ids are those of the same rows without the column, or of the next usual column."""
    table = [{**one, "uuid": None} for one in rows(9)]
    path = tmp_path / f"zoo.{container}"
    (parquet if container == "parquet" else jsonl)(path, table)
    chosen = choose(tmp_path / "1", dataset={"path": str(path), "columns": columns}, **KEYS)
    bare = [{k: v for k, v in one.items() if k != "uuid"} for one in table]
    without = choose(tmp_path / "2", dataset=str(jsonl(tmp_path / "2.jsonl", bare)), **KEYS)
    assert chosen.ids == without.ids
    other = [one | {"id": f"own-{i}"} for i, one in enumerate(table)]
    named = choose(tmp_path / "3", dataset=str(jsonl(tmp_path / "3.jsonl", other)), **KEYS)
    assert all(i.startswith("own-") for i in named.ids)


@pytest.mark.parametrize("container", ["parquet", "parquet parts", "jsonl"])
def test_the_same_row_twice_is_one_row(container: str, tmp_path: Path) -> None:
    """Rows 2 and 5 come again, row 2 twice; one copy has NaN where its other one has too."""
    table = rows(12)
    table[5]["ant-1b"][REWARD] = float("nan")
    twice = [*table[:7], table[2], *table[7:], table[5], table[2]]
    if container == "parquet parts":
        parquet(tmp_path / "zoo" / "1.parquet", twice[:7], row_group_size=3)
        parquet(tmp_path / "zoo" / "2.parquet", twice[7:], row_group_size=2)
        path = tmp_path / "zoo"
    else:
        path = tmp_path / f"zoo.{container}"
        (parquet if container == "parquet" else jsonl)(path, twice)
    chosen = choose(tmp_path, dataset=str(path), shard_rows=4, **KEYS)
    assert chosen.manifest["summary"]["rows_in"] == 15
    assert chosen.manifest["summary"]["duplicate_rows"] == 3
    stored = chosen.stored("instructions")
    assert stored["instruction_id"].to_list() == [one["uuid"] for one in table]
    assert stored["source_row"].to_list() == [*range(7), *range(8, 13)]
    once = choose(tmp_path / "1", dataset=str(jsonl(tmp_path / "1.jsonl", table)), **KEYS)
    assert chosen.ranking.equals(once.ranking)
    assert (chosen.out / "train.jsonl").read_bytes() == (once.out / "train.jsonl").read_bytes()


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
@pytest.mark.parametrize("what", ["answer", "null answer", "score", "missing score", "instruction"])
def test_one_id_with_different_content_is_refused(
    what: str, container: str, tmp_path: Path
) -> None:
    table = rows(12)
    table[4] = row(4, SCORES)
    again = json.loads(json.dumps(table[4]))
    if what == "instruction":
        again["instruction"] += " "
    elif "answer" in what:
        again["bee-2.5b"]["content"] = None if "null" in what else "another"
    else:
        again["bee-2.5b"][REWARD] = None if "missing" in what else 4.0000000001
    path = tmp_path / f"zoo.{container}"
    (parquet if container == "parquet" else jsonl)(path, [*table, again])
    with pytest.raises(DatasetError) as caught:
        choose(tmp_path, dataset=str(path), shard_rows=5, **KEYS)
    place = {"parquet": "row", "jsonl": "line"}[container]
    column = "instruction" if what == "instruction" else "bee-2.5b"
    assert (
        f"zoo.{container}, {place} 5 and {place} 13: the id row-004 stands on both with different "
        f"content in {column} (1 such id(s))"
    ) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_long_hostile_id_makes_a_short_message(tmp_path: Path) -> None:
    table = with_ids(["\n\x1b[31m" + "x" * 9999] * 2)
    table[1]["instruction"] = "another"
    with pytest.raises(DatasetError) as caught:
        choose(tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)), **KEYS)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400


def test_ids_of_all_kinds_reach_the_tables_as_text(tmp_path: Path) -> None:
    """A dictionary of ids, as some writers make of a column."""
    table = pa.Table.from_pylist(rows(6), schema=SCHEMA)
    table = table.set_column(0, "uuid", table.column(0).dictionary_encode())
    pq.write_table(table, tmp_path / "zoo.parquet")
    chosen = choose(tmp_path, dataset=str(tmp_path / "zoo.parquet"), **KEYS | {"budget": 2})
    assert chosen.selection["instruction_id"].dtype == pl.String
    assert chosen.selection.columns[1] == "instruction_id"
    assert set(NAMES) >= set(chosen.selection["response_model"])

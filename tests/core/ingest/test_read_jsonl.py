"""JSON Lines: what each value may be, where a bad line is, and what is not looked at."""

import json
from pathlib import Path
from typing import Any

import pytest
from chain import choose
from little import KEYS, NAMES, REWARD, jsonl, row, rows

from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest import jsonl as json_lines
from crowdselect_core.ingest.jsonl import JsonLinesReader
from crowdselect_core.ingest.listing import list_files
from crowdselect_core.ingest.reader import Leaf
from crowdselect_core.tables import score_column


def refusal(tmp_path: Path, text: str | bytes, **keys: Any) -> str:
    """Return the one line with which a file is refused."""
    path = tmp_path / "zoo.jsonl"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DatasetError) as caught:
        choose(tmp_path, dataset=str(path), **KEYS | keys)
    assert not (tmp_path / "out").exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def line(**changes: Any) -> str:
    return json.dumps({**row(1, [1, 2, 3, 4]), **changes})


def test_a_field_that_first_appears_in_a_late_line(tmp_path: Path) -> None:
    """Scores of one model, and an answer, come up after 1,500 lines without them."""
    table = rows(1505)
    for number, one in enumerate(table):
        if number < 1500:
            del one["bee-2.5b"]
            for name in NAMES[:3]:
                one[name]["content"] = None
    for one in table[1500:]:
        for place, name in enumerate(NAMES):
            one[name] = {"content": "late", REWARD: float(place)}
    chosen = choose(
        tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)), **KEYS | {"budget": 1.0}
    )
    assert sorted(chosen.ids) == [f"row-{i}" for i in range(1500, 1505)]
    assert set(chosen.selection["response_model"]) == {"bee-2.5b"}


def test_whole_and_broken_numbers_mix(tmp_path: Path) -> None:
    """1 in one line and 1.5 in the next; 2**60 loses its last digits as any float does."""
    table = [row(1, [1, 2, 3, 2**60 + 1]), row(2, [1.5, 0, -1, 2]), row(3, [0, 1, 1, 1])]
    chosen = choose(
        tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)), **KEYS | {"budget": 3}
    )
    assert sorted(chosen.ids) == ["row-001", "row-002", "row-003"]
    last = chosen.stored("scores")[score_column(REWARD, "bee-2.5b")]
    assert last.to_list() == [2.0**60, 2.0, 1.0]


def test_columns_of_no_interest_may_hold_anything(tmp_path: Path) -> None:
    """Mixed types, lists, objects: not needed, so not refused; and repeats are still found."""
    extras: list[Any] = [1, "text", None, [1, "a"], {"a": [{}]}, {}, True, [], [[1.0]], 10**30]
    table = [row(i, [i, 2, 3, 4]) | {"meta": e} for i, e in enumerate(extras)]
    table[0]["ant-1b"]["note"] = "x"
    table[1]["ant-1b"]["note"] = 5
    twice = [*table, *table[::-1]]
    chosen = choose(
        tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", twice)), **KEYS | {"budget": 1.0}
    )
    assert chosen.inputs.instructions.counts == {"rows_in": 20, "duplicate_rows": 10}
    twice[16] = twice[16] | {"meta": [1, "b"]}
    with pytest.raises(DatasetError, match=r"line 4 and line 17: the id row-003 stands .* in meta"):
        choose(tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", twice)), **KEYS)


def test_a_row_repeats_in_another_batch_whose_rows_have_more_fields(tmp_path: Path) -> None:
    """The second copy stands among rows with a field that the first copy's have not."""
    table = rows(1100)
    for one in table[1050:]:
        one["ant-1b"]["note"] = "late"
    table.append(dict(table[0]))
    chosen = choose(
        tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)), **KEYS | {"budget": 3}
    )
    assert chosen.inputs.instructions.counts == {"rows_in": 1101, "duplicate_rows": 1}


@pytest.mark.parametrize("rows_a_shard", [1, 999, 1000, 1001, 2500, 10**6])
def test_partitions_start_where_lines_do(rows_a_shard: int, tmp_path: Path) -> None:
    text = "".join("\n" * (i % 3) + json.dumps({"id": i, "x": "é" * (i % 7)}) + "\r\n"
                   for i in range(3210))  # fmt: skip
    (tmp_path / "a.jsonl").write_bytes(text.encode())
    (tmp_path / "b.jsonl").write_bytes(b'{"id": 3210, "x": null}')  # no newline at its end
    reader = JsonLinesReader(list_files(str(tmp_path), {}).files)
    seen = []
    for part in reader.partitions(rows_a_shard):
        ids = [i for b in reader.read(part, [Leaf("id")]) for i in b.arrays[Leaf("id")].to_pylist()]
        assert ids == list(range(part.first_row, part.first_row + part.rows))
        seen += ids
    assert seen == list(range(3211))


def test_line_separators_inside_texts_end_no_line(tmp_path: Path) -> None:
    odd = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\rh\ti"
    path = tmp_path / "z.jsonl"
    one = {**row(1, [1, 2, 3, 4], instruction=odd)}
    path.write_text(json.dumps(one, ensure_ascii=False) + "\n", "utf-8", newline="")
    chosen = choose(tmp_path, dataset=str(path), **KEYS | {"budget": 1})
    assert chosen.lines("train.jsonl")[0]["messages"][0]["content"] == odd


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, f'{line()}\n\n{{"uuid": "x",\n')
    assert "zoo.jsonl, line 3: is no JSON" in message
    assert "correct or remove the line" in message
    message = refusal(tmp_path, line() + "\n[1]")
    assert "line 2: holds a list, expected one object a line (a JSON array is read where" in message
    assert "line 1: holds text, expected one" in refusal(tmp_path, '"text"\n')
    assert "line 1: holds null, expected one" in refusal(tmp_path, "null\n")
    assert "line 1: element 1 is '[[" in refusal(tmp_path, "[" * 100_000)
    assert "line 1: is no JSON that can be" in refusal(tmp_path, '{"a": ' * 100_000)
    assert "from character 7 on: \"'a'}\"" in refusal(tmp_path, "{\"a\": 'a'}")
    assert "it ends before its object does, and may be cut off" in refusal(tmp_path, line()[:-9])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"instruction": 5}, "'instruction' holds a number in line 1, expected text"),
        ({"uuid": 1.5}, "'uuid' holds a decimal number in line 1, expected text or"),
        ({"uuid": ["a"]}, "'uuid' holds a list in line 1, expected text or whole numbers"),
        ({"ant-1b": {"content": 1, REWARD: 1}}, "'ant-1b.content' holds a number in line 1"),
        ({"ant-1b": {"content": "", REWARD: "high"}},
         f"'ant-1b.{REWARD}' holds text in line 1, expected numbers"),
        ({"ant-1b": {"content": "", REWARD: [1]}}, f"'ant-1b.{REWARD}' holds a list in"),
        ({"ant-1b": 5}, "column 'ant-1b' holds a number in line 1, expected a"),
        ({"ant-1b": {}}, "column 'ant-1b' holds an object in line 1, expected a struct with"),
    ],
)  # fmt: skip
def test_a_column_of_a_wrong_type_is_named(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    assert told in refusal(tmp_path, line(**change))


def test_mixed_types_name_their_lines(tmp_path: Path) -> None:
    """2,000 good lines, then one whose score is text: found before any work is done."""
    good = "".join(json.dumps(r) + "\n" for r in rows(2000))
    bad = line(uuid="x", **{"ant-7b": {"content": "a", REWARD: "7.5"}})
    message = refusal(tmp_path, good + bad)
    assert f"'ant-7b.{REWARD}' holds a number in line 1, text in line 2001" in message
    assert "expected numbers" in message
    bad = line(uuid="x", **{"ant-7b": "an answer without its object"})
    message = refusal(tmp_path, good + bad)
    assert "column 'ant-7b' holds an object in line 1, text in line 2001, expected" in message
    message = refusal(tmp_path, good + line(uuid=7))
    assert "'uuid' holds text in line 1, a number in line 2001" in message


def test_a_lone_surrogate_is_told(tmp_path: Path) -> None:
    """JSON can escape half a character; no UTF-8 file can hold it."""
    message = refusal(tmp_path, line(instruction="half \ud83d of it"), budget=1)
    assert "column 'instruction' holds text with half a character (a lone surrogate) in" in message
    assert "in line 1, expected text" in message


def test_an_id_above_64_bits_is_told(tmp_path: Path) -> None:
    message = refusal(tmp_path, line(uuid=2**63))
    assert "line 1: column 'uuid' holds broken text or a number out of range" in message


def test_ids_of_which_one_is_no_whole_number_name_its_line(tmp_path: Path) -> None:
    table = "".join(line(uuid=i) + "\n" for i in (1, 2, 2.5))
    message = refusal(tmp_path, table)
    assert "'uuid' holds a number in line 1, a decimal number in line 3" in message


class Cleared(dict[Any, Any]):
    """Scans that another thread clears at once, since it has others to keep."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.clear()


def test_a_scan_is_used_although_another_thread_clears_those_that_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "_SCANS", Cleared())
    path = jsonl(tmp_path / "zoo.jsonl", rows(30))
    reader = JsonLinesReader(list_files(str(path), {}).files)
    assert [part.rows for part in reader.partitions(1000)] == [30]

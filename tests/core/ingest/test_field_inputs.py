"""Inputs as users have them: what must come out of each of the shared ones."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from chain import Chosen, choose

from crowdselect_core.errors import DatasetError

FIELD = Path(__file__).parents[4] / "shared" / "data" / "field"
pytestmark = pytest.mark.skipif(not FIELD.exists(), reason="../shared/data/field is absent")


def chosen(tmp_path: Path, path: str, **keys: Any) -> Chosen:
    """Choose every row of one of the inputs."""
    crowd = yaml.safe_load((FIELD / "crowd.yaml").read_text())
    return choose(tmp_path, dataset={"path": str(FIELD / path)} | keys, budget=1.0, **crowd)


def refused(tmp_path: Path, path: str, **keys: Any) -> str:
    """Return the one line with which an input is refused."""
    with pytest.raises(DatasetError) as caught:
        chosen(tmp_path, path, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def source(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIELD / path).read_text().splitlines()]


def asked(one: Chosen) -> dict[str, list[dict[str, str]]]:
    """The prompt of every chosen row, by its id."""
    rows = one.selection.select("instruction_id", "messages").iter_rows()
    return {i: turns[:-1] for i, turns in rows}


def reasons(one: Chosen) -> dict[str, str]:
    """Why rows are not eligible, by id."""
    return dict(one.ranking.filter(~pl.col("eligible")).select("instruction_id", "reason").rows())


@pytest.mark.parametrize("odd", ["one_list", "one_number"])
def test_1_an_odd_input_changes_no_other_row(tmp_path: Path, odd: str) -> None:
    good = asked(chosen(tmp_path / "good", "alpaca_input/good.jsonl"))
    rows = source(f"alpaca_input/{odd}.jsonl")
    bad = {r["id"] for r in rows if not isinstance(r.get("input"), str | None)}
    one = chosen(tmp_path / "odd", f"alpaca_input/{odd}.jsonl")
    assert len(bad) == 1
    assert asked(one) == {i: turns for i, turns in good.items() if i not in bad}
    assert reasons(one).keys() == bad
    assert all("bad_messages: the row's input is" in r for r in reasons(one).values())


def test_2_messages_as_text_in_one_row(tmp_path: Path) -> None:
    """JSON text that holds turns is read as these."""
    good = asked(chosen(tmp_path / "good", "messages_as_text/good.jsonl"))
    odd = source("messages_as_text/one_string.jsonl")
    texts = {r["id"]: r["messages"] for r in odd if isinstance(r["messages"], str)}
    one = chosen(tmp_path / "odd", "messages_as_text/one_string.jsonl")
    assert len(texts) == 1
    for row_id, text in texts.items():
        try:
            turns = json.loads(text)
        except ValueError:
            assert "bad_messages" in reasons(one)[row_id]
            good.pop(row_id)
        else:
            assert asked(one)[row_id] == [t for t in turns if t["role"] != "assistant"]
    assert asked(one) == good


@pytest.mark.parametrize("folder", ["folder_gz", "mixed_schema"])
def test_3_14_every_file_is_read(tmp_path: Path, folder: str) -> None:
    one = chosen(tmp_path, folder)
    assert one.inputs.instructions.rows == 20
    assert sorted(one.ids) == [f"r{i:02d}" for i in range(20)]


def test_4_data_in_subfolders_is_not_passed_over(tmp_path: Path) -> None:
    told = refused(tmp_path, "folder_subfolders")
    assert "day=2/b.parquet" in told
    assert "folder_subfolders/**/*.parquet" in told
    assert chosen(tmp_path, "folder_subfolders/**/*.parquet").inputs.instructions.rows == 20


def test_5_temporary_folders_are_no_data(tmp_path: Path) -> None:
    one = chosen(tmp_path, "glob_temporary/**/*.parquet")
    assert sorted(one.ids) == [f"r{i:02d}" for i in range(16)]
    assert chosen(tmp_path / "own", "glob_temporary/_temporary/**/*.parquet").ids  # asked for


def test_6_split_chooses_files(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("test", 10)):
        one = chosen(tmp_path / split, "folder_splits/f", split=split)
        assert sorted(one.ids) == [f"r{i:02d}" for i in range(first, first + 10)]
    told = refused(tmp_path, "folder_splits/f", split="tset")
    assert "has no split 'tset', did you mean 'test'?" in told


@pytest.mark.parametrize("word", ["length", "MAX_TOKENS", "error"])
def test_7_a_cut_or_failed_answer_is_never_kept(tmp_path: Path, word: str) -> None:
    one = chosen(tmp_path, f"finish_reason/{word}.jsonl")
    assert one.selection.height == 12
    texts = " ".join(one.selection["response"].to_list())
    assert "cut in the mid" not in texts


@pytest.mark.parametrize("name", ["zoo", "sharegpt"])
def test_8_every_refused_row_has_its_own_reason(tmp_path: Path, name: str) -> None:
    one = chosen(tmp_path, f"odd_turns/{name}.jsonl")
    told = reasons(one)
    assert told
    assert len(told) + one.selection.height == 20
    assert all("bad_messages: " in r or "no instruction text" in r for r in told.values())
    counted: dict[str, int] = one.manifest["summary"]["ineligible"]
    assert sum(counted.values()) == len(told)
    bad = sum("bad_messages: " in r for r in told.values())
    assert bad == sum(n for reason, n in counted.items() if reason.startswith("bad_messages: "))
    assert bad


def test_8_a_null_system_turn_is_an_empty_one(tmp_path: Path) -> None:
    one = chosen(tmp_path, "odd_turns/zoo.jsonl")
    assert asked(one)["r00"] == [{"role": "user", "content": "null system"}]


def test_9_the_pair_with_values_counts(tmp_path: Path) -> None:
    one = chosen(tmp_path, "two_key_pairs/zoo.parquet")
    assert len(one.ids) == 12
    assert all(turns[-1]["content"].startswith("Explain") for turns in asked(one).values())


def test_10_repeated_prompts_of_a_zoo_name_the_prompt_and_the_columns(tmp_path: Path) -> None:
    told = refused(tmp_path, "same_prompt_twice/zoo.jsonl")
    assert "Explain" in told
    assert "line" in told
    assert "alpha-1b" in told or "alpha-7b" in told


def test_11_ids_that_are_all_null_are_none(tmp_path: Path) -> None:
    one = chosen(tmp_path, "null_ids/all_null.jsonl")
    assert len(one.ids) == 12
    assert all(len(i) == 32 for i in one.ids)


def test_12_utf16_is_named(tmp_path: Path) -> None:
    assert "UTF-16" in refused(tmp_path, "utf16_csv/utf16.csv")


def test_13_texts_of_a_long_table_are_read(tmp_path: Path) -> None:
    one = chosen(tmp_path, "long_with_texts/long.jsonl")
    by_key = {(r["id"], r["model"]): r for r in source("long_with_texts/long.jsonl")}
    assert one.selection.height == 12
    for row in one.selection.iter_rows(named=True):
        given = by_key[row["instruction_id"], row["response_model"]]
        assert row["response"] == given["response"]
        assert row["messages"][0]["content"] == given["instruction"]

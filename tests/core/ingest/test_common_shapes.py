"""Data sets as other tools write them: each is read as the same rows in our own layout are."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import Chosen, choose
from little import KEYS, NAMES, REWARD, SCHEMA, STRUCT, Row, jsonl, parquet, row, rows

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import CrowdError, DatasetError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.open import open_reader
from crowdselect_core.ingest.prompts import Prompt

TABLE = [one for one in rows(40) if all(one[n]["content"] for n in NAMES)]
ALL = KEYS | {"budget": 1.0, "allow_short": True}
TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
ASKED = [{"role": "user", "content": "Why?"}]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    folder = tmp_path_factory.mktemp("zoo")
    return choose(folder, dataset=str(jsonl(folder / "zoo.jsonl", TABLE)), **ALL)


def same(one: Chosen, expected: Chosen) -> None:
    """Check that a selection is the expected one, texts and all."""
    columns = ["instruction_id", "score", "response_model", "response", "messages"]
    assert one.selection.select(columns).equals(expected.selection.select(columns))


def prompts(path: Path, **keys: Any) -> list[Prompt]:
    config = DatasetConfig(path=str(path), **keys)
    dataset = Dataset(open_reader(config), config, [], [])
    return [p for part in dataset.partitions(9) for _, b in dataset.prompts(part) for p in b]


def line(path: Path) -> str:
    config = DatasetConfig(path=str(path))
    return Dataset(open_reader(config), config, [], []).prompt_line()


@pytest.mark.parametrize("container", ["jsonl", "parquet"])
def test_trl_s_conversational_prompt(container: str, tmp_path: Path) -> None:
    table = [{"prompt": ASKED, "chosen": ASKED, "rejected": ASKED, "score": 1.0}] * 2
    path = tmp_path / f"d.{container}"
    if container == "jsonl":
        jsonl(path, table)
    else:
        kinds = {"prompt": TURNS, "chosen": TURNS, "rejected": TURNS, "score": pa.float64()}
        pq.write_table(pa.Table.from_pylist(table, schema=pa.schema(list(kinds.items()))), path)
    assert [list(p.messages) for p in prompts(path)] == [ASKED, ASKED]
    assert line(path) == "the turns of `prompt` up to the last answer"


@pytest.mark.parametrize("kind", ["text", "Arrow's JSON", "jsonl"])
@pytest.mark.parametrize("beside", [{}, {"instruction": "short"}])
def test_messages_as_json(kind: str, beside: dict[str, str], tmp_path: Path) -> None:
    table = [{"messages": json.dumps([*ASKED, {"role": "assistant", "content": "So."}])} | beside,
             {"messages": None} | beside]  # fmt: skip
    path = tmp_path / ("d.jsonl" if kind == "jsonl" else "d.parquet")
    if kind == "jsonl":
        jsonl(path, table)
    else:
        arrow = pa.Table.from_pylist(table)
        if kind == "Arrow's JSON":
            column = pa.ExtensionArray.from_storage(pa.json_(), arrow["messages"].combine_chunks())
            arrow = arrow.set_column(0, pa.field("messages", pa.json_()), column)
        pq.write_table(arrow, path)
    one, other = prompts(path)
    assert list(one.messages) == ASKED
    assert str(other.error).startswith("no_instruction")


def test_texts_that_are_no_json_are_no_turns(tmp_path: Path) -> None:
    """A column `messages` of plain texts beside instructions is not what is asked."""
    path = jsonl(tmp_path / "d.jsonl", [{"instruction": "Why?", "messages": "[3 messages]"}])
    assert [list(p.messages) for p in prompts(path)] == [ASKED]


def test_content_parts_in_parquet(tmp_path: Path) -> None:
    part = pa.struct([("type", pa.string()), ("text", pa.string())])
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(part))]))
    parts = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]
    images = [{"type": "image", "text": None}]
    table = [{"messages": [{"role": "user", "content": c}]} for c in (parts, images)]
    path = tmp_path / "d.parquet"
    pq.write_table(pa.Table.from_pylist(table, schema=pa.schema([("messages", kind)])), path)
    one, other = prompts(path)
    assert list(one.messages) == ASKED
    assert "a part of the type image and no text" in str(other.error)


def test_what_the_prompt_line_says(tmp_path: Path) -> None:
    table = [{"instruction": "a", "input": "b", "system": "c"}]
    assert line(jsonl(tmp_path / "d.jsonl", table)) == ("instruction + input, system from `system`")


@pytest.mark.parametrize("missing", ["bee-2.5b", "instruction", "uuid"])
def test_a_model_s_column_that_one_file_lacks_is_null(missing: str, tmp_path: Path) -> None:
    table = [{k: v for k, v in one.items() if k != missing} for one in TABLE[:5]]
    schema = pa.schema([f for f in SCHEMA if f.name != missing])
    parquet(tmp_path / "d" / "1.parquet", table, schema)
    parquet(tmp_path / "d" / "0.parquet", TABLE[5:])
    if missing != "bee-2.5b":
        with pytest.raises(DatasetError, match=f"its columns differ from .*{missing}"):
            choose(tmp_path, dataset=str(tmp_path / "d"), **ALL)
        return
    chosen = choose(tmp_path, dataset=str(tmp_path / "d"), **ALL)
    rest = [one | ({"bee-2.5b": None} if i < 5 else {}) for i, one in enumerate(TABLE)]
    wanted = choose(tmp_path / "w", dataset=str(jsonl(tmp_path / "w.jsonl", rest)), **ALL)
    assert sorted(chosen.ids) == sorted(wanted.ids)
    assert "bee-2.5b" not in {
        m for i, m in chosen.selection.select("instruction_id", "response_model").iter_rows()
        if i in {one["uuid"] for one in TABLE[:5]}
    }  # fmt: skip


def test_dictionaries_inside_structs_over_several_row_groups(
    expected: Chosen, tmp_path: Path
) -> None:
    """As polars writes categories: every row group has its own dictionary."""
    ends = pa.struct([*STRUCT, pa.field("finish_reason", pa.dictionary(pa.int32(), pa.string()))])
    schema = pa.schema([*list(SCHEMA)[:2], *(pa.field(n, ends) for n in NAMES)])
    table = [json.loads(json.dumps(one)) for one in TABLE]
    for number, one in enumerate(table):
        for name in NAMES:
            one[name]["finish_reason"] = ("stop", "eos", "STOP")[number % 3]
    path = parquet(tmp_path / "z.parquet", table, schema, row_group_size=3)
    same(choose(tmp_path, dataset=str(path), **ALL), expected)


def test_a_zoo_with_columns_model_and_score(expected: Chosen, tmp_path: Path) -> None:
    table = [one | {"model": "the best", "score": 0.5} for one in TABLE]
    same(choose(tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)), **ALL), expected)


def ultrafeedback(one: Row, order: list[str]) -> Row:
    """Return a row as openbmb/UltraFeedback has it."""
    done = [
        {"model": n, "response": one[n]["content"], "principle": "x", "critique": "y",
         "annotations": {"helpfulness": {"Rating": str(one[n][REWARD]), "Rationale": "z"},
                         "honesty": {"Rating": "N/A"}},
         "overall_score": one[n][REWARD], "fine-grained_score": 1.0}
        for n in order
    ]  # fmt: skip
    return {"uuid": one["uuid"], "instruction": one["instruction"], "source": "s",
            "models": order, "completions": done}  # fmt: skip


def distilabel(one: Row, order: list[str]) -> Row:
    """Return a row as distilabel's UltraFeedback step has it."""
    return {
        "uuid": one["uuid"], "instruction": one["instruction"], "model_names": order,
        "generations": [one[n]["content"] for n in order],
        "ratings": [one[n][REWARD] for n in order], "rationales": ["x"] * len(order),
    }  # fmt: skip


@pytest.mark.parametrize("container", ["jsonl", "parquet"])
@pytest.mark.parametrize("layout", [ultrafeedback, distilabel])
def test_answers_in_lists_are_a_zoo(
    layout: Any, container: str, expected: Chosen, tmp_path: Path
) -> None:
    """In another order in every row, as they come there."""
    draw = random.Random(0)
    table = [layout(one, draw.sample(NAMES, len(NAMES))) for one in TABLE]
    path = tmp_path / f"d.{container}"
    if container == "jsonl":
        jsonl(path, table)
    else:
        pq.write_table(pa.Table.from_pylist(table), path, row_group_size=7)
    same(choose(tmp_path, dataset=str(path), **ALL), expected)
    if layout is ultrafeedback:
        chosen = choose(
            tmp_path / "aspect", dataset=str(path), **ALL | {"reward_models": ["helpfulness"]}
        )
        same(chosen, expected)
    named = {"crowd": [m | {"name": f"{m['name']}-x"} for m in KEYS["crowd"]]}  # type: ignore
    with pytest.raises(CrowdError, match="4 of 4 crowd models have no column"):
        choose(tmp_path / "named", dataset=str(path), **ALL | named)


def test_lists_of_different_lengths_name_the_line(tmp_path: Path) -> None:
    table = [distilabel(one, NAMES) for one in TABLE]
    table[3]["ratings"] = [1.0]
    with pytest.raises(DatasetError, match="line 4: has 4 models, 4 generations and 1 ratings"):
        choose(tmp_path, dataset=str(jsonl(tmp_path / "d.jsonl", table)), **ALL)
    table[3] = distilabel(TABLE[3], [NAMES[0], *NAMES[:3]])
    with pytest.raises(DatasetError, match="line 4: has two answers of the model ant-1b"):
        choose(tmp_path, dataset=str(jsonl(tmp_path / "d.jsonl", table)), **ALL)


def long_rows(**more: Any) -> list[Row]:
    return [
        {"uuid": one["uuid"], "instruction": one["instruction"], "model": n,
         "response": one[n]["content"], "score": one[n][REWARD]} | more
        for one in TABLE for n in NAMES
    ]  # fmt: skip


@pytest.mark.parametrize("order", ["by row", "by model", "shuffled"])
@pytest.mark.parametrize("container", ["jsonl", "parquet"])
def test_a_long_table_with_texts(
    container: str, order: str, expected: Chosen, tmp_path: Path
) -> None:
    table = long_rows()
    if order == "by model":
        table.sort(key=lambda r: str(r["model"]))
    elif order == "shuffled":
        random.Random(1).shuffle(table)
    path = tmp_path / f"d.{container}"
    if container == "jsonl":
        jsonl(path, table)
    else:
        pq.write_table(pa.Table.from_pylist(table), path, row_group_size=7)
    same(choose(tmp_path, dataset=str(path), **ALL), expected)


def test_a_cut_answer_of_a_long_table_is_not_kept(expected: Chosen, tmp_path: Path) -> None:
    table = long_rows(finish_reason="stop")
    best = dict(expected.selection.select("instruction_id", "response_model").iter_rows())
    for one in table:
        if one["model"] == best.get(one["uuid"]):
            one["finish_reason"] = "MAX_TOKENS"
    chosen = choose(tmp_path, dataset=str(jsonl(tmp_path / "d.jsonl", table)), **ALL)
    kept = dict(chosen.selection.select("instruction_id", "response_model").iter_rows())
    assert all(kept[i] != best[i] for i in kept)


@pytest.mark.parametrize("form", ["folder", "glob"])
def test_our_own_tables_go_back_in(form: str, tmp_path: Path) -> None:
    """OUT of `generate` and `score`: the answers and their scores, by instruction and model."""
    out = tmp_path / "OUT"
    out.mkdir()
    answers = [
        {"instruction_id": one["uuid"], "model": n, "sample": 0, "text": one[n]["content"],
         "reasoning": None, "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 2,
         "error": None}
        for n in NAMES for one in TABLE
    ]  # fmt: skip
    scores = [
        {"instruction_id": one["uuid"], "model": n, "sample": 0, "reward_model": REWARD,
         "head": head, "score": score, "error": None}
        for n in NAMES for one in TABLE
        for head, score in (("score", one[n][REWARD]), ("other", 99.0))
    ]  # fmt: skip
    pl.DataFrame(answers, infer_schema_length=None).write_parquet(out / "responses.parquet")
    pl.DataFrame(scores, infer_schema_length=None).write_parquet(out / "scores.parquet")
    (out / "generation.json").write_text("{}")
    (out / "selection.parquet").write_bytes(b"no data")
    path = str(out) if form == "folder" else f"{out}/[rs][ec]*.parquet"
    chosen = choose(tmp_path, dataset=path, **ALL)
    wanted = {(one["uuid"], n): one[n] for one in TABLE for n in NAMES}
    table = chosen.selection.select("instruction_id", "response_model", "response")
    assert table.height > 30
    for row_id, model, text in table.iter_rows():
        assert wanted[row_id, model]["content"] == text
    same_scores = choose(
        tmp_path / "w", dataset=str(jsonl(tmp_path / "w.jsonl", TABLE)), **ALL
    ).selection.select("instruction_id", "score", "response_model")
    assert chosen.selection.select("instruction_id", "score", "response_model").equals(same_scores)


def test_several_samples_show_the_first(tmp_path: Path) -> None:
    """Scores are averaged; the text is the first sample's and goes by that one's own score."""
    table = [
        {"id": f"r{i}", "instruction": f"Q{i}", "model": n, "sample": s,
         "response": f"{n} {s}", "score": float(place + 10 * s)}
        for i in range(3) for place, n in enumerate(NAMES) for s in (1, 0)
    ]  # fmt: skip
    chosen = choose(tmp_path, dataset=str(jsonl(tmp_path / "d.jsonl", table)), **ALL)
    assert set(chosen.selection["response"]) == {"bee-2.5b 0"}
    stored = chosen.stored("scores")
    means = stored.select(pl.col("^[0-9]+:.*bee-2.5b$")).to_series().to_list()
    assert means == [8.0, 8.0, 8.0]  # 3 and 13


def test_a_row_with_one_score_and_no_text(tmp_path: Path) -> None:
    table = [row(i, [i - 9, 1, 2, 3]) for i in range(3)]
    long = [
        {"id": r["uuid"], "prompt": r["instruction"], "model": n, "answer": r[n]["content"],
         "score": r[n][REWARD]}
        for r in table for n in NAMES if not (r["uuid"] == "row-001" and n == "bee-2.5b")
    ]  # fmt: skip
    long[0]["answer"] = None
    chosen = choose(tmp_path, dataset=str(jsonl(tmp_path / "d.jsonl", long)), **ALL)
    assert sorted(chosen.ids) == ["row-000", "row-001", "row-002"]
    assert chosen.selection.filter(pl.col("instruction_id") == "row-001")[
        "response_model"
    ].to_list() == ["bee-0.5b"]

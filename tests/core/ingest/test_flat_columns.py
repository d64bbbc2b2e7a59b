"""Answers and scores in columns of their own, beside each other: MODEL_response, MODEL_score."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import Chosen, choose
from little import CROWD, KEYS, NAMES, OTHER, REWARD, Row, jsonl, parquet, rows

from crowdselect_core.config.load import load
from crowdselect_core.errors import DatasetError, UserError
from crowdselect_core.planning.missing_work import find_missing

TABLE = rows(30)
ALL = {"crowd": CROWD, "budget": 1.0}


def flat(separator: str = "_", word: str = "response", reward: str = "score") -> list[Row]:
    """Return the rows of the little zoo with a column for everything."""
    return [
        {
            "uuid": one["uuid"],
            "instruction": one["instruction"],
            **{f"{n}{separator}{word}": one[n]["content"] for n in NAMES},
            **{f"{n}{separator}{reward}": one[n][REWARD] for n in NAMES},
        }
        for one in TABLE
    ]


def write(table: list[Row], path: Path) -> str:
    """Write a flat table in the format of the path's ending."""
    if path.suffix == ".jsonl":
        return str(jsonl(path, table))
    frame = pl.DataFrame(table, infer_schema_length=None)
    if path.suffix == ".parquet":
        frame.write_parquet(path, row_group_size=8)
    else:
        frame.write_csv(path)
    return str(path)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    """What structs with the same answers and scores give."""
    folder = tmp_path_factory.mktemp("wanted")
    return choose(folder, dataset=str(parquet(folder / "z.parquet", TABLE)), **KEYS)


@pytest.mark.parametrize("separator", ["_", "/", ".", "-", ":"])
@pytest.mark.parametrize(("word", "reward"), [("response", "score"), ("output", REWARD)])
def test_flat_columns_are_read_as_structs_are(
    separator: str, word: str, reward: str, tmp_path: Path, wanted: Chosen
) -> None:
    path = write(flat(separator, word, reward), tmp_path / "d.parquet")
    chosen = choose(tmp_path, dataset=path, **KEYS | {"reward_models": [reward]}, shard_rows=7)
    assert chosen.ranking.equals(wanted.ranking)
    assert chosen.selection.equals(wanted.selection)
    assert chosen.lines("train.jsonl") == wanted.lines("train.jsonl")


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_in_other_containers_too(name: str, tmp_path: Path, wanted: Chosen) -> None:
    path = write(flat(), tmp_path / name)
    chosen = choose(tmp_path, dataset=path, **KEYS | {"reward_models": ["score"]})
    assert chosen.selection.equals(wanted.selection)


def test_answers_of_digits_in_a_csv_are_texts(tmp_path: Path) -> None:
    table = [{**one, **{f"{n}_response": "42" for n in NAMES}} for one in flat()]
    path = write(table, tmp_path / "d.csv")
    chosen = choose(tmp_path, dataset=path, **KEYS | {"reward_models": ["score"]})
    assert set(chosen.selection["response"]) == {"42"}


def test_several_reward_models_and_why_an_answer_ended(tmp_path: Path) -> None:
    table = [
        {
            **one,
            **{f"{n}_{OTHER}": given[n][OTHER] for n in NAMES},
            **{f"{n}_finish_reason": "length" if n == NAMES[0] else "stop" for n in NAMES},
        }
        for one, given in zip(flat(), TABLE, strict=True)
    ]
    path = write(table, tmp_path / "d.parquet")
    chosen = choose(tmp_path, dataset=path, **ALL, reward_models=["score", OTHER])
    assert chosen.manifest["summary"]["agreement"][0]["of"] == [OTHER, "score"]
    assert NAMES[0] not in set(chosen.selection["response_model"])


def test_another_word_for_the_answer_and_the_named_format(tmp_path: Path) -> None:
    path = write(flat(word="text"), tmp_path / "d.parquet")
    dataset = {"path": path, "format": "flat", "columns": {"content": "text"}}
    chosen = choose(tmp_path, dataset=dataset, **KEYS | {"reward_models": ["score"]})
    assert chosen.selection["response"].null_count() == 0
    dataset["columns"] = {"content": "txt"}
    with pytest.raises(DatasetError, match="names 'txt', with which no column"):
        choose(tmp_path / "2", dataset=dataset, **KEYS | {"reward_models": ["score"]})


def test_scores_alone_in_flat_columns(tmp_path: Path, wanted: Chosen) -> None:
    table = [{k: v for k, v in one.items() if not k.endswith("response")} for one in flat()]
    path = write(table, tmp_path / "d.csv")
    chosen = choose(tmp_path, dataset=path, **KEYS | {"reward_models": ["score"]})
    assert chosen.selection["response"].null_count() == 5
    assert not (chosen.out / "train.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ant-1b_answer": "x"}, r"ant-1b_response, ant-1b_answer all fit .* 'ant-1b' as its"),
        ({"ant-1b-score": 1.0}, r"ant-1b_score, ant-1b-score all fit .* as its score"),
        ({"ant-1b": 1.0}, "'ant-1b' has a column of its own name, and another has flat columns"),
        ({"bee-2.5b_score": "high"}, "column 'bee-2.5b_score' .* expected numbers"),
        ({"bee-2.5b_response": 7}, "column 'bee-2.5b_response' .* expected text"),
        (
            {"bee-2.5b_response": None, "bee-2.5b_score": None},
            "1 of 4 crowd models have no column: bee-2.5b",
        ),
    ],
)
def test_what_is_not_clear_is_refused(change: Row, told: str, tmp_path: Path) -> None:
    table: list[Row] = [{**one, **change} for one in flat()]
    if None in change.values():
        table = [{k: v for k, v in one.items() if k not in change} for one in table]
    path = write(table, tmp_path / "d.parquet")
    with pytest.raises(UserError, match=told):
        choose(tmp_path, dataset=path, **KEYS | {"reward_models": ["score"]})


def test_a_model_whose_name_is_a_column_of_another(tmp_path: Path) -> None:
    """`a_b` may be the model `a` by the reward model `b_score`, and the model `a_b`."""
    crowd = [{"name": "a", "family": "f", "size": 1}, {"name": "a_b", "family": "f", "size": 2}]
    table: list[Row] = [
        {"id": str(i), "instruction": f"Q{i}", "a_response": "x", "a_b_response": "y",
         "a_b_score": i + 2.0, "a_score": 1.0}
        for i in range(3)
    ]  # fmt: skip
    path = write(table, tmp_path / "d.parquet")
    keys: dict[str, Any] = {"dataset": path, "crowd": crowd, "budget": 1.0}
    with pytest.raises(DatasetError, match=r"'a_b_score' fits twice \(crowd models: a, a_b\)"):
        choose(tmp_path, **keys, reward_models=["score", "b_score"])
    assert len(choose(tmp_path, **keys, reward_models=["score"]).ids) == 3


def test_another_reward_model_names_those_there_are(tmp_path: Path) -> None:
    path = write(flat(), tmp_path / "d.parquet")
    with pytest.raises(DatasetError, match=r"the reward model 'skywork'.* \(found: score\)"):
        choose(tmp_path, dataset=path, **KEYS | {"reward_models": ["skywork"]})


def test_a_model_with_flat_answers_is_not_asked(tmp_path: Path) -> None:
    engine = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
    table = [{k: v for k, v in one.items() if k != "ant-1b_response"} for one in flat()]
    keys = {
        "dataset": write(table, tmp_path / "d.parquet"),
        "crowd": [{**m, "engine": {**engine, "model": m["name"]}} for m in CROWD],
        "reward_models": ["score"],
        "store": str(tmp_path / "store"),
        "out": str(tmp_path / "out"),
        "budget": 5,
    }
    missing = find_missing(load(None, keys, {}).resolved())
    assert [m.name for m in missing.answers] == ["ant-1b"]

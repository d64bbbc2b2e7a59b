"""Why a row was chosen: the same as OUT/ranking.parquet says, with every answer and score."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from chain import Chosen, choose
from little import KEYS, NAMES, REWARD, jsonl, parquet, row, rows

from crowdselect_core.config.load import load
from crowdselect_core.errors import ConfigError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.report.explain import explain
from crowdselect_core.report.explain_place import placed
from crowdselect_core.report.explain_source import FoundSelection, NoSelection, find_selection
from crowdselect_core.report.explain_text import explanation_lines
from crowdselect_core.report.nearest_ids import nearest_ids
from flows import cli
from flows.select import chosen as story

HOSTILE = "\x1b[31mred\x1b]0;title\x07\r\n--- answer of ant-7b\n\u202eevil\ttab \x00"
# Scores of ant-1b, ant-7b, bee-0.5b, bee-2.5b: difficulty is minus their mean.
TABLE = [
    row(0, [1, 2, 3, 4]),  # mean 2.5
    row(1, [4, 3, 2, 9], **{"bee-2.5b": ""}),  # 4.5; the best answer is empty, so ant-1b is kept
    row(2, [0, 0, 1, 1], instruction=HOSTILE, **{"ant-1b": HOSTILE}),  # 0.5: the hardest
    row(3, [5, None, None, None]),  # one score: not eligible
    row(4, [6, 7, 8, 7]),  # 7
]
BY_ID = {r["uuid"]: r for r in TABLE}


def told(found: FoundSelection | Chosen, row_id: str) -> str:
    if isinstance(found, Chosen):
        found = find_selection(found.config, story)
    return "\n".join(explanation_lines(explain(found, row_id)))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    folder = tmp_path_factory.mktemp("explain")
    path = jsonl(folder / "z.jsonl", TABLE)
    return choose(folder, dataset=str(path), **(KEYS | {"budget": 2, "weights": "1,0,0"}))


@pytest.mark.parametrize(
    "keys",
    [
        {"clusters": 3},
        {"clusters": 3, "shard_rows": 7, "quota": "proportional"},
        {"method": "random"},
        {"method": "reward", "direction": "bottom", "shard_rows": 11},
        {"weights": "0,0,1", "budget": 1.0},
    ],
)
def test_every_row_stands_where_the_table_of_all_rows_has_it(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    path = parquet(tmp_path / "z.parquet", rows(40))
    made = choose(tmp_path, dataset=str(path), **(KEYS | {"min_scores": 3} | keys))
    for wanted in made.ranking.to_dicts():
        found = placed(made.config, made.store, made.inputs, wanted["instruction_id"])
        assert found is not None
        assert {name: found.row[name] for name in wanted} == wanted


def test_a_chosen_row(small: Chosen) -> None:
    text = told(small, "row-002")
    lines = text.splitlines()
    assert "rank       1 of 2" in lines
    assert "cluster    position 1 of 4 eligible in all rows, 2 chosen" in lines
    assert "score      1" in lines
    # chosen are row 2 (quantile 1) and row 0 (2/3); the best row that is not is row 1 (1/3)
    assert "margin     +0.666667 to the best row of the cluster that is not chosen" in lines
    assert "difficulty       -0.5, higher than 100.0% of the eligible rows, weight 1" in lines
    assert "separability     0.25, higher than" in text  # scores 0, 0, 1, 1
    assert "kept       bee-0.5b: the highest score among the complete answers" in text
    for name, score in zip(NAMES, (0, 0, 1, 1), strict=True):
        assert any(line.split()[:1] == [name] and f" {score}" in line for line in lines)
        assert f"--- answer of {name}, score {score}" in text
    assert "  | bee-2.5b on 2" in lines


def test_hostile_texts_are_shown_as_escapes_behind_a_bar(small: Chosen) -> None:
    text = told(small, "row-002")
    assert all(c.isprintable() or c == "\n" for c in text)
    assert r"  | \x1b[31mred\x1b]0;title\x07\r" in text.splitlines()
    assert text.count("\n--- answer of ant-7b, ") == 1
    assert "\n  | --- answer of ant-7b\n" in text
    assert r"  | \u202eevil    tab \x00" in text.splitlines()


def test_rows_that_are_not_chosen(small: Chosen) -> None:
    missed = told(small, "row-001").splitlines()
    assert "rank       none, not chosen" in missed
    assert "margin     -0.333333 to the last chosen row" in missed
    assert (
        "would keep ant-1b: the highest score among the complete answers, ties by model name"
        in (missed)
    )
    assert "           incomplete answers with a higher score: bee-2.5b" in missed
    assert any(line.startswith("bee-2.5b") and line.endswith("empty") for line in missed)
    barred = told(small, "row-003")
    assert "ineligible too_few_scores (fewer scores than min_scores)" in barred
    assert "scores           1 of 4 crowd models" in barred
    assert "why        not eligible: fewer scores than min_scores" in barred
    assert any(line.startswith("bee-0.5b") and "missing" in line for line in barred.splitlines())


def test_several_reward_models_are_each_shown(tmp_path: Path) -> None:
    path = parquet(tmp_path / "z.parquet", rows(12))
    keys = KEYS | {"reward_models": [REWARD, "RM-2"]}
    made = choose(tmp_path, dataset=str(path), **keys)
    text = told(made, "row-003")
    head = next(line for line in text.splitlines() if line.startswith("model "))
    assert head.split() == ["model", "family", "size", "combined", "RM-2", REWARD, "answer"]
    one = rows(12)[3]["ant-7b"]
    line = next(line for line in text.splitlines() if line.startswith("ant-7b"))
    assert f"{one['RM-2']:.6g}" in line.split()
    assert f"{one[REWARD]:.6g}" in line.split()
    assert "difficulty/RM-2" in text


def test_only_the_row_groups_of_the_row_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path / "z.parquet", rows(5000), row_group_size=1000)
    made = choose(tmp_path, dataset=str(path), **KEYS)
    seen: list[tuple[int, int]] = []
    real = Dataset.texts

    def texts(self: Dataset, partition: Any, wanted: Any) -> Any:
        seen.append((partition.first_row, partition.rows))
        return real(self, partition, wanted)

    monkeypatch.setattr(Dataset, "texts", texts)
    told(made, "row-3500")
    assert set(seen) == {(2000, 2000)}  # row groups are read two at a time, at least 1,024 rows


def test_quality_gates_and_their_reasons(tmp_path: Path) -> None:
    long = "a fairly long question of the user, number "
    table = [row(i, [1 + i, 2, 3, 4 + i], instruction=f"{long}{i}?") for i in range(6)]
    table.append(row(6, [1, 2, 3, 9], instruction="short"))
    table.append(row(7, [1, 2, 3, 8], instruction=f"{long}0?"))
    quality = {
        "length": {"instruction": {"min_characters": 20}},
        "duplicates": {"exact": True},
    }
    path = jsonl(tmp_path / "z.jsonl", table)
    made = choose(tmp_path, dataset=str(path), quality=quality, **(KEYS | {"budget": 2}))
    short, twice = told(made, "row-006"), told(made, "row-000") + told(made, "row-007")
    assert "length           " in short
    assert "length           passes" not in short
    assert "duplicates       passes" in short
    assert twice.count("exact duplicate of row-00") == 1
    assert twice.count("duplicates       passes") == 1


def test_an_unknown_id_names_the_nearest(small: Chosen) -> None:
    with pytest.raises(ConfigError, match=r"none of the 5 rows .* the nearest are row-002") as e:
        told(small, "rov-002")
    assert "\n" not in str(e.value)
    with pytest.raises(ConfigError, match=r"has this id$"):
        told(small, "something else altogether")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("ROW-00012", "row-00012"),
        ("row-00012x", "row-00012"),
        ("ow-00012", "row-00012"),
        ("?", None),
    ],
)
def test_nearest_ids(wanted: str, expected: str | None) -> None:
    ids = [pl.Series([f"row-{i:05d}" for i in range(start, start + 5000)]) for start in (0, 5000)]
    found = nearest_ids(wanted, ids)
    assert (expected in found) if expected else (found == [])


def test_which_selection_is_meant(small: Chosen, tmp_path: Path) -> None:
    config = small.config
    assert find_selection(config, story).place.endswith("manifest.json")
    elsewhere = config.model_copy(update={"out": str(tmp_path)})
    by_key = find_selection(elsewhere, story)
    assert by_key.place.startswith("the store ")
    assert by_key.inputs.selection.key == small.inputs.selection.key
    with pytest.raises(NoSelection, match=r"no selection, and .*budget \(2 there, 3 here\)"):
        find_selection(config.model_copy(update={"budget": 3}), story)
    places = {"out": str(tmp_path), "store": str(tmp_path / "empty")}
    with pytest.raises(NoSelection, match=r"has no instructions, and .* has none either"):
        find_selection(config.model_copy(update=places), story)


def test_without_a_data_set_the_selection_of_out_is_meant(small: Chosen) -> None:
    config = load(None, {"out": small.config.out, "store": small.config.store}, {})
    assert find_selection(config, story).config.dataset == small.config.dataset


def test_a_data_set_that_changed_shows_no_texts(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "z.jsonl", TABLE)
    made = choose(tmp_path, dataset=str(path), **(KEYS | {"budget": 2, "weights": "1,0,0"}))
    jsonl(path, [r | {"instruction": "another"} for r in TABLE])
    with pytest.raises(NoSelection):  # of the new data set there is none
        find_selection(made.config.model_copy(update={"out": str(tmp_path / "none")}), story)
    text = told(made, "row-002")
    assert "has changed since; run `python -m flows.select` with the same keys again" in text
    assert "another" not in text
    assert "rank       1 of 2" in text


def test_scores_without_texts(tmp_path: Path) -> None:
    table = pl.DataFrame({"instruction_id": [f"r{i}" for i in range(6)]}).with_columns(
        pl.Series(name, np.arange(6.0) * (i + 1)) for i, name in enumerate(NAMES)
    )
    table.write_parquet(tmp_path / "s.parquet")
    keys = KEYS | {
        "budget": 2,
        "dataset": {"path": str(tmp_path / "s.parquet"), "format": "scores-wide"},
    }
    text = told(choose(tmp_path, **keys), "r2")
    assert "texts      not shown: the data set has scores alone" in text
    assert "--- answer" not in text


def test_held_out_rows(tmp_path: Path) -> None:
    table = [r | {"instruction": f"What is {i} plus {i * i}, and why is it so?"} for i, r in
             enumerate(rows(40))]  # fmt: skip
    path = jsonl(tmp_path / "z.jsonl", table)
    made = choose(tmp_path, dataset=str(path), heldout={"share": 0.2}, **KEYS)
    held = made.stored("heldout")["instruction_id"][0]
    text = told(made, held)
    assert "held out for the evaluation" in text
    assert "  | What is " in text


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = cli.main(argv)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command(small: Chosen, capsys: pytest.CaptureFixture[str]) -> None:
    places: Sequence[str] = ("--out", small.config.out, "--store", small.config.store)
    code, out, err = run(capsys, *places, "--explain", "row-002")
    assert (code, err) == (0, "")
    assert "why        chosen: rank 1 of 2" in out
    code, out, err = run(capsys, *places, "--explain", "row-2")
    assert (code, out) == (2, "")
    assert err.startswith("error: --explain row-2: none of the 5 rows")
    assert err.count("\n") == 1


def test_what_changes_no_result_is_no_other_selection(small: Chosen, tmp_path: Path) -> None:
    keys = {"executor": "ray", "workers": 5, "report": False}
    same = small.config.model_validate(small.config.model_dump() | keys)
    assert find_selection(same, story).place.endswith("manifest.json")
    keys |= {"store": str(tmp_path), "budget": 1, "weights": "1,1,3"}
    other = small.config.model_validate(small.config.model_dump() | keys)
    with pytest.raises(NoSelection) as error:
        find_selection(other, story)
    assert "differs in budget (2 there, 1 here); weights" in str(error.value)
    assert "executor" not in str(error.value)

"""Scores alone, wide and long, as CSV, parquet and JSON Lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import Chosen, choose
from little import KEYS, NAMES, REWARD, parquet, rows

from crowdselect_core.errors import DatasetError
from crowdselect_core.tables import score_column

TABLE = rows(30)
WIDE = pl.DataFrame(
    [{"id": one["uuid"], **{n: one[n][REWARD] for n in NAMES}} for one in TABLE],
    schema={"id": pl.String, **dict.fromkeys(NAMES, pl.Float64)},
)
LONG = pl.DataFrame(
    [
        {"id": one["uuid"], "model": n, "score": one[n][REWARD], "reward_model": REWARD}
        for one in TABLE
        for n in NAMES
    ]
)


def write(frame: pl.DataFrame, path: Path) -> str:
    """Write a frame in the format of the path's ending."""
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".parquet":
        frame.write_parquet(path, row_group_size=8)
    else:
        path.write_text("".join(json.dumps(r) + "\n" for r in frame.iter_rows(named=True)))
    return str(path)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    """What a zoo with the same scores gives; all its answers are there."""
    folder = tmp_path_factory.mktemp("wanted")
    table = [{**one, **{n: {**one[n], "content": "x"} for n in NAMES}} for one in TABLE]
    return choose(folder, dataset=str(parquet(folder / "z.parquet", table)), **KEYS)


SHAPES: dict[str, Callable[[], pl.DataFrame]] = {
    "wide": lambda: WIDE,
    "long": lambda: LONG,
    "long, rows in another order": lambda: LONG.sample(fraction=1, shuffle=True, seed=3),
    "long, one reward model": lambda: LONG.drop("reward_model"),
    "long, missing scores left out": lambda: LONG.drop_nulls(),
    "long, of more reward models and models": lambda: pl.concat(
        [
            LONG,
            LONG.with_columns(reward_model=pl.lit("another"), score=pl.lit(1.0)),
            LONG.with_columns(model=pl.lit("cat-") + pl.col("model"), score=pl.lit(2.0)),
        ]
    ),
    "long, every row twice": lambda: pl.concat([LONG, LONG]),
    "long, further samples without a score": lambda: pl.concat(
        [
            LONG.with_columns(sample=pl.lit(0)),
            LONG.with_columns(sample=pl.lit(1), score=pl.lit(float("nan"))),
            LONG.with_columns(sample=pl.lit(2), score=pl.lit(float("-inf"))),
            LONG.with_columns(sample=pl.lit(3), score=pl.lit(None, dtype=pl.Float64)),
        ]
    ),
    "long, two samples": lambda: pl.concat(
        [
            LONG.with_columns(sample=pl.lit(0), score=pl.col("score") * 2),  # its mean with 0 is
            LONG.with_columns(sample=pl.lit(1), score=pl.col("score") * 0),  # the score exactly
        ]
    ),
}


@pytest.mark.parametrize("container", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_scores_alone_rank_as_the_zoo_does(
    shape: str, container: str, tmp_path: Path, wanted: Chosen
) -> None:
    path = write(SHAPES[shape](), tmp_path / f"scores.{container}")
    chosen = choose(tmp_path, dataset=path, shard_rows=7, **KEYS)
    assert chosen.ranking.equals(wanted.ranking)
    assert chosen.ids == wanted.ids
    assert chosen.selection["response_model"].equals(wanted.selection["response_model"])


def test_scores_alone_write_no_training_file(tmp_path: Path) -> None:
    chosen = choose(tmp_path, dataset=write(WIDE, tmp_path / "s.csv"), **KEYS)
    names = sorted(p.name for p in chosen.out.iterdir())
    assert names == ["manifest.json", "ranking.parquet", "selection.parquet"]
    assert sorted(chosen.manifest["files"]) == [n for n in names if n != "manifest.json"]
    assert len(chosen.ids) == 5
    assert chosen.selection["response"].null_count() == 5
    assert chosen.selection["messages"].null_count() == 5
    assert chosen.selection["response_model"].null_count() == 0


@pytest.mark.parametrize("mode", ["random", "random-of-top-5", "bee-2.5b"])
def test_scores_alone_still_name_a_model(mode: str, tmp_path: Path) -> None:
    chosen = choose(tmp_path, dataset=write(WIDE, tmp_path / "s.csv"), **KEYS, response=mode)
    assert set(chosen.selection["response_model"]) <= ({mode} if mode in NAMES else set(NAMES))


@pytest.mark.parametrize("layout", ["pairs", "sharegpt", "alpaca"])
def test_scores_alone_give_nothing_to_train_on(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"nothing to write as {layout}; leave --export out"):
        choose(tmp_path, dataset=write(WIDE, tmp_path / "s.csv"), **KEYS, export=layout)
    assert not (tmp_path / "out").exists()


def test_a_model_without_rows_for_some_ids_has_no_score_there(tmp_path: Path) -> None:
    long = LONG.filter(~((pl.col("model") == "bee-2.5b") & (pl.col("id") < "row-020")))
    chosen = choose(tmp_path, dataset=write(long, tmp_path / "s.parquet"), **KEYS)
    stored = chosen.stored("scores")[score_column(REWARD, "bee-2.5b")]
    assert stored[:20].null_count() == 20
    assert stored[20:].to_list() == [one["bee-2.5b"][REWARD] for one in TABLE[20:]]


def test_several_reward_models_in_one_long_table(tmp_path: Path) -> None:
    """z-scores: r2 = 10*r1 + 3 has the same z as r1, so both together rank as one does."""
    both = pl.concat(
        [LONG, LONG.with_columns(reward_model=pl.lit("r2"), score=pl.col("score") * 10 + 3)]
    )
    keys = KEYS | {"reward_models": ["r2", REWARD], "budget": 1.0}
    two = choose(tmp_path, dataset=write(both, tmp_path / "s.csv"), **keys)
    one = choose(tmp_path / "1", dataset=write(LONG, tmp_path / "t.csv"), **KEYS | {"budget": 1.0})
    assert two.ids == one.ids
    [agreement] = two.manifest["summary"]["agreement"]
    assert agreement["of"] == [REWARD, "r2"]
    assert agreement["rho"] == pytest.approx(1)


def test_ids_of_a_csv_stay_as_they_stand(tmp_path: Path) -> None:
    """007 and 7 are two ids; 1e3 and 12345678901234567890 are no numbers either."""
    ids = ["007", "7", "1e3", "12345678901234567890", "true", "nan", " a ", "x,y", 'q"q', "l\nl"]
    frame = WIDE.head(len(ids)).with_columns(pl.Series("id", ids))
    keys = KEYS | {"budget": 1.0, "weights": "1,1,0"}
    for shape, table in (
        ("wide", frame),
        ("long", frame.unpivot(index="id", variable_name="model", value_name="score")),
        ("named", frame.rename({"id": "my key"})),
    ):
        dataset: dict[str, Any] = {"path": write(table, tmp_path / f"{shape}.csv")}
        if shape == "named":
            dataset["columns"] = {"instruction_id": "my key"}
        chosen = choose(tmp_path / shape, dataset=dataset, **keys)
        assert sorted(chosen.ids) == sorted(ids)


def test_spellings_of_missing_scores_in_a_csv(tmp_path: Path) -> None:
    """As pandas, numpy, Python and a spreadsheet write what is no number."""
    text = "id,ant-1b,ant-7b,bee-0.5b,bee-2.5b\n"
    text += 'a,nan,1,2,3\nb,NaN,-inf,2,3\nc,inf,1,Infinity,-Infinity\nd,,"",2, 3\ne,0,1,2,3e0\n'
    (tmp_path / "s.csv").write_text("\ufeff" + text)
    chosen = choose(
        tmp_path, dataset=str(tmp_path / "s.csv"), **KEYS | {"budget": 1.0, "weights": "1,1,0"}
    )
    assert chosen.stored("metrics")["n_scores"].to_list() == [3, 2, 1, 2, 4]
    assert chosen.inputs.scores.counts == {"missing_scores": 1 + 2 + 3 + 2}
    assert chosen.stored("ranking")["reason"].to_list() == [
        None, None, "too_few_scores", None, None,
    ]  # fmt: skip


def test_whole_numbers_and_a_column_without_any(tmp_path: Path) -> None:
    """A CSV column of whole numbers and one that is empty throughout are scores too."""
    text = "id,ant-1b,ant-7b,bee-0.5b,bee-2.5b\na,1,2,,1\nb,3,2,,2\n"
    (tmp_path / "s.csv").write_text(text)
    chosen = choose(tmp_path, dataset=str(tmp_path / "s.csv"), **KEYS | {"budget": 2})
    assert chosen.stored("metrics")["difficulty"].to_list() == pytest.approx([-4 / 3, -7 / 3])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,model,score\na,ant-1b,1\na,ant-1b,2\n", "'a' has two different scores for the model"),
        ("id,model,score\na,,1\n", "line 2: has no model"),
        ("id,model,score\na,ant-1b,1\n,ant-1b,1\n", "line 3: has no instruction_id"),
        ("id,model,score,reward_model\na,ant-1b,1,\n", "line 2: has no reward_model"),
        (
            "id,model,score\na,ant-1b,high\n",
            "column 'score' holds text in line 2, expected numbers",
        ),
        ("name,model,score\na,ant-1b,1\n", "needs an id column (instruction_id, uuid, id)"),
        ("id,model,score\n", "has no rows"),
        (
            "id,ant-1b,ant-7b,bee-0.5b,bee-2.5b\na,1,2,3,x\n",
            "'bee-2.5b' holds text in line 2, expected",
        ),
        ("id,ant-1b\na,1,2\n", "is no CSV table"),
        (
            "id;ant-1b;ant-7b\na;1,5;2,5\n",
            "seem to be separated by semicolons (;), expected commas",
        ),
        ("id\tant-1b\na\t1\n", "separated by tabs, expected commas: write it with commas, or name"),
        ("", "is empty, expected a CSV table"),
    ],
)
def test_what_a_table_of_scores_may_not_be(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DatasetError) as caught:
        choose(tmp_path, dataset=str(tmp_path / "s.csv"), **KEYS)
    assert told in str(caught.value)
    assert "s.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_number_a_model_is_one_reward_model(tmp_path: Path) -> None:
    keys = KEYS | {"reward_models": ["r1", "r2"]}
    with pytest.raises(DatasetError, match=r"holds one reward model, but 2 are named \(r1, r2\)"):
        choose(tmp_path, dataset=write(WIDE, tmp_path / "wide.csv"), **keys)
    long = LONG.drop("reward_model")
    with pytest.raises(DatasetError, match="has no column 'reward_model'"):
        choose(tmp_path, dataset=write(long, tmp_path / "long.csv"), **keys)


def test_a_reward_model_is_no_crowd_model(tmp_path: Path) -> None:
    keys = KEYS | {"reward_models": ["bee-2.5b"]}
    with pytest.raises(DatasetError, match=r"'bee-2\.5b' has the name of a crowd model"):
        choose(tmp_path, dataset=write(WIDE, tmp_path / "wide.csv"), **keys)


def test_a_table_with_tabs(tmp_path: Path, wanted: Chosen) -> None:
    WIDE.write_csv(tmp_path / "s.tsv", separator="\t")
    assert choose(tmp_path, dataset=str(tmp_path / "s.tsv"), **KEYS).ids == wanted.ids


def test_a_named_format_is_checked(tmp_path: Path) -> None:
    zoo = str(parquet(tmp_path / "zoo.parquet", TABLE))
    wide, long = write(WIDE, tmp_path / "wide.csv"), write(LONG, tmp_path / "long.csv")
    for path, format, told in (
        (zoo, "scores-wide", "are structs, expected numbers; pass generator-zoo"),
        (zoo, "scores-long", "a long table needs the columns model and score"),
        (wide, "generator-zoo", "are no structs, so it is no generator-zoo"),
        (wide, "scores-long", "a long table needs the columns model and score"),
    ):
        with pytest.raises(DatasetError, match=told):
            choose(tmp_path, dataset={"path": path, "format": format}, **KEYS)
    for path, format in ((zoo, "generator-zoo"), (wide, "scores-wide"), (long, "scores-long")):
        chosen = choose(tmp_path / format, dataset={"path": path, "format": format}, **KEYS)
        assert len(chosen.ids) == 5


def test_csv_files_with_different_columns_are_refused(tmp_path: Path) -> None:
    write(WIDE, tmp_path / "1.csv")
    write(WIDE.drop("ant-1b"), tmp_path / "2.csv")
    with pytest.raises(DatasetError, match=r"different columns; give them the same"):
        choose(tmp_path, dataset=str(tmp_path / "*.csv"), **KEYS)
    write(WIDE.with_columns(pl.col("ant-1b").cast(pl.String) + "x"), tmp_path / "2.csv")
    with pytest.raises(DatasetError, match=r"'ant-1b' holds text in line 2, expected numbers"):
        choose(tmp_path, dataset=str(tmp_path / "*.csv"), **KEYS)


def test_several_csv_files_are_one_table(tmp_path: Path, wanted: Chosen) -> None:
    write(WIDE[:9], tmp_path / "1.csv")
    write(WIDE[9:], tmp_path / "2.csv")
    assert choose(tmp_path, dataset=str(tmp_path / "*.csv"), **KEYS).ids == wanted.ids


def test_blank_lines_of_a_csv_are_no_rows(tmp_path: Path) -> None:
    lines = WIDE.write_csv().splitlines()
    text = "\n".join(["", lines[0], lines[1], "", *lines[2:5], "  ", *lines[5:], "", ""])
    (tmp_path / "s.csv").write_text(text.replace("\n", "\r\n"))
    one = choose(tmp_path / "1", dataset=write(WIDE, tmp_path / "t.csv"), **KEYS)
    assert choose(tmp_path / "2", dataset=str(tmp_path / "s.csv"), **KEYS).ids == one.ids
    (tmp_path / "s.csv").write_text(text + "," * lines[0].count(",") + "\n")
    last = text.count("\n") + 1
    with pytest.raises(DatasetError, match=rf"s\.csv, line {last}: has no id"):
        choose(tmp_path / "3", dataset=str(tmp_path / "s.csv"), **KEYS)

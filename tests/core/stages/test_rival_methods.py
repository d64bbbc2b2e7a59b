"""The rival methods through the stages of a selection: what they rank by, need and refuse."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import Chosen, choose
from little import KEYS, NAMES, Row, parquet, row, rows

from crowdselect_core.config.load import load
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.errors import UserError
from crowdselect_core.planning import preflight
from crowdselect_core.stages.select import ranking
from crowdselect_core.stages.select.method_inputs import Given
from crowdselect_core.stages.select.method_ranking import rival_ranking


def zoo(folder: Path, table: list[Row], **columns: Any) -> str:
    """Write a zoo with further columns."""
    path = parquet(folder / "zoo.parquet", table)
    whole = pq.read_table(path)
    for name, values in columns.items():
        whole = whole.append_column(name, pa.array(values))
    pq.write_table(whole, path)
    return str(path)


def chosen_of(folder: Path, path: str, **keys: Any) -> Chosen:
    return choose(folder, **KEYS | {"dataset": path, "budget": 3} | keys)


def lengths(chosen: Chosen) -> dict[str, Any]:
    return dict(chosen.ranking.select("instruction_id", "tokens").iter_rows())


def test_length_counts_the_instruction_or_the_kept_answer(tmp_path: Path) -> None:
    """Bytes / 4, rounded up; the kept answer is the one of the highest score that is complete."""
    table = [
        row(0, [1, 2, 3, 4], instruction="x" * 9, **{NAMES[3]: "y" * 40, NAMES[2]: "z"}),
        row(1, [1, 2, 3, 4], instruction="x" * 8, **{NAMES[3]: " ", NAMES[2]: "z" * 5}),
        row(2, [1, 2, 3, 4], instruction="x", **{NAMES[3]: "y" * 8}),
        row(3, [1, 2, 3, 4], instruction="x", **dict.fromkeys(NAMES, "")),
    ]
    path = zoo(tmp_path, table)
    by_instruction = chosen_of(tmp_path, path, method="length")
    assert lengths(by_instruction) == {"row-000": 3, "row-001": 2, "row-002": 1, "row-003": None}
    assert by_instruction.ids == ["row-000", "row-001", "row-002"]
    by_answer = chosen_of(tmp_path, path, method="length", length={"of": "response"}, budget=2)
    assert lengths(by_answer) == {"row-000": 10, "row-001": 2, "row-002": 2, "row-003": None}
    assert by_answer.ids == ["row-000", "row-001"]
    bottom = chosen_of(tmp_path, path, method="length", direction="bottom", budget=1)
    assert bottom.ids == ["row-002"]
    [overlap] = [o for o in by_answer.manifest["summary"]["overlaps"] if "longest" in o["baseline"]]
    assert (overlap["rows"], overlap["overlap"]) == (2, 2)


def test_a_column_of_the_data_set(tmp_path: Path) -> None:
    nested = [{"q": float(n)} for n in range(6)]
    path = zoo(
        tmp_path, rows(6), good=[3, 1, None, 9, 2, 5], score=[0.5, float("nan"), 3, 2, 1, 0],
        meta=nested,
    )  # fmt: skip
    chosen = chosen_of(tmp_path, path, method="column:good")
    assert chosen.ids == ["row-003", "row-005", "row-000"]
    assert chosen.ranking.filter(pl.col("good").is_null())["reason"].to_list() == [
        "not eligible: no number to rank by"
    ]
    assert chosen.selection["method"][0] == "column:good"
    taken = chosen_of(tmp_path, path, method="column:score", direction="bottom")
    assert taken.ids == ["row-005", "row-000", "row-004"]
    assert taken.ranking["column:score"].null_count() == 1
    assert chosen_of(tmp_path, path, method="column:meta.q").ids[0] == "row-005"


def test_columns_of_any_name(tmp_path: Path) -> None:
    """A data set's own ids are numbers too."""
    numbers = [30, 10, 20, 90, 25, 50]
    path = zoo(tmp_path, rows(6), lacks=numbers, instruction_id=numbers, vector=[[1.0]] * 6)
    for name in ("lacks", "instruction_id"):
        chosen = chosen_of(tmp_path, path, method=f"column:{name}")
        assert chosen.ids == ["90", "50", "30"]
        assert chosen.ranking[f"column:{name}"].null_count() == 0
    keys = {"complexity": "lacks", "quality": "instruction_id", "threshold": 1}
    chosen = chosen_of(tmp_path, path, method="deita", deita=keys, embedder="column:vector")
    assert chosen.ids == ["90", "50", "30"]
    assert chosen.ranking["deita"].max() == 8100


def test_the_teacher_answers_random_rows(tmp_path: Path) -> None:
    path = zoo(tmp_path, rows(30))
    chosen = chosen_of(tmp_path, path, method="teacher", teacher={"model": NAMES[1]}, budget=8)
    assert set(chosen.selection["response_model"]) == {NAMES[1]}
    cost = chosen.manifest["summary"]["cost"]
    assert (cost["answers"], cost["models"], cost["scores"]) == (8, 1, 0)
    random = chosen_of(tmp_path, path, method="random", response=NAMES[1], budget=8)
    assert random.ids == chosen.ids


def test_deita_from_columns(tmp_path: Path) -> None:
    """Vectors in one column: rows 0 and 1 alike, so the worse one goes; row 3 lacks its quality."""
    vectors = [[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]
    path = zoo(
        tmp_path, rows(6), c=[[2.0], [1.0, 1.0], [3.0], [9.0], [1.0], [0.5]],
        q=[[2.0], [3.0, 3.0], [3.0], None, [1.0], [1.0]], vector=vectors,
    )  # fmt: skip
    keys = {"complexity": "c", "quality": "q"}
    chosen = chosen_of(
        tmp_path, path, method="deita", deita=keys, embedder="column:vector", budget=4
    )
    assert chosen.ids == ["row-002", "row-001", "row-004", "row-005"]
    told = {r["instruction_id"]: r for r in chosen.ranking.iter_rows(named=True)}
    assert (told["row-000"]["deita"], told["row-000"]["eligible"]) == (4.0, False)
    assert told["row-000"]["reason"].endswith("too similar to a row that ranks before it")
    assert told["row-003"]["reason"] == "not eligible: no quality"


def test_deitas_filter_ends_with_the_budget_where_that_changes_no_choice(tmp_path: Path) -> None:
    """Rows 0 and 1, and 4 and 5, are alike; the best two are 5 and 3, so 4 leaves and 0 is left."""
    vectors = [[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0], [-1.0, 0.01]]
    path = zoo(
        tmp_path, rows(6), c=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], q=[1.0] * 6, vector=vectors
    )  # fmt: skip
    keys: dict[str, Any] = {
        "method": "deita", "deita": {"complexity": "c", "quality": "q"},
        "embedder": "column:vector",
    }  # fmt: skip

    def dropped(**more: Any) -> tuple[list[str], list[str]]:
        found = chosen_of(tmp_path, path, **keys | more)
        table = found.ranking.filter(pl.col("reason").str.contains("too similar"))
        return found.ids, table["instruction_id"].to_list()

    two = ["row-005", "row-003"]
    assert dropped(budget=2) == (two, ["row-004"])
    assert dropped(budget=0.5)[1] == ["row-000", "row-004"]  # a share of all that are kept
    gated = {"quality": {"duplicates": ["exact"]}}
    assert dropped(budget=2, **gated) == (two, ["row-000", "row-004"])
    assert dropped(budget=2, clusters=2)[1] == ["row-000", "row-004"]
    assert dropped(budget=4) == ([*two, "row-002", "row-001"], ["row-004"])


def test_one_row_of_a_duplicate_group_stays_whatever_the_method_leaves_out(tmp_path: Path) -> None:
    """Row 1 leaves as a duplicate of 0; then 2, which resembles it alone, is none of deita's."""
    vectors = [[0.0, 1.0], [1.0, 0.0], [1.0, 0.01], [-1.0, 0.0], [0.0, -1.0], [-1.0, -1.0]]
    table = [row(n, [1, 2, 3, 4], instruction=text) for n, text in enumerate("aabbcd")]
    path = zoo(
        tmp_path, table, c=[11.0, 10.0, 9.0, 8.0, 7.0, 6.0], q=[1.0] * 6, vector=vectors
    )  # fmt: skip
    chosen = chosen_of(
        tmp_path, path, method="deita", deita={"complexity": "c", "quality": "q"},
        embedder="column:vector", quality={"duplicates": ["exact"]},
    )  # fmt: skip
    assert chosen.ids == ["row-000", "row-003", "row-004"]
    told = chosen.ranking.filter(pl.col("instruction_id") == "row-002")["reason"][0]
    assert "row-003" in told


@dataclass
class Annotated:
    """The shards of a table of annotations, of which no more is read than is asked for."""

    shards: list[pl.DataFrame]
    read: list[list[str]] = field(default_factory=list)

    def frames(self, columns: list[str]) -> Iterator[pl.DataFrame]:
        self.read.append(columns)
        yield from (shard.select(columns) for shard in self.shards)

    def frame(self, columns: list[str]) -> pl.DataFrame:
        return pl.concat(self.frames(columns))


def test_rds_reads_the_cosines_shard_by_shard() -> None:
    """By hand: targets take d, then a, then b; c has no vector and e is barred."""
    values = pl.DataFrame(
        {
            "instruction_id": ["d", "c", "b", "a", "e"],
            "target_similarity": [0.9, None, 0.4, 0.8, 1.0],
            "similarities": [[0.9, 0.1], None, [0.4, 0.3], [0.2, 0.8], [1.0, 1.0]],
            "lacks": [None, "not_finite", None, None, None],
        }
    )
    table: Any = Annotated([values[:2], values[2:2], values[2:]])
    metrics = pl.DataFrame(
        {
            "instruction_id": list("abcde"), "answerable": [True] * 5,
            "barred": [None] * 4 + ["excluded"],
        }
    )  # fmt: skip
    config = load(None, KEYS | {"dataset": "x", "method": "rds+", "budget": 3}, {})
    found = rival_ranking(config, metrics, Given.of(config, table, None))
    assert dict(found.select("instruction_id", "score").iter_rows()) == {
        "d": 3, "a": 2, "b": 1, "c": None, "e": None,
    }  # fmt: skip
    assert found["target_similarity"].to_list() == [0.8, 0.4, None, 0.9, 1.0]
    assert table.read[0] == ["instruction_id", "target_similarity", "lacks"]
    nothing = rival_ranking(
        config, metrics.with_columns(answerable=False), Given.of(config, table, None)
    )
    assert not nothing["eligible"].any()


def test_k_center_on_a_vector_column(tmp_path: Path) -> None:
    vectors = [[0.0], [1.0], [10.0], [4.0], [10.0], [0.0]]
    path = zoo(tmp_path, rows(6), vector=vectors)
    chosen = chosen_of(tmp_path, path, method="k-center", embedder="column:vector", budget=3)
    assert chosen.ids == ["row-000", "row-002", "row-003"]
    assert chosen.selection["score"].to_list() == [10, 10, 4]


def test_keys_of_the_crowds_methods_are_as_they_were(tmp_path: Path) -> None:
    path = zoo(tmp_path, rows(6))
    config = load(None, KEYS | {"dataset": path}, {})
    assert ranking.identity(config) == {
        "method": "crowdselect", "direction": "top", "weights": [1, 1, 2, 0], "min_scores": 2,
    }  # fmt: skip
    draws = config.model_copy(update={"method": "random"})
    assert ranking.identity(draws) == {"method": "random", "direction": "top", "seed": 0}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"method": "column:nope"}, "has no column 'nope'"),
        ({"method": "column:instruction"}, "expected numbers"),
        ({"method": "nowhere:rank"}, "method 'nowhere:rank': there is no module 'nowhere'"),
        ({"method": "teacher"}, "name it with --teacher-model"),
        ({"method": "teacher", "teacher": {"model": "bee-2b"}}, "did you mean 'bee-2.5b'"),
        (
            {"method": "teacher", "teacher": {"model": NAMES[0]}, "response": "best"},
            "leave response out",
        ),
        ({"method": "k-center", "direction": "bottom"}, "has no bottom"),
        ({"method": "k-center", "budget_tokens": 99}, "give --budget in rows"),
        ({"method": "ifd"}, "--ifd-model"),
        ({"method": "rds+"}, "--rds-model"),
        (
            {"method": "rds+", "rds": {"model": "./x"}},
            "rds.model: model folder './x' does not exist",
        ),
        (
            {"method": "ifd", "ifd": {"model": "./x"}},
            "ifd.model: model folder './x' does not exist",
        ),
        ({"method": "deita"}, "--deita-complexity and --deita-quality"),
        ({"method": "deita", "deita": {"complexity": "a", "quality": "b"}}, "has no column 'a'"),
        (
            {"method": "length", "length": {"tokenizer": "./none"}},
            "length.tokenizer: tokenizer folder './none' does not exist",
        ),
        (
            {"budget_tokens": 9, "tokenizer": "/nowhere"},
            "tokenizer: tokenizer folder '/nowhere' does not exist",
        ),
    ],
)
def test_what_a_method_lacks_is_told_before_anything_runs(
    tmp_path: Path, keys: dict[str, Any], told: str
) -> None:
    path = zoo(tmp_path, rows(6))
    with pytest.raises(UserError, match=told):
        preflight.check(load(None, KEYS | {"dataset": path} | keys, {}))
    assert not (tmp_path / "store").exists()


def test_a_table_of_scores_alone_has_no_answers_to_read(tmp_path: Path) -> None:
    table = {"instruction_id": ["a", "b"], "instruction": ["x", "y"]}
    pl.DataFrame(table | {name: [1.0, 2.0] for name in NAMES}).write_parquet(tmp_path / "s.parquet")
    keys = KEYS | {"dataset": str(tmp_path / "s.parquet"), "method": "length"}
    preflight.check(load(None, keys, {}))
    with pytest.raises(UserError, match="has no answers, which method length reads"):
        preflight.check(load(None, keys | {"length": {"of": "response"}}, {}))


def test_new_rows_are_not_ranked_alone_by_a_method_of_all_rows(tmp_path: Path) -> None:
    path = zoo(tmp_path, rows(6))
    given = KEYS | {"dataset": {"path": path}, "method": "k-center"}
    config = ReselectConfig.model_validate(given).resolved()
    with pytest.raises(UserError, match="use --mode refit"):
        preflight.check(config)
    preflight.check(config.model_copy(update={"mode": "refit"}))
    preflight.check(config.model_copy(update={"rollback_to": 1}))  # nothing is ranked


def test_a_wrong_function_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.py").write_text("def rank(table): raise SystemExit('never called here')\n")
    (tmp_path / "broken.py").write_text("def rank(table:\n")
    (tmp_path / "needs.py").write_text("import absent_package\n")
    given = KEYS | {"dataset": zoo(tmp_path, rows(6))}
    preflight.check(load(None, given | {"method": "odd:rank"}, {}))
    for method, told in {
        "odd:nothing": "has no function nothing", "broken:rank": "SyntaxError",
        "needs:rank": "No module named 'absent_package'",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=f"method {method}: .*{told}"):
            preflight.check(load(None, given | {"method": method}, {}))


def test_a_method_that_is_none_is_told() -> None:
    with pytest.raises(UserError, match="did you mean 'length'"):
        load(None, KEYS | {"dataset": "x", "method": "lenght"}, {})
    with pytest.raises(UserError, match="column:NAME, or module:function"):
        load(None, KEYS | {"dataset": "x", "method": "column:"}, {})

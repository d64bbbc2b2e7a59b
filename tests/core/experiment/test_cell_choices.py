"""Choices alone: each is the selection flow's, made once, described, and found again."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import choose_with
from zoos import NAMES, Zoo, write_zoo

from crowdselect_core.config.experiment import AdvisorConfig, ExperimentConfig
from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, SelectionError
from crowdselect_core.experiment.batch import Batch, batches
from crowdselect_core.experiment.grid import Grid, grid, points
from crowdselect_core.experiment.made import Made
from crowdselect_core.experiment.piloting import advised, prices_of
from crowdselect_core.experiment.schemas import CHOICE, EXPERIMENT, OVERLAPS
from crowdselect_core.export import experiment_files
from crowdselect_core.planning.experiment_forecast import experiment_forecast
from crowdselect_core.report.experiment import as_lines, as_markdown, as_rows
from crowdselect_core.stages.base import How, InProcess
from crowdselect_core.stages.graph import ANSWER_TOKENS, INSTRUCTIONS
from crowdselect_core.store.artifacts import Store
from flows.experiment import choice, planned

EXPERIMENT_KEYS = {
    "methods": ["crowdselect", "random"],
    "clusters": [0, 3],
    "budgets": [10],
    "crowds": ["all", {"name": "ants", "families": ["ant"]}],
    "seeds": [4, 5],
    "replicate": {"subsample": 0.8},
    "controls": ["random"],
    "train": False,
}
ROWS = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("choices")


@pytest.fixture(scope="module")
def zoo(folder: Path) -> Zoo:
    return write_zoo(folder / "zoo", ROWS)


@pytest.fixture(scope="module")
def config(folder: Path, zoo: Zoo) -> SelectConfig:
    return load(None, {
        "dataset": str(zoo.path), "crowd": str(zoo.crowd), "heldout": {"share": 0.2},
        "store": str(folder / "store"), "out": str(folder / "out"), "experiment": EXPERIMENT_KEYS,
    }, {}, flow="experiment")  # fmt: skip


@pytest.fixture(scope="module")
def found(config: SelectConfig) -> Grid:
    return grid(config, ROWS)


def make(config: SelectConfig, found: Grid) -> list[Made]:
    """Make all choices, as the task does."""
    store, made = Store(config.store), list[Made]()
    run = InProcess(store)
    tokens = run(ANSWER_TOKENS, config, run(INSTRUCTIONS, config, None))
    for together, _ in batches(points(config, found)):
        batch = Batch(store, tokens)
        for point in together:
            batch.add(point, choice)
        made += batch.made()
    return made


def chosen_rows(config: SelectConfig, one: Made) -> pl.DataFrame:
    """Return what a cell chose, from the artifact of its replicate."""
    assert one.choices is not None
    assert one.selection is not None
    table = one.choices.open(Store(config.store)).frame()
    return table.filter(pl.col("selection") == one.selection.key).sort("rank")


@pytest.fixture(scope="module")
def made(config: SelectConfig, found: Grid) -> list[Made]:
    return make(config, found)


@pytest.fixture(scope="module")
def results(config: SelectConfig, found: Grid, made: list[Made]) -> experiment_files.Results:
    store = Store(config.store)
    instructions = InProcess(store)(INSTRUCTIONS, config, None)
    told = experiment_files.results(config, found, store, instructions, made)
    experiment_files.write(config, told)
    return told


def test_a_cell_is_what_the_selection_flow_makes(
    folder: Path, config: SelectConfig, found: Grid, made: list[Made]
) -> None:
    """A store of its own, the keys replaced by hand: the same artifacts under the same keys."""
    by_hand = load(None, {
        "dataset": config.dataset.path, "crowd": str(folder / "zoo" / "crowd.yaml"),
        "heldout": {"share": 0.2}, "subsample": {"share": 0.8}, "seed": 5, "clusters": 3,
        "budget": 10, "method": "crowdselect", "response": "best",
        "store": str(folder / "other"), "out": str(folder / "by-hand"),
    }, {})  # fmt: skip
    selected = choose_with(by_hand)
    cell = next(m for m in made if (m.cell, m.replicate) == ("crowdselect k=3 n=10", 1))
    assert cell.rows is not None
    assert cell.selection is not None
    assert cell.selection.key == selected.inputs.selection.key
    theirs = selected.inputs.refs()
    assert {n: r.key for n, r in cell.rows.refs().items()} == {
        name: theirs[name].key for name in cell.rows.refs()
    }


METHODS = [
    "crowdselect",
    {"method": "crowdselect", "quota": "proportional", "response": "random"},
    {"method": "difficulty", "direction": "bottom", "allow_short": True},
    {"method": "length", "length": {"of": "response"}, "response": "random-of-top-5"},
    {"method": "random", "quota": "reference", "response": ["ant-1b", "bee-7b"]},
    "k-center",
]


def test_the_rows_and_answers_are_those_of_the_selection_flow(folder: Path, zoo: Zoo) -> None:
    """Every method, quota, budget and response rule; the answers have gaps."""
    config = load(None, {
        "dataset": str(zoo.path), "crowd": str(zoo.crowd), "subsample": {"share": 0.7},
        "store": str(folder / "methods"), "out": str(folder / "methods-out"), "shard_rows": 40,
        "experiment": {
            "cells": [
                {"methods": METHODS, "clusters": [0, 3], "budgets": [7, 0.2]},
                {"methods": [{"method": "reward", "budget_tokens": 300}], "clusters": [0, 3]},
            ],
            "seeds": [3],
            "replicate": {"split": False, "subsample": None}, "controls": False, "train": False,
        },
    }, {}, flow="experiment")  # fmt: skip
    found = grid(config, ROWS)
    made = make(config, found)
    run = InProcess(Store(str(folder / "by-hand-store")))
    for point, one in zip(points(config, found), made, strict=True):
        other = point.config.model_copy(update={"store": str(folder / "by-hand-store")})
        _, selection = choice(other, run)
        theirs = selection.open(run.store).frame()
        own = chosen_rows(config, one)
        columns = ["rank", "instruction_id", "response_model"]
        assert own.select(columns).equals(theirs.select(columns)), point.cell.name
        tokens = [-(-len(text.encode()) // 4) for text in theirs["response"]]
        assert own["answer_tokens"].to_list() == tokens
        assert one.selection is not None
        assert one.selection.key == selection.key
    [batch] = {one.choices.key for one in made if one.choices}
    assert Store(config.store).place.folders("choices") == [batch]
    assert Store(config.store).place.folders("selection") == []


def test_a_batch_that_was_killed_goes_on(config: SelectConfig, found: Grid, folder: Path) -> None:
    """Its finished rankings are kept, whatever stopped it."""
    own = config.model_copy(update={"store": str(folder / "killed")})
    store = Store(own.store)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "choices" and done == 1:
            raise KeyboardInterrupt

    together, _ = next(batches(points(own, found)))
    run = InProcess(store)
    tokens = run(ANSWER_TOKENS, own, run(INSTRUCTIONS, own, None))
    killed, whole = Batch(store, tokens, How(progress=stop)), Batch(store, tokens)
    for batch in (killed, whole):
        for point in together:
            batch.add(point, choice)
    with pytest.raises(KeyboardInterrupt):
        killed.made()
    [folder_of] = store.place.folders("choices")
    parts = set(store.place.sizes(f"choices/{folder_of}"))
    shards = {name for name in parts if name.endswith(".parquet")}
    assert shards
    made = whole.made()
    assert made[0].choices is not None
    assert shards <= {shard.name for shard in made[0].choices.open(store).manifest.shards}


def test_all_is_made_once_and_then_cached(
    config: SelectConfig, found: Grid, made: list[Made]
) -> None:
    assert not any(one.cached for one in made)
    again = make(config, found)
    assert all(one.cached and one.seconds is None for one in again)
    assert [replace(a, cached=False, seconds=0) for a in again] == [
        replace(m, cached=False, seconds=0, rows=a.rows, choices=a.choices)
        for m, a in zip(made, again, strict=True)
    ]
    assert [a.selection and a.selection.key for a in again] == [
        m.selection and m.selection.key for m in made
    ]


def test_a_part_of_the_crowd_keeps_answers_of_its_own(
    made: list[Made], config: SelectConfig
) -> None:
    for one in made:
        kept = set(chosen_rows(config, one)["response_model"])
        assert kept <= {n for n in NAMES if n.startswith("ant")} or "crowd=ants" not in one.cell
    alls = {m.rows.instructions.key for m in made if m.rows and m.replicate == 0}
    assert len(alls) == 1  # the rows and what is embedded of them is shared


def test_the_table_has_a_row_per_cell_replicate_and_metric(
    results: experiment_files.Results, config: SelectConfig, found: Grid
) -> None:
    table = pl.read_parquet(Path(config.out) / "experiment.parquet")
    assert dict(table.schema) == dict(EXPERIMENT)
    assert table.select("cell", "replicate", "metric").is_duplicated().sum() == 0
    assert set(table["benchmark"]) == {CHOICE}
    assert table.select("cell", "replicate").n_unique() == len(found.cells) * 2
    assert dict(table.select("replicate", "seed").unique().iter_rows()) == {0: 4, 1: 5}
    rows = table.filter(pl.col("metric") == "rows")
    assert rows["value"].to_list() == [10.0] * len(rows)
    shares = table.filter(pl.col("metric").str.starts_with("model_share/"))
    sums = shares.group_by("cell", "replicate").agg(pl.col("value").sum())["value"]
    assert sums.to_list() == pytest.approx([1.0] * len(sums))


def test_what_is_described_is_what_was_chosen(
    results: experiment_files.Results, made: list[Made], config: SelectConfig, zoo: Zoo
) -> None:
    """By hand from the data set: the mean reward and the tokens of the kept answers."""
    one = next(m for m in made if (m.cell, m.replicate) == ("crowdselect k=3 n=10", 1))
    assert one.rows is not None
    assert one.rows.clusters is not None
    chosen = chosen_rows(config, one)
    clusters = one.rows.clusters.open(Store(config.store)).frame()
    table = {row["uuid"]: row for row in pl.read_parquet(zoo.path).iter_rows(named=True)}
    kept = [table[i][m] for i, m in chosen.select("instruction_id", "response_model").iter_rows()]
    by_metric = dict(
        results.table.filter(
            (pl.col("cell") == one.cell) & (pl.col("replicate") == 1)
        ).select("metric", "value").iter_rows()
    )  # fmt: skip
    assert by_metric["reward"] == pytest.approx(sum(k["reward"] for k in kept) / 10)
    assert by_metric["answer_tokens"] == sum(-(-len(k["content"].encode()) // 4) for k in kept)
    assert (
        by_metric["clusters"]
        == chosen.join(clusters, on="instruction_id")["cluster_id"].n_unique()
        == 3
    )


def test_overlaps_are_those_of_the_ids(
    results: experiment_files.Results, made: list[Made], config: SelectConfig
) -> None:
    table = pl.read_parquet(Path(config.out) / "overlaps.parquet")
    assert dict(table.schema) == dict(OVERLAPS)
    a, b = "crowdselect k=0 n=10", "crowdselect k=3 n=10"
    found = []
    for number in (0, 1):
        ids = [
            set(chosen_rows(config, m)["instruction_id"])
            for name in (a, b)
            for m in made
            if (m.cell, m.replicate) == (name, number)
        ]
        found.append(len(ids[0] & ids[1]) / len(ids[0] | ids[1]))
    row = table.filter((pl.col("a") == a) & (pl.col("b") == b)).row(0, named=True)
    assert row["jaccard"] == pytest.approx(sum(found) / 2)
    assert 0 < row["expected"] < 0.2  # 10 of about 75 rows each


def test_the_manifest_names_the_files_and_the_artifacts(
    results: experiment_files.Results, config: SelectConfig, found: Grid
) -> None:
    told: dict[str, Any] = json.loads((Path(config.out) / "manifest.json").read_text())
    assert set(told["files"]) == {
        "experiment.parquet", "comparisons.parquet", "overlaps.parquet",
    }  # fmt: skip
    assert told["summary"]["cells"] == [cell.name for cell in found.cells]
    assert len(told["artifacts"]) == len(found.cells) * 2
    assert told["summary"]["left_out"][0] == {
        "controls": ["random-clusters", "paper-random", "reward", "length", "teacher", "untuned",
                     "full-pool"],
        "why": "not asked for by experiment.controls",
    }  # fmt: skip
    experiment_files.write(config, results)  # its own files may be replaced


def test_what_is_shown(results: experiment_files.Results) -> None:
    lines = as_lines(results)
    assert lines[0] == "experiment   8 cells, 2 replicates"
    assert any(line.startswith("cell         crowdselect k=3 n=10") for line in lines)
    assert any(line.startswith("overlap ") for line in lines)
    assert set(as_rows(results)) == {"cells", "comparisons", "overlaps"}


def test_notes_of_many_cells_are_a_line_wherever_they_are_shown(
    config: SelectConfig, found: Grid, made: list[Made]
) -> None:
    store = Store(config.store)
    noted = [
        replace(one, notes=[f"loss: {one.replicate + 1} rows left out"], model=one.selection)
        for one in made
    ]
    instructions = InProcess(store)(INSTRUCTIONS, config, None)
    told = experiment_files.results(config, found, store, instructions, noted)
    line = "loss: 1 to 2 rows left out (8 of 8 trained cells, 2 of 2 replicates)"
    assert told.notes[-1] == line
    assert [note for note in as_lines(told) if "rows left out" in note] == [f"note: {line}"]
    assert as_markdown(told).count("rows left out") == 1


def test_the_dry_run_knows_what_is_stored(
    folder: Path, config: SelectConfig, made: list[Made]
) -> None:
    lines = experiment_forecast(config, planned, str)
    assert "grid       8 cells (0 of them controls) x 2 replicates" in lines
    assert "cell       random k=0 n=10: 2 of 2 cached" in lines
    assert "cached     16 of 16 choices, all replicates together" in lines
    fresh = config.model_copy(update={"store": str(folder / "fresh")})
    assert "cached     0 of 16 choices, all replicates together" in experiment_forecast(
        fresh, planned, str
    )
    assert not (folder / "fresh").exists()


def test_the_advisor_looks_at_the_first_crowdselect_cell(
    config: SelectConfig, found: Grid, made: list[Made], zoo: Zoo
) -> None:
    by_name = {cell.name: cell for cell in found.cells}
    own = [(by_name[one.cell], one) for one in made if one.replicate == 0]
    store = Store(config.store)
    cell, first = own[0]
    assert first.rows is not None
    prices = prices_of(AdvisorConfig(), cell.config, store, first.rows)
    kept = pl.read_parquet(zoo.path).filter(
        pl.col("uuid").is_in(
            first.rows.instructions.open(store).frame()["instruction_id"].implode()
        )
    )
    texts = [t["content"] for t in kept["ant-1b"] if t["content"]]
    assert prices.answer["ant-1b"] == pytest.approx(
        sum(-(-len(t.encode()) // 4) for t in texts) / len(texts)
    )
    told = advised(AdvisorConfig(keep=0.5), store, own, ROWS)
    assert len(told.lines) == 1
    assert "expected 20 or more: give a larger pilot or a larger budget" in told.lines[0]


FAILING = [
    # both budgets are of one ranking: the one that asks for too much is named
    (
        {"clusters": [0], "budgets": [10, 110]},
        "k=0 n=110",
        "the budget is 110 rows, but only .*: give smaller experiment.budgets, or set allow_short:",
    ),
    ({"clusters": [500]}, "k=500 n=10", "clusters: 500 requested, .*set experiment.clusters to"),
]


@pytest.mark.parametrize(("keys", "cell", "words"), FAILING)
def test_a_choice_that_fails_says_of_which_cell_and_replicate(
    config: SelectConfig, keys: dict[str, Any], cell: str, words: str
) -> None:
    told = {**EXPERIMENT_KEYS, "methods": ["random"], "crowds": ["all"], "controls": False, **keys}
    own = config.model_copy(update={"experiment": ExperimentConfig.model_validate(told)})
    where = rf"^experiment: random {cell}, replicate 0 \(seed 4\): "
    with pytest.raises(SelectionError, match=where + words):
        make(own, grid(own, ROWS))


def test_an_error_of_a_ranking_says_all_that_it_concerns(
    config: SelectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two budgets and two numbers of clusters of one ranking: each of them has the error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ConfigError("no list of ids")

    told = {
        **EXPERIMENT_KEYS, "methods": ["random"], "crowds": ["all"], "controls": False,
        "budgets": [10, 11],
    }  # fmt: skip
    own = config.model_copy(update={"experiment": ExperimentConfig.model_validate(told)})
    monkeypatch.setattr("crowdselect_core.stages.select.ranking.ranked", refuse)
    names = "random k=0 n=10, random k=0 n=11, random k=3 n=10, random k=3 n=11"
    where = f"experiment: method random, replicate 0 (seed 4), all 4 cells of it ({names}): "
    with pytest.raises(ConfigError, match="^" + re.escape(f"{where}no list of ids")):
        make(own, grid(own, ROWS))

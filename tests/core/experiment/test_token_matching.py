"""Token-matched arms: whose they are, the tokens that they choose, and what the dry run knows."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import choose_with
from zoos import Zoo, write_zoo

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, DatasetError
from crowdselect_core.experiment.batch import Batch, Remembering, batches
from crowdselect_core.experiment.grid import Grid, grid, points
from crowdselect_core.experiment.made import Made, made_of
from crowdselect_core.experiment.schemas import EXPERIMENT
from crowdselect_core.experiment.token_matching import arm_points, matched_points
from crowdselect_core.export import experiment_files
from crowdselect_core.planning.experiment_forecast import experiment_forecast
from crowdselect_core.report.experiment_page import writing
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.graph import ANSWER_TOKENS, INSTRUCTIONS
from crowdselect_core.store.artifacts import Store
from flows.experiment import choice, planned

ROWS = 140
KEYS: dict[str, Any] = {
    "methods": [
        {"method": "length", "length": {"of": "response"}, "name": "longest"}, "crowdselect",
    ],
    "clusters": [3], "budgets": [8], "seeds": [4, 5], "replicate": {"subsample": 0.8},
    "controls": ["random"], "train": False, "token_matched": ["longest"],
}  # fmt: skip
LONGEST = "longest k=3 n=8"
FLAT, CLUSTERED = (f"token-matched-random k={k} of {LONGEST}" for k in (0, 3))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """A data set whose answers are of very different lengths."""
    zoo = write_zoo(tmp_path_factory.mktemp("matched") / "zoo", ROWS)
    table = pl.read_parquet(zoo.path)
    longer = [pl.Series(range(ROWS)) % 9 + 1] * (table.width - 2)
    columns = {
        name: [
            row | {"content": row["content"] * times}
            for row, times in zip(table[name], many, strict=True)
        ]
        for name, many in zip(table.columns[2:], longer, strict=True)
    }
    table.with_columns(**{n: pl.Series(v) for n, v in columns.items()}).write_parquet(zoo.path)
    return zoo


def config_of(zoo: Zoo, experiment: dict[str, Any], **keys: Any) -> SelectConfig:
    folder = zoo.path.parent
    return load(None, {
        "dataset": str(zoo.path), "crowd": str(zoo.crowd), "heldout": {"share": 0.2},
        "store": str(folder / "store"), "out": str(folder / "out"), "experiment": experiment,
        **keys,
    }, {}, flow="experiment")  # fmt: skip


@pytest.fixture(scope="module")
def config(zoo: Zoo) -> SelectConfig:
    return config_of(zoo, KEYS)


@pytest.fixture(scope="module")
def found(config: SelectConfig) -> Grid:
    return grid(config, ROWS)


@pytest.fixture(scope="module")
def made(config: SelectConfig, found: Grid) -> list[Made]:
    """All choices, the arms when the others are known, as the flow makes them."""
    store = Store(config.store)
    runner = Remembering(store)
    own = [made_of(p, *choice(p.config, runner)) for p in points(config, found)]
    arms = list(arm_points(config, found, own, store))
    return [*own, *(made_of(p, *choice(p.config, runner)) for p in arms)]


def tokens(frame: pl.DataFrame) -> int:
    return sum(-(-len(text.encode()) // 4) for text in frame["response"])


def rows_of(made: list[Made], config: SelectConfig, cell: str, replicate: int) -> pl.DataFrame:
    [one] = [m for m in made if (m.cell, m.replicate) == (cell, replicate)]
    assert one.selection is not None
    return one.selection.open(Store(config.store)).frame()


def test_the_arms_stand_behind_the_cells_they_match(config: SelectConfig, found: Grid) -> None:
    assert [cell.name for cell in found.cells] == [
        LONGEST, "crowdselect k=3 n=8", "random k=0 n=8", FLAT, CLUSTERED,
    ]  # fmt: skip
    assert found.matched == {FLAT: LONGEST, CLUSTERED: LONGEST}
    arm = found.cells[-1]
    assert (arm.facts["method"], arm.facts["clusters"]) == ("token-matched-random", 3)
    assert (arm.facts["budget"], arm.facts["response"]) == (8.0, "best")
    assert {p.cell.name for p in matched_points(config, found)} == {LONGEST}


def test_true_is_every_method_of_the_grid_and_no_control(zoo: Zoo) -> None:
    methods = ["crowdselect", "random", {"method": "difficulty", "direction": "bottom"}]
    keys = {**KEYS, "token_matched": True, "methods": methods, "clusters": [0]}
    arms = grid(config_of(zoo, {**keys, "controls": True}), ROWS).matched
    assert list(arms.values()) == ["crowdselect k=0 n=8", "difficulty-bottom k=0 n=8"]
    assert not grid(config_of(zoo, {**keys, "token_matched": False}), ROWS).matched
    by_name = grid(config_of(zoo, {**keys, "controls": True, "token_matched": ["reward"]}), ROWS)
    assert list(by_name.matched.values()) == ["reward k=0 n=8"]


def test_an_unknown_method_is_an_error(zoo: Zoo) -> None:
    words = r"experiment.token_matched: no cell is of the method 'longst', did you mean 'longest'"
    with pytest.raises(ConfigError, match=words):
        grid(config_of(zoo, {**KEYS, "token_matched": ["longst"]}), ROWS)


def test_an_arm_has_the_answer_tokens_of_the_choice(
    config: SelectConfig, found: Grid, made: list[Made]
) -> None:
    for replicate in (0, 1):
        wanted = tokens(rows_of(made, config, LONGEST, replicate))
        plain = rows_of(made, config, "random k=0 n=8", replicate)
        for name in (FLAT, CLUSTERED):
            arm = rows_of(made, config, name, replicate)
            # the longest answer has 9 times its words: at most 9 x 44 bytes
            assert wanted - 100 < tokens(arm) <= wanted
            assert arm.height > 8
        assert tokens(plain) < wanted / 1.3
        flat = rows_of(made, config, FLAT, replicate)
        assert set(plain["instruction_id"]) < set(flat["instruction_id"])  # the same draws, further
    assert rows_of(made, config, CLUSTERED, 0)["cluster_id"].n_unique() == 3


def test_an_arm_is_a_selection_that_anyone_can_make(
    zoo: Zoo, config: SelectConfig, made: list[Made]
) -> None:
    wanted = tokens(rows_of(made, config, LONGEST, 1))
    by_hand = config_of(
        zoo, {}, subsample={"share": 0.8}, seed=5, clusters=3, method="random", response="best",
        budget_tokens=wanted, budget_tokens_of="answer",
        store=str(zoo.path.parent / "other"), out=str(zoo.path.parent / "by-hand"),
    ).model_copy(update={"experiment": None})  # fmt: skip
    [arm] = [m for m in made if (m.cell, m.replicate) == (CLUSTERED, 1)]
    assert arm.selection is not None
    assert arm.selection.key == choose_with(by_hand).inputs.selection.key


def test_the_results_tell_of_the_arms(config: SelectConfig, found: Grid, made: list[Made]) -> None:
    store = Store(config.store)
    instructions = InProcess(store)(INSTRUCTIONS, config, None)
    told = experiment_files.results(config, found, store, instructions, made)
    assert dict(told.table.schema) == dict(EXPERIMENT)
    own = told.table.filter(pl.col("metric") == "answer_tokens", pl.col("replicate") == 0)
    counted = dict(own.select("cell", "value").iter_rows())
    assert 0 <= counted[LONGEST] - counted[FLAT] < 100
    assert any("so their number is not the budget's" in note for note in told.notes)
    experiment_files.write(config, told)
    writing.write(config.out)
    page = Path(config.out, "report.html").read_text("utf-8")
    assert page.count(CLUSTERED) > 1


def test_the_dry_run_counts_the_arms(config: SelectConfig, found: Grid, made: list[Made]) -> None:
    store = Store(config.store)
    run = InProcess(store)
    tokens = run(ANSWER_TOKENS, config, run(INSTRUCTIONS, config, None))
    work = [*points(config, found), *arm_points(config, found, made, store)]
    for together, _ in batches(sorted(work, key=lambda point: point.replicate.number)):
        batch = Batch(store, tokens)
        for point in together:
            batch.add(point, choice)
        batch.made()
    lines = experiment_forecast(config, planned, str)
    assert "grid       5 cells (3 of them controls) x 2 replicates" in lines
    assert f"cell       {FLAT}: control token-matched-random, 2 of 2 cached" in lines
    assert "cached     10 of 10 choices, all replicates together" in lines
    fresh = config.model_copy(update={"store": f"{config.store}-fresh"})
    assert "cached     0 of 10 choices, all replicates together" in experiment_forecast(
        fresh, planned, str
    )


def test_scores_alone_have_no_tokens(zoo: Zoo, config: SelectConfig, found: Grid) -> None:
    folder = zoo.path.parent / "alone"
    folder.mkdir()
    table = pl.read_parquet(zoo.path)
    flat = {n: table[n].struct.field("reward") for n in table.columns[2:]}
    alone = table.select("uuid", "instruction").with_columns(**flat)
    alone.write_parquet(folder / "zoo.parquet")
    own = config_of(Zoo(folder / "zoo.parquet", zoo.crowd, ROWS), {
        **KEYS, "methods": ["crowdselect"], "token_matched": True, "controls": False,
    })  # fmt: skip
    store, cells = Store(own.store), grid(own, ROWS)
    made = [made_of(p, *choice(p.config, Remembering(store))) for p in points(own, cells)]
    with pytest.raises(DatasetError, match="have no answers, so there are no tokens to match"):
        list(arm_points(own, cells, made, store))

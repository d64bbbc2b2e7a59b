"""The published tables: their numbers contradict each other only where they are marked."""

from collections import defaultdict
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from crowdselect_core.config.experiment import ExperimentConfig, PublishedName
from crowdselect_core.config.load import load
from crowdselect_core.experiment.grid import grid
from crowdselect_core.experiment.published.tables import published, same_model
from crowdselect_core.experiment.schemas import EXPERIMENT

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "paper").glob("*.yaml"))
# What a row means by leaving it out, for one table's rows to be another's.
USUAL = {"direction": "top", "loss": "sft", "peft": "full", "reward_models": "", "response": ""}


def test_every_name_of_the_config_is_a_table() -> None:
    assert set(get_args(PublishedName)) == set(published().tables)
    assert ExperimentConfig.model_validate({"published": "table2"}).published == ["table2"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_names_its_own_table(path: Path) -> None:
    [name] = yaml.safe_load(path.read_text())["experiment"]["published"]
    number = int(path.stem.removeprefix("table"))
    assert name == ("tables14-17" if 14 <= number <= 17 else path.stem)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_row_is_about_one_cell_of_its_example(path: Path) -> None:
    config = load(str(path), {}, {}, flow="experiment")
    assert config.experiment is not None
    facts = [cell.facts for cell in grid(config, 100_000).cells]
    trained = {str(f["base_model"]).rsplit("/", 1)[-1] for f in facts}
    table = published().tables[config.experiment.published[0]]
    for row in table.rows:
        for model in row.values.keys() & trained:
            cells = [f["cell"] for f in facts if row.is_of(f, model)]
            # Table 2 has the integrated score of other tables, and IFD with a first training
            elsewhere = row.label.startswith("Multi") or row.label == "IFD, pre"
            assert len(cells) == (0 if elsewhere else 1), (row.label, cells)


def test_rows_match_by_columns_of_experiment_parquet() -> None:
    rows = [row for table in published().tables.values() for row in table.rows]
    assert {name for row in rows for name in row.match or ()} <= set(EXPERIMENT)
    assert all(set(row.disputed) <= set(row.values) for row in rows)
    for row in rows:
        for mt, arena in row.values.values():
            assert 1 <= mt <= 10
            assert 50 <= arena <= 100


def test_numbers_that_contradict_each_other_are_marked() -> None:
    found: dict[Any, list[tuple[tuple[float, float], bool]]] = defaultdict(list)
    for table in published().tables.values():
        for row in (r for r in table.rows if r.match is not None):
            key = tuple(sorted((USUAL | dict(row.match or {})).items()))
            for model, values in row.values.items():
                found[model, key, "pre" in row.label and row.label].append(
                    (values, model in row.disputed)
                )
    several = [own for own in found.values() if len(own) > 1]
    assert len(several) > 8
    for own in several:
        differ = len({values for values, _ in own}) > 1
        assert all(marked for _, marked in own) or not differ


def test_a_row_is_about_the_cells_that_have_its_settings() -> None:
    table = published().tables["table13"]
    random = next(row for row in table.rows if row.label == "random")
    facts = dict.fromkeys(EXPERIMENT) | {
        "method": "random", "clusters": 10, "budget": 1000.0, "loss": "sft",
        "base_model": "meta-llama/Llama-3.2-3B",
    }  # fmt: skip
    assert random.is_of(facts, "Llama-3.2-3B")
    assert not random.is_of(facts, "Llama-3.2-3B-Instruct")
    assert not random.is_of(facts | {"clusters": 0}, "Llama-3.2-3B")
    assert not random.is_of(facts | {"base_model": None}, "Llama-3.2-3B")
    assert same_model("/models/llama-3.2-3b/", "Llama-3.2-3B")

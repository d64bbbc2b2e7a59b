"""The parts of a cell's name that the page explains are those that cells are named by."""

from crowdselect_core.config.load import load
from crowdselect_core.experiment.grid import grid
from crowdselect_core.report.experiment_page.legend import PARTS, methods_text, names_text


def test_every_part_of_a_name_is_explained() -> None:
    crowd = [
        {"name": f"{family}-{size}b", "family": family, "size": size}
        for family in ("ant", "bee")
        for size in (1, 2)
    ]
    config = load(None, {
        "dataset": "zoo.parquet", "crowd": crowd, "reward_models": ["r", "s"],
        "experiment": {
            "methods": ["crowdselect", {"method": "random", "budget_tokens": 500}],
            "weights": [[1, 1, 1]], "responses": ["random"], "reward_models": [["r"]],
            "crowds": [{"name": "ants", "families": ["ant"]}], "train": False, "controls": False,
        },
    }, {}, flow="experiment")  # fmt: skip
    names = [cell.name for cell in grid(config, 100).cells]
    told = names_text(names)
    assert [part for part in PARTS if f"{part}: " in told] == list(PARTS), names
    assert names_text(["untuned model"]) == ""


def test_methods_are_explained_in_one_order() -> None:
    assert methods_text({"random", "mine", "difficulty"}) == (
        "difficulty: the crowd's answers have a low mean score; random: rows drawn at random"
    )

"""`flows.experiment --preflight`: models, licences and what fails is said beforehand."""

from pathlib import Path

import polars as pl
import pytest
from zoos import write_zoo

from crowdselect_core.config.load import load
from crowdselect_core.errors import ConfigError
from crowdselect_core.planning.experiment_grid import experiment_grid
from crowdselect_core.planning.experiment_preflight import experiment_preflight


def found(folder: Path, model: str) -> list[str]:
    zoo = write_zoo(folder / "zoo", 40)
    config = load(None, {
        "dataset": str(zoo.path), "crowd": str(zoo.crowd), "store": str(folder / "store"),
        "embedder": {"kind": "sentence-transformers", "model": model},
        "experiment": {"methods": ["difficulty"], "clusters": [2], "budgets": [5], "train": False},
    }, {}, flow="experiment")  # fmt: skip
    lines: list[str] = []
    try:
        lines += experiment_preflight(config, str)
    except ConfigError as error:
        lines.append(str(error))
    return lines


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlanguage: en\nlicense: cc-by-nc-4.0\n---\n# Model\n", "licence cc-by-nc-4.0"),
        ("# Model\nlicense: mit\n", "licence not stated: look it up"),
    ],
)
def test_the_licence_of_a_folder_is_its_cards(tmp_path: Path, card: str, licence: str) -> None:
    model = tmp_path / "embedder"
    model.mkdir()
    (model / "README.md").write_text(card)
    assert found(tmp_path, str(model)) == [
        f"ok         embedder {model}: a folder, {licence}",
        "preflight  1 check, none failed",
    ]


def test_a_model_that_is_not_there_fails(tmp_path: Path) -> None:
    line, end = found(tmp_path, str(tmp_path / "absent"))
    assert line.startswith(f"FAILED     embedder {tmp_path}/absent: model folder")
    assert end == "preflight: 1 checks failed; see the lines above"


@pytest.mark.parametrize(
    ("answers", "refused"),
    [
        ("human", "heldout.answers 'human': is a column of .* have no such column"),
        (
            "humans",
            "heldout.answers 'humans': expected best, a crowd model .a, b. or a text column",
        ),
        ("best", None),
        ("a", None),
    ],
)
def test_held_out_answers_that_no_cell_can_have_are_refused_before_the_crowd_is_asked(
    tmp_path: Path, answers: str, refused: str | None
) -> None:
    pytest.importorskip("rensa")
    rows = {"id": ["0", "1"], "instruction": ["One.", "Two."], "human": ["Yes.", "No."]}
    pl.DataFrame(rows).write_parquet(tmp_path / "data.parquet")
    engine = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1"}
    crowd = [{"name": n, "family": "f", "size": size, "engine": {**engine, "model": n}}
             for size, n in enumerate("ab", 1)]  # fmt: skip
    graders = [{"name": f"g{n}", "kind": "judge", "engine": {**engine, "model": f"g{n}"}}
               for n in range(2)]  # fmt: skip
    config = load(None, {
        "dataset": str(tmp_path / "data.parquet"), "crowd": crowd, "reward_models": graders,
        "heldout": {"share": 0.5, "answers": answers}, "training": {"base_model": "b"},
        "experiment": {"methods": ["difficulty"], "clusters": [0], "budgets": [1]},
    }, {}, flow="experiment")  # fmt: skip
    with pytest.raises(ConfigError, match=refused or r"evaluation\.benchmarks is missing"):
        experiment_grid(config)

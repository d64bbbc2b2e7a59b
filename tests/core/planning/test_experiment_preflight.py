"""`flows.experiment --preflight`: models, licences and what fails is said beforehand."""

from pathlib import Path

import pytest
from zoos import write_zoo

from crowdselect_core.config.load import load
from crowdselect_core.errors import ConfigError
from crowdselect_core.planning.experiment_preflight import experiment_preflight


def found(folder: Path, model: str) -> list[str]:
    zoo = write_zoo(folder / "zoo", 40)
    config = load(None, {
        "dataset": str(zoo.path), "crowd": str(zoo.crowd), "store": str(folder / "store"),
        "embedder": {"kind": "sentence-transformers", "model": model},
        "experiment": {"methods": ["difficulty"], "clusters": [2], "train": False},
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
    assert found(tmp_path, str(model)) == [f"ok         embedder {model}: a folder, {licence}"]


def test_a_model_that_is_not_there_fails(tmp_path: Path) -> None:
    line, end = found(tmp_path, str(tmp_path / "absent"))
    assert line.startswith(f"FAILED     embedder {tmp_path}/absent: model folder")
    assert end == "preflight: 1 checks failed; see the lines above"

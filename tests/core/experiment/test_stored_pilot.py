"""A pilot from stored artifacts chooses what the selection chose."""

from pathlib import Path
from typing import Any

import pytest
from chain import Chosen, choose_with

from crowdselect_core.config.load import load
from crowdselect_core.errors import ConfigError
from crowdselect_core.experiment.pilot import chosen, metrics_of, ranked_by
from crowdselect_core.experiment.stored_pilot import stored_pilot


def made(folder: Path, **keys: Any) -> Chosen:
    places = {"store": str(folder / "store"), "out": str(folder / "out")}
    return choose_with(load(None, places | keys, {}))


@pytest.mark.parametrize(
    "keys",
    [
        {"clusters": 4, "weights": "1,-1,1.5"},
        {"method": "stability", "quota": "proportional", "clusters": 3},
    ],
)
def test_the_choice_is_that_of_the_selection(tmp_path: Path, keys: dict[str, Any]) -> None:
    run = made(tmp_path, **keys)
    pilot = stored_pilot(run.config, run.store, run.inputs)
    rewards = sorted(pilot.scores_by_reward)
    rows_B = chosen(pilot, ranked_by(pilot, metrics_of(pilot, pilot.models, rewards)))
    assert [pilot.ids[int(i)] for i in rows_B] == run.ids


def test_excluded_rows_stay_out(tmp_path: Path) -> None:
    first = made(tmp_path / "a", clusters=0)
    listed = tmp_path / "exclude.txt"
    listed.write_text("\n".join(first.ids[:5]))
    run = made(tmp_path / "b", clusters=0, exclude=str(listed))
    pilot = stored_pilot(run.config, run.store, run.inputs)
    assert not set(first.ids[:5]) & set(pilot.ids)
    rows_B = chosen(
        pilot, ranked_by(pilot, metrics_of(pilot, pilot.models, [*pilot.scores_by_reward]))
    )
    assert [pilot.ids[int(i)] for i in rows_B] == run.ids


def test_a_method_without_weights_is_an_error(tmp_path: Path) -> None:
    run = made(tmp_path, clusters=0, method="random")
    with pytest.raises(ConfigError, match="method random"):
        stored_pilot(run.config, run.store, run.inputs)

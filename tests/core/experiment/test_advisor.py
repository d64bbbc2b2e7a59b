"""The sub-crowd that keeps the choice, its price, and whether a larger crowd would pay."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from crowdselect_core import CrowdModel
from crowdselect_core.errors import ConfigError, SelectionError
from crowdselect_core.experiment.advisor import ADVICE, advise, halves, last
from crowdselect_core.experiment.crowd_curve import CURVE, agreement, crowd_curve
from crowdselect_core.experiment.pilot import Pilot
from crowdselect_core.experiment.sub_crowds import Prices, SubCrowd, cost


def pilot(families: int = 4, noise: float = 0.3, rows: int = 300) -> Pilot:
    """Return a pilot whose models all see the same row, each with noise of its own."""
    rng = np.random.default_rng(3)
    crowd = [
        CrowdModel(name=f"{f}{size}", family=f, size=size)
        for f in "abcdefgh"[:families]
        for size in (1, 2)
    ]
    hard = rng.normal(size=(rows, 1))
    slope = rng.normal(size=(rows, 1))  # how much better the larger one answers
    size = np.array([m.size for m in crowd])
    scores = hard + slope * size + rng.normal(0, noise, (rows, len(crowd)))
    ids = pl.Series("instruction_id", [f"{i:04d}" for i in range(rows)])
    return Pilot(ids, crowd, {"good": scores}, 60)


def prices(of: Pilot, **other: float) -> Prices:
    answer = dict.fromkeys(of.models, 1.0) | other
    return Prices(answer, dict.fromkeys(of.scores_by_reward, 0.5), "$")


def test_the_cost_by_hand() -> None:
    told = Prices({"a": 2.0, "b": 3.0, "c": 9.0}, {"r": 0.5, "s": 0.25}, "$")
    # two answers, 5, and each scored twice, 2 * 0.75: 6.5 a row
    assert cost(SubCrowd(("a", "b"), ("r", "s")), told, 10) == 65


def test_models_that_say_nothing_new_and_cost_most_go_first() -> None:
    # without noise the families are copies of each other: without both of c nothing changes
    of = pilot(3, noise=0.0)
    found = advise(of, prices(of, c1=50.0, c2=50.0), keep=0.7, rows=1000, rounds=20)
    assert dict(found.table.schema) == dict(ADVICE)
    assert set(found.table["removed"][1:3]) == {"c1", "c2"}
    without = found.table.row(2, named=True)
    assert (without["kept"], without["low"], without["high"]) == (1.0, 1.0, 1.0)
    assert not {"c1", "c2"} & set(found.advised.models)
    assert found.table.filter("advised")["step"][0] >= 2


def test_the_advice_stops_where_either_half_loses_the_share() -> None:
    assert last([True] * 4, [True] * 4) == 3
    assert last([True, True, False, True], [True] * 4) == 1
    assert last([True] * 4, [True, False, True, True]) == 0


def test_the_table_is_the_whole_path_and_costs_fall() -> None:
    of = pilot()
    found = advise(of, prices(of), keep=0.8, rows=100, rounds=20)
    table = found.table
    assert table["step"].to_list() == list(range(7))  # 8 models to 2
    assert table["models"].to_list() == [8, 7, 6, 5, 4, 3, 2]
    assert table["cost"].to_list() == pytest.approx([150 * m for m in (8, 7, 6, 5, 4, 3, 2)])
    assert table["saved"][0] == 0
    assert table.row(0, named=True)["kept"] == 1
    assert table["advised"].sum() == 1
    for row in table.to_dicts():
        assert row["low"] - 0.15 <= row["kept"] <= row["high"] + 0.15
    assert "greedy removal" in found.lines[-1]
    assert "saved" in found.lines[1]


def test_a_useless_reward_model_goes() -> None:
    of = pilot(noise=0.05)
    (good,) = of.scores_by_reward.values()
    noise = 1e-3 * np.random.default_rng(0).normal(size=good.shape) + good
    of = replace(of, scores_by_reward={"good": good, "copy": noise})
    told = Prices(dict.fromkeys(of.models, 0.0), {"good": 1.0, "copy": 100.0}, "$")
    found = advise(of, told, keep=0.9, rows=10, rounds=10)
    assert found.advised.reward_models == ("good",)
    assert "reward model copy" in found.table["removed"].to_list()


def test_where_nothing_can_go_it_is_said() -> None:
    rng = np.random.default_rng(0)
    of = pilot(2)
    of = replace(of, scores_by_reward={"r": rng.normal(size=(300, 4))})
    found = advise(of, prices(of), keep=1.0, rows=10, rounds=5)
    assert found.advised.models == tuple(of.models)
    assert found.lines == ["No model or reward model can be left out and 100% of the choice kept."]


def test_a_seed_gives_the_same_again() -> None:
    of = pilot(3)
    first, again = (advise(of, prices(of), 0.8, 10, rounds=10, seed=4) for _ in range(2))
    assert first.table.equals(again.table)


def test_the_halves_are_disjoint_and_share_the_budget() -> None:
    first, second = halves(pilot(), 0)
    assert not set(first.ids) & set(second.ids)
    assert len(first.ids) + len(second.ids) == 300
    assert first.budget == len(first.ids) // 5  # 60 of 300
    assert second.budget == len(second.ids) // 5


def test_errors() -> None:
    of = pilot()
    with pytest.raises(ConfigError, match=r"a share of 1\.5 to keep"):
        advise(of, prices(of), 1.5, 10)
    with pytest.raises(ConfigError, match="no price of a1, good"):
        advise(of, Prices({m: 1.0 for m in of.models if m != "a1"}, {}, "$"), 0.9, 10)
    with pytest.raises(SelectionError, match="give a larger pilot"):
        advise(replace(of, budget=10), prices(of), 0.9, 10)


def test_crowds_that_agree_need_no_more_models() -> None:
    found = crowd_curve(pilot(noise=0.001), draws=3)
    assert dict(found.table.schema) == dict(CURVE)
    assert found.table["families"].to_list() == [1, 2, None, None]
    assert found.table["extrapolated"].to_list() == [False, False, True, True]
    assert found.table["models"].to_list() == [2, 4, 8, 16]
    assert found.table["shared"].min() > 0.9  # type: ignore[operator]
    assert "not worth paying for" in found.lines[1]


def test_noisy_crowds_would_gain_and_it_is_called_an_extrapolation() -> None:
    found = crowd_curve(pilot(noise=1.5), draws=5)
    own, twice = found.table.filter("extrapolated")["shared"].to_list()
    assert found.table["expected"][0] == pytest.approx(60 / 300)
    assert own + 0.02 < twice < 1
    assert "only training can tell" in found.lines[1]
    assert "extrapolation" in found.lines[2]


def test_of_three_families_it_cannot_be_told() -> None:
    found = crowd_curve(pilot(3))
    assert found.table.is_empty()
    assert "cannot be told" in found.lines[0]


def test_the_agreement_beyond_chance_by_hand() -> None:
    assert agreement(0.6, 0.2) == pytest.approx(0.5)  # 0.4 of 0.8
    assert agreement(0.2, 0.2) == 0
    assert agreement(1.0, 1.0) == 1

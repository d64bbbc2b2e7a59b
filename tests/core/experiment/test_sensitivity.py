"""What a choice loses when a weight, a model, a family or a reward model is another."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from crowdselect_core import CrowdModel, crowd_metrics, integrate, select
from crowdselect_core.errors import CrowdError, DatasetError
from crowdselect_core.experiment.pilot import Pilot, chosen, metrics_of, ranked_by
from crowdselect_core.experiment.sensitivity import SENSITIVITY, sensitivity

CROWD = [
    CrowdModel(name="b2", family="b", size=2),
    CrowdModel(name="a1", family="a", size=1),
    CrowdModel(name="a2", family="a", size=2),
    CrowdModel(name="b1", family="b", size=1),
]


def pilot(rows: int = 60, rewards: int = 1, budget: int | float = 12) -> Pilot:
    rng = np.random.default_rng(5)
    shared = rng.normal(size=(rows, len(CROWD))) + rng.normal(size=(rows, 1))
    scores = {f"r{k}": shared + rng.normal(0, 0.5, shared.shape) for k in range(rewards)}
    ids = pl.Series("instruction_id", [f"{i:03d}" for i in range(rows)])
    clusters = (np.arange(rows) % 3).astype(np.int64)
    return Pilot(ids, CROWD, scores, budget, cluster_N=clusters)


def by_library(of: Pilot, crowd: list[CrowdModel], weights: tuple[float, ...]) -> set[str]:
    """Choose as a user of the library does."""
    columns = {m.name: of.scores_by_reward["r0"][:, CROWD.index(m)] for m in crowd}
    wide = pl.DataFrame({"instruction_id": of.ids, **columns})
    clusters = pl.DataFrame({"instruction_id": of.ids, "cluster_id": of.cluster_N})
    ranking = integrate(crowd_metrics(wide, crowd), weights)
    return set(select(ranking, clusters, of.budget)["instruction_id"])


def test_every_row_is_the_overlap_with_the_librarys_choice() -> None:
    of = pilot()
    whole = by_library(of, CROWD, (1, 1, 2))
    table = sensitivity(of, weights=[(1, -1, 1)])
    assert dict(table.schema) == dict(SENSITIVITY)
    kept = {(r["kind"], r["change"]): r["kept"] for r in table.to_dicts()}
    assert list(kept) == [
        ("weights", "1,-1,1"),
        *(("model", m) for m in ("a1", "a2", "b1", "b2")),
        ("family", "a"),
        ("family", "b"),
    ]
    assert kept["weights", "1,-1,1"] == len(whole & by_library(of, CROWD, (1, -1, 1))) / 12
    without = [m for m in CROWD if m.name != "a2"]
    assert kept["model", "a2"] == len(whole & by_library(of, without, (1, 1, 2))) / 12
    only_b = [m for m in CROWD if m.family == "b"]
    assert kept["family", "a"] == len(whole & by_library(of, only_b, (1, 1, 2))) / 12
    assert all(0 <= k < 1 for k in kept.values())


def test_chance_is_what_a_random_choice_keeps() -> None:
    # 4 of the 20 rows of each of three clusters: 3 * 4 * 4 / 20 = 2.4 of 12
    expected = sensitivity(pilot())["expected"].to_list()
    assert expected == pytest.approx([0.2] * 6)


def test_reward_models_are_left_out_too() -> None:
    table = sensitivity(pilot(rewards=2)).filter(kind="reward model")
    assert table["change"].to_list() == ["r0", "r1"]
    assert sensitivity(pilot(rewards=1)).filter(kind="reward model").is_empty()


def test_fewer_eligible_rows_are_shown() -> None:
    lone = replace(
        pilot(), crowd=[m.model_copy(update={"family": m.name}) for m in CROWD[:1]] + CROWD[1:]
    )
    # b2 is a family of its own and b1 too: without family a nobody has stability
    row = sensitivity(lone).filter(kind="family", change="a").row(0, named=True)
    assert (row["eligible"], row["rows"], row["kept"], row["jaccard"]) == (0, 0, 0.0, 0.0)


def test_the_same_weights_keep_everything() -> None:
    row = sensitivity(pilot(), weights=[(1, 1, 2)]).row(0, named=True)
    assert (row["kept"], row["jaccard"], row["eligible"], row["rows"]) == (1.0, 1.0, 60, 12)


def test_the_order_of_the_crowd_changes_nothing() -> None:
    of = pilot(rewards=2)
    turned = replace(
        of,
        crowd=of.crowd[::-1],
        scores_by_reward={k: s[:, ::-1] for k, s in of.scores_by_reward.items()},
    )
    assert sensitivity(of).equals(sensitivity(turned))


def test_a_model_without_a_complete_answer_leaves_the_row() -> None:
    of = pilot()
    complete = np.ones((60, 4), dtype=bool)
    complete[7] = [True, False, False, False]  # only b2 answered row 7
    of = replace(of, complete_NM=complete)
    whole = metrics_of(of, of.models, ["r0"])
    assert whole["answerable"].all()
    left = metrics_of(of, ["a1", "a2", "b1"], ["r0"])
    assert left["answerable"].to_list().index(False) == 7
    assert not ranked_by(of, left).eligible_N[7]


def test_no_eligible_row_chooses_nothing() -> None:
    of = replace(pilot(), min_scores=9)
    assert len(chosen(of, ranked_by(of, metrics_of(of, of.models, ["r0"])))) == 0


def test_unknown_names_and_wrong_shapes_are_errors() -> None:
    with pytest.raises(CrowdError, match="no model x"):
        metrics_of(pilot(), ["x"], ["r0"])
    with pytest.raises(CrowdError, match="no reward model r9"):
        metrics_of(pilot(), ["a1"], ["r9"])
    with pytest.raises(DatasetError, match="expected \\(60, 4\\)"):
        replace(pilot(), scores_by_reward={"r0": np.zeros((60, 3))})
    with pytest.raises(DatasetError, match="ascending"):
        replace(pilot(), ids=pilot().ids.reverse())
    with pytest.raises(DatasetError, match="no reward model"):
        replace(pilot(), scores_by_reward={})

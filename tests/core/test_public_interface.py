"""The names the package promises, end to end on a frame small enough to follow by hand."""

from importlib.metadata import version

import polars as pl
import pytest

import crowdselect_core
from crowdselect_core import CrowdModel, crowd_metrics, integrate, select
from crowdselect_core.experiment.pilot import Pilot


def test_from_scores_to_chosen_rows() -> None:
    crowd = [
        CrowdModel(name="small", family="f", size=1),
        CrowdModel(name="large", family="f", size=70),
        CrowdModel(name="other", family="g", size=8),
    ]
    scores = pl.DataFrame(
        {
            "instruction_id": ["a", "b", "c", "d"],
            "small": [0.0, 6.0, 1.0, 5.0],
            "large": [6.0, 0.0, 2.0, None],
            "other": [3.0, 0.0, 0.0, None],
        }
    )
    metrics = crowd_metrics(scores, crowd)
    # a: mean 3, deviations -3 3 0: 18/3 = 6, rho 1. b: mean 2, 4 -2 -2: 24/3 = 8, rho -1.
    # c: mean 1, 0 1 -1: 2/3, rho 1. d has one score.
    assert metrics["difficulty"].to_list() == [-3.0, -2.0, -1.0, -5.0]
    assert metrics["separability"].to_list() == pytest.approx([6.0, 8.0, 2 / 3, None])
    assert metrics["stability"].to_list() == [1.0, -1.0, 1.0, None]

    ranking = integrate(metrics, (1, 1, 2))
    # q_d 0 .5 1; q_s .5 1 0; q_t .75 0 .75 (two ranks of 2.5): .5 + 1.5, 1.5, 1 + 1.5
    assert ranking["score"].to_list() == [2.0, 1.5, 2.5, None]
    assert ranking["reason"].to_list() == [None, None, None, "too_few_scores"]

    clusters = pl.DataFrame({"instruction_id": ["a", "b", "c", "d"], "cluster_id": [0, 1, 0, 1]})
    assert select(ranking, clusters, 2)["instruction_id"].to_list() == ["c", "b"]
    assert select(ranking, None, 2)["instruction_id"].to_list() == ["c", "a"]


def test_the_package_names_what_it_exports() -> None:
    for name in crowdselect_core.__all__:
        assert callable(getattr(crowdselect_core, name))
    with pytest.raises(AttributeError, match="'selekt'"):
        _ = crowdselect_core.selekt


def test_what_a_shell_completes() -> None:
    assert {*crowdselect_core.__all__, "__version__"} <= set(dir(crowdselect_core))
    assert crowdselect_core.__version__ == version("crowdselect")


def test_what_is_no_frame_or_no_model_is_told_in_one_line() -> None:
    crowd = [CrowdModel(name="a", family="f", size=1), CrowdModel(name="b", family="f", size=2)]
    scores = pl.DataFrame({"instruction_id": ["x"], "a": [True], "b": [False]})
    metrics = crowd_metrics(scores, crowd)  # a Boolean is 0 or 1
    assert metrics["difficulty"].to_list() == [-0.5]
    ranking = integrate(metrics, (1, 1, 0))
    found = r"found polars LazyFrame, expected a polars DataFrame: collect\(\) it"
    with pytest.raises(TypeError, match=f"scores: {found}"):
        crowd_metrics(scores.lazy(), crowd)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"scores: found builtins dict, .*: pass polars.DataFrame"):
        crowd_metrics(scores.to_dict(), crowd)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"metrics: {found}"):
        integrate(metrics.lazy())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"ranking: {found}"):
        select(ranking.lazy(), None, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"clusters: {found}"):
        select(ranking, ranking.lazy(), 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="crowd: entry 0 is a dict, expected a CrowdModel"):
        crowd_metrics(scores, [{"name": "a"}])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"pilot: the ids are a list, expected .* pl.Series\(ids"):
        Pilot(["x"], crowd, {}, 1)  # type: ignore[arg-type]

"""What a comparison says in plain words."""

from typing import Any

import polars as pl
import pytest

from crowdselect_core.experiment.comparisons import Comparisons
from crowdselect_core.experiment.metric_words import better
from crowdselect_core.experiment.verdict import COVERAGE, verdicts, warning


def comparison(**other: Any) -> dict[str, Any]:
    return {
        "a": "crowdselect", "b": "clustered random", "primary": True, "benchmark": "heldout-loss",
        "metric": "loss_per_row", "difference": 0.012, "low": -0.02, "high": 0.044, "p": 0.4,
        "p_holm": 0.4, "replicates": 10, "detectable": 0.0504, **other,
    }  # fmt: skip


def said(planned: int = 10, split: bool = True, subsampled: bool = False, **other: Any) -> str:
    table = pl.DataFrame([comparison(**other)])
    [line] = verdicts(
        Comparisons(table, [], 0.2 if split else None, planned), subsampled=subsampled
    )
    return line


def test_the_whole_line() -> None:
    assert said() == (
        "crowdselect - clustered random: +0.012 [-0.020, 0.044] nats per row over 10 replicates "
        "(lower is better): not distinguishable; 10 replicates find differences from 0.05"
    )


def test_of_a_loss_a_positive_difference_is_worse() -> None:
    worse = said(difference=0.05, low=0.02, high=0.08, p=0.01)
    assert "crowdselect is worse" in worse
    better_one = said(difference=-0.05, low=-0.08, high=-0.02, p=0.01)
    assert "crowdselect is better" in better_one


def test_of_a_win_rate_a_positive_difference_is_better() -> None:
    line = said(
        benchmark="arena-hard", metric="win_rate", difference=5.0, low=2.0, high=8.0, p=0.01
    )
    assert "+5.0 [2.0, 8.0] percentage points of win rate" in line
    assert "(higher is better): crowdselect is better" in line


def test_what_a_command_prints_has_no_known_direction() -> None:
    line = said(benchmark="command", metric="latency", low=0.001, p=0.01)
    assert "(which direction is better is not known): crowdselect is higher" in line


@pytest.mark.parametrize(
    ("benchmark", "metric", "expected"),
    [
        ("heldout-loss", "loss", "lower"),
        ("mt-bench", "average", "higher"),
        ("mt-bench", "loss_rate", "lower"),
        ("lm-eval", "gsm8k/exact_match,strict-match", "higher"),
        ("lm-eval", "wikitext/word_perplexity", "lower"),
        ("lm-eval", "own_task/own_metric", "unknown"),
        ("command", "loss", "unknown"),
        ("arena-hard", "win_rate (gpt-4.1)", "higher"),
        ("choice", "reward", "unknown"),
    ],
)
def test_the_direction_of_metrics(benchmark: str, metric: str, expected: str) -> None:
    assert better(benchmark, metric) == expected


def test_an_exploratory_difference_must_survive_the_correction() -> None:
    found = {"difference": 0.05, "low": 0.02, "high": 0.08, "p": 0.01, "primary": False}
    assert "not distinguishable (the interval excludes 0, but p = 0.08)" in said(
        p_holm=0.08, **found
    )
    line = said(p_holm=0.04, **found)
    assert "crowdselect is worse" in line
    assert "exploratory, p = 0.04 after Holm's correction" in line


def test_below_ten_replicates_the_line_warns_with_the_coverage() -> None:
    line = said(planned=5, replicates=5)
    low, high = COVERAGE[5]
    assert "Fewer than 10 replicates: do not trust the interval" in line
    assert f"95% intervals of 5 replicates held the truth in {low:.1%} to {high:.1%}" in line
    assert "and yours may do so less often" in line
    assert "of 3 replicates" in warning(4, split=True)  # the next number below that was simulated
    assert "simulated" not in warning(2, split=True)
    assert warning(10, split=True) == ""


def test_where_simulated_intervals_are_too_narrow_the_line_says_so() -> None:
    """At 20 replicates the least coverage is 90.1 %, at 10 it is 93.0 %."""
    line = said(planned=20, replicates=20)
    assert "the interval is too narrow (simulated on " in line
    assert "95% intervals of 20 replicates held the truth in 90.1% to 100.0%" in line
    assert "too narrow" not in said(planned=19, replicates=19)


def test_no_coverage_is_told_of_replicates_that_were_not_simulated() -> None:
    """The simulated replicates hold out rows of their own, and their intervals are corrected."""
    few = warning(5, split=False)
    assert few.startswith("Fewer than 10 replicates: do not trust the interval (it supposes nearly")
    assert "simulated" not in few
    assert warning(20, split=False) == ""


def test_a_warning_stands_in_the_first_line_that_it_concerns() -> None:
    rows = [comparison(replicates=n, primary=n == 5) for n in (5, 5, 10, 3)]
    lines = verdicts(Comparisons(pl.DataFrame(rows), [], 0.2, 10), subsampled=False)
    assert [line.count("Fewer than 10 replicates") for line in lines] == [1, 0, 0, 1]
    assert "95% intervals of 5 replicates" in lines[0]
    assert "95% intervals of 3 replicates" in lines[3], "another warning: fewer replicates yet"


def test_a_single_replicate_says_nothing() -> None:
    line = said(planned=1, replicates=1, low=None, high=None, detectable=None, p=1.0)
    assert "over 1 replicate (lower is better): a single replicate has no interval" in line
    assert "find differences" not in line


def test_missing_replicates_are_in_the_line() -> None:
    assert "over 10 replicates of 12 planned (" in said(planned=12)


def test_training_seeds_are_called_so() -> None:
    line = said(planned=3, replicates=3, split=False)
    assert "over 3 training seeds" in line
    assert "Only the training seed varied, the choice itself did not" in line


def test_subsamples_without_splits_of_their_own_are_replicates() -> None:
    line = said(planned=3, replicates=3, split=False, subsampled=True)
    assert "over 3 replicates" in line
    assert "The subsample, the draws and the training seed varied, the held-out rows did" in line
    assert "the choice itself did not" not in line


def test_arms_that_are_the_same_are_called_identical() -> None:
    line = said(difference=0.0, low=0.0, high=0.0, p=1.0, detectable=0.0)
    assert "+0.000 [0.000, 0.000]" in line
    assert "identical in every replicate" in line
    assert "find differences" not in line

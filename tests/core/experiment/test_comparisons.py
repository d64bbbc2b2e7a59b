"""Like with like, the pairing by replicate, what is missing, the primary one and the others."""

from itertools import product
from typing import Any

import polars as pl
import pytest

from crowdselect_core.errors import DatasetError
from crowdselect_core.experiment.comparisons import Comparisons, compare
from crowdselect_core.experiment.pairing import Primary
from crowdselect_core.experiment.schemas import COMPARISONS, EXPERIMENT

PRIMARY = Primary("crowdselect", "random", 10, "loss_per_row")


def row(method: str, replicate: int, value: float | None, **other: Any) -> dict[str, Any]:
    """Return a row of experiment.parquet."""
    told: dict[str, Any] = dict.fromkeys(EXPERIMENT)
    told |= {
        "method": method, "direction": "top", "clusters": 10, "budget": 64.0, "response": "best",
        "base_model": "m", "loss": "sft", "peft": "lora", "benchmark": "heldout-loss",
        "metric": "loss_per_row", "replicate": replicate, "value": value, **other,
    }  # fmt: skip
    names = ("clusters", "budget", "response", "base_model", "loss", "peft")
    told["cell"] = other.get("cell") or " ".join([method, *(f"{told[n]}" for n in names)])
    return told


def table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict(EXPERIMENT))


def values(method: str, numbers: list[float | None], **other: Any) -> list[dict[str, Any]]:
    return [row(method, r, v, **other) for r, v in enumerate(numbers)]


def named(found: Comparisons) -> set[tuple[str, str]]:
    return {(a.split()[0], b.split()[0]) for a, b in found.table.select("a", "b").iter_rows()}


def test_a_pair_is_compared_replicate_by_replicate() -> None:
    # b in another order, so that only pairing by replicate gives 1, 2, 3
    rows = values("crowdselect", [1.0, 4.0, 9.0]) + values("random", [0.0, 2.0, 6.0])[::-1]
    found = compare(table(rows), PRIMARY, 0.2)
    assert found.table.schema == pl.Schema(COMPARISONS)
    (one,) = found.table.to_dicts()
    assert (one["a"].split()[0], one["b"].split()[0]) == ("crowdselect", "random")
    assert one["primary"]
    assert one["difference"] == 2  # mean of 1, 2, 3
    assert one["high"] == pytest.approx(2 + 3.28621, abs=1e-4)  # as in test_statistics
    assert one["p"] == one["p_holm"] == 0.25
    assert one["replicates"] == found.planned == 3
    assert found.notes == []


@pytest.mark.parametrize(
    "other",
    [
        {"budget": 32.0},
        {"base_model": "n"},
        {"loss": "dpo"},
        {"peft": "full"},
        {"response": "random"},
        {"metric": "loss"},
        {"benchmark": "command"},
    ],
)
def test_what_differs_in_more_than_the_choice_is_not_compared(other: dict[str, Any]) -> None:
    rows = values("crowdselect", [1.0, 2.0]) + values("random", [0.0, 1.0], **other)
    assert compare(table(rows), PRIMARY, None).table.is_empty()


def test_another_recipe_is_not_compared() -> None:
    rows = values("crowdselect", [1.0, 2.0], cell="a") + values("random", [0.0, 1.0], cell="b")
    assert compare(table(rows), PRIMARY, None).table.height == 1
    assert compare(table(rows), PRIMARY, None, recipe_of={"b": "lr 1e-4"}).table.is_empty()
    same = {"a": "lr 1e-4", "b": "lr 1e-4"}
    assert compare(table(rows), PRIMARY, None, recipe_of=same).table.height == 1


def test_only_pairs_with_the_method_or_the_baseline_count() -> None:
    methods = ["reward", "random", "length", "crowdselect"]
    rows = [r for m in methods for r in values(m, [1.0, 2.0])]
    assert named(compare(table(rows), PRIMARY, None)) == {
        ("crowdselect", "random"), ("crowdselect", "reward"), ("crowdselect", "length"),
        ("reward", "random"), ("length", "random"),
    }  # fmt: skip
    assert len(named(compare(table(rows), None, None))) == 6


def test_a_token_matched_arm_is_compared_with_its_cell_alone() -> None:
    rows = values("crowdselect", [3.0, 5.0], cell="c") + values("random", [1.0, 1.0], cell="r")
    rows += values("reward", [8.0, 9.0], cell="w")
    rows += values("token-matched-random", [2.0, 2.0], cell="c-arm")
    rows += values("token-matched-random", [6.0, 6.0], cell="w-arm")
    matched = {"c-arm": "c", "w-arm": "w"}
    for primary, free in (
        (PRIMARY, {("c", "r"), ("c", "w"), ("w", "r")}),
        (
            Primary("crowdselect", "reward", 10, "loss_per_row"),
            {("c", "r"), ("c", "w"), ("r", "w")},
        ),
        (None, {("c", "r"), ("c", "w"), ("r", "w")}),
    ):
        found = compare(table(rows), primary, None, matched=matched).table
        assert set(found.select("a", "b").iter_rows()) == free | {("c", "c-arm"), ("w", "w-arm")}
        own = found.row(by_predicate=pl.col("b") == "c-arm", named=True)
        assert (own["difference"], own["primary"]) == (2.0, False)  # mean of 3 - 2 and 5 - 2


def test_a_token_matched_arm_may_be_the_primary_baseline() -> None:
    rows = values("crowdselect", [3.0, 5.0], cell="c") + values("random", [1.0, 1.0], cell="r")
    rows += values("token-matched-random", [2.0, 2.0], cell="flat", clusters=0)
    rows += values("token-matched-random", [2.0, 3.0], cell="clustered")
    primary = Primary("crowdselect", "token-matched-random", 10, "loss_per_row")
    found = compare(table(rows), primary, None, matched={"flat": "c", "clustered": "c"})
    first = found.table.row(0, named=True)
    assert (first["a"], first["b"], first["primary"]) == ("c", "clustered", True)
    assert found.notes == []


def test_the_others_are_corrected_among_themselves() -> None:
    # two others, of p 0.25 each (three differences of one sign): 2 * 0.25; the primary one stays
    rows = values("crowdselect", [1.0, 2.0, 3.0]) + values("random", [0.0, 0.0, 0.0])
    rows += values("reward", [-1.0, -2.0, -4.0])
    found = compare(table(rows), PRIMARY, None).table
    assert found["primary"].to_list() == [True, False, False]
    assert found["p"].to_list() == [0.25, 0.25, 0.25]
    assert found["p_holm"].to_list() == [0.25, 0.5, 0.5]


def test_missing_replicates_are_named_and_never_zero() -> None:
    rows = values("crowdselect", [1.0, None, 3.0, 5.0])
    rows += values("random", [0.0, 1.0, float("nan"), 1.0])[:4]
    found = compare(table(rows), PRIMARY, None, replicates=[0, 1, 2, 3, 4])
    (one,) = found.table.to_dicts()
    assert one["replicates"] == 2  # 0 and 3: differences 1 and 4
    assert one["difference"] == 2.5
    assert found.planned == 5
    assert len(found.notes) == 2
    assert "crowdselect" in found.notes[0]
    assert "2 of 5 replicates (1, 4)" in found.notes[0]
    assert "2 of 5 replicates (2, 4)" in found.notes[1]


def test_metrics_of_a_benchmark_that_are_missing_together_are_one_note() -> None:
    rows = []
    for metric, in_crowd in (
        ("average", [7.0, None]),
        ("turn_1", [6.0, None]),
        ("turn_2", [5.0, 4.0]),
    ):
        rows += values("crowdselect", in_crowd, benchmark="mt-bench", metric=metric)
        rows += values("random", [7.0, 7.0], benchmark="mt-bench", metric=metric)
    found = compare(table(rows), None, None, replicates=[0, 1])
    (note,) = found.notes
    assert note.startswith("missing: crowdselect")
    assert note.endswith("has no mt-bench average, turn_1 in 1 of 2 replicates (1)")


def test_a_pair_without_a_common_replicate_is_named() -> None:
    rows = [row("crowdselect", 0, 1.0), row("random", 1, 1.0)]
    found = compare(table(rows), PRIMARY, None)
    assert found.table.is_empty()
    assert any("share no replicate" in note for note in found.notes)
    assert any("no primary comparison" in note for note in found.notes)


def test_a_cell_without_a_metric_that_others_have_is_named() -> None:
    rows = values("crowdselect", [1.0]) + values("random", [1.0])
    rows += values("crowdselect", [7.0], benchmark="mt-bench", metric="average")
    found = compare(table(rows), PRIMARY, None)
    assert any("random" in n and "no mt-bench average in any" in n for n in found.notes)


def test_a_cell_whose_training_failed_every_time_is_named() -> None:
    rows = values("crowdselect", [1.0, 2.0])
    rows += values("random", [3.0, 3.0], benchmark="choice", metric="reward")
    notes = compare(table(rows), None, None).notes
    assert len(notes) == 1
    assert "random" in notes[0]
    assert "no heldout-loss loss_per_row in any replicate" in notes[0]


def test_of_several_that_fit_the_first_is_primary_and_it_is_said() -> None:
    rows = [
        r
        for budget, method in product((64.0, 128.0), ("crowdselect", "random"))
        for r in values(method, [1.0, 2.0], budget=budget)
    ]
    found = compare(table(rows), PRIMARY, None)
    assert found.table["primary"].sum() == 1
    assert found.table["budget"].to_list() == [64, 128]
    assert any("2 comparisons fit" in note for note in found.notes)
    chosen = Primary("crowdselect", "random", 10, "loss_per_row", budget=128.0)
    found = compare(table(rows), chosen, None)
    assert found.table.row(0, named=True)["budget"] == 128
    assert found.notes == []


def test_the_bottom_of_a_method_is_not_the_primary_arm() -> None:
    rows = values("crowdselect", [1.0], direction="bottom") + values("random", [1.0])
    found = compare(table(rows), PRIMARY, None)
    assert found.table["primary"].to_list() == [False]


def test_a_single_replicate_has_nulls_and_no_nan() -> None:
    found = compare(table(values("crowdselect", [1.0]) + values("random", [2.0])), PRIMARY, 0.2)
    (one,) = found.table.to_dicts()
    assert (one["low"], one["high"], one["detectable"]) == (None, None, None)


def test_two_rows_of_one_replicate_are_an_error() -> None:
    rows = [row("crowdselect", 0, 1.0), row("crowdselect", 0, 2.0)]
    with pytest.raises(DatasetError, match="two rows of heldout-loss loss_per_row in replicate 0"):
        compare(table(rows), PRIMARY, None)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DatasetError, match="'replicate' is missing"):
        compare(table([]).drop("replicate"), PRIMARY, None)


def test_choices_are_described_and_not_compared() -> None:
    rows = values("crowdselect", [1.0], benchmark="choice") + values(
        "random", [1.0], benchmark="choice"
    )
    assert compare(table(rows), None, None).table.is_empty()


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = values("crowdselect", [1.0, 2.5, 3.0]) + values("random", [0.0, 0.5, 2.0])
    rows += values("reward", [2.0, 2.0, 1.0])
    there, back = (compare(table(r), PRIMARY, 0.3).table for r in (rows, rows[::-1]))
    assert there.equals(back)


def test_a_metric_of_the_choice_is_compared_where_the_primary_names_it() -> None:
    rows = [
        r
        for metric, method in product(("reward", "models"), ("crowdselect", "random"))
        for r in values(method, [1.0, 2.0], benchmark="choice", metric=metric, base_model=None)
    ]
    found = compare(table(rows), Primary("crowdselect", "random", None, "reward"), None)
    assert found.table["metric"].to_list() == ["reward"]
    assert found.table["primary"].to_list() == [True]

"""Of a group of duplicates one row stays, whatever the method leaves out."""

import polars as pl

from crowdselect_core.stages.quality.gated import lesser_duplicates

GROUPS = pl.DataFrame(
    {
        "instruction_id": ["a", "b", "c", "d", "e", "f"],
        "exact": ["a", "a", None, None, "e", "e"],
        "near": ["a", "a", "c", "c", "e", "e"],
    }
)
RANKED = pl.DataFrame(
    {
        "instruction_id": ["a", "b", "c", "d", "e", "f"],
        "score": [1.0, 2.0, None, 0.5, None, None],
        "eligible": [True, True, False, True, False, False],
    }
)


def test_the_best_eligible_row_stays_and_else_that_of_the_least_id() -> None:
    """a, b: b scores more; c, d: only d is eligible; e, f: the method leaves both out."""
    found = lesser_duplicates(GROUPS, RANKED, GROUPS.select("instruction_id"))
    assert found.rows() == [("a", "b", "exact"), ("c", "d", "near"), ("f", "e", "exact")]


def test_a_row_that_another_gate_refuses_stands_for_nothing() -> None:
    passed = GROUPS.select("instruction_id").filter(pl.col("instruction_id") != "b")
    assert lesser_duplicates(GROUPS, RANKED, passed).rows() == [
        ("c", "d", "near"), ("f", "e", "exact"),
    ]  # fmt: skip

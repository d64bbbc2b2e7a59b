"""Who came, who went, who stayed, and why: by hand."""

import polars as pl

from crowdselect_core.selection.diff import membership
from crowdselect_core.tables import MEMBERSHIP, check

Fate = tuple[str, bool, int | None, int | None, float | None, int | None, bool, str]


def fates(*rows: Fate) -> pl.DataFrame:
    """Return what `explained` gives, as far as a comparison reads it."""
    schema = {
        "instruction_id": pl.String, "selected": pl.Boolean, "rank": pl.Int64,
        "cluster_id": pl.Int64, "score": pl.Float64, "rank_in_cluster": pl.Int64,
        "eligible": pl.Boolean, "reason": pl.String,
    }  # fmt: skip
    return pl.DataFrame(list(rows), schema, orient="row")


def test_every_way_to_come_go_and_stay() -> None:
    before = fates(
        ("stays", True, 1, 0, 3.0, 1, True, "chosen: rank 1"),
        ("pushed", True, 2, 0, 2.0, 2, True, "chosen: rank 2"),
        ("barred", True, 3, 1, 1.5, 1, True, "chosen: rank 3"),
        ("lost", True, 4, 1, 1.0, 2, True, "chosen: rank 4"),
        ("waits", False, None, 1, 0.5, 3, True, "not chosen"),
        ("never", False, None, 1, 0.1, 4, True, "not chosen"),
    )
    now = fates(
        ("fresh", True, 1, 0, 3.5, 1, True, "chosen: rank 1 of 4"),
        ("again", True, 4, 1, 0.4, 2, True, "chosen: rank 4 of 4"),
        ("stays", True, 2, 0, 3.0, 2, True, "chosen: rank 2 of 3"),
        ("waits", True, 3, 1, 0.5, 1, True, "chosen: rank 3 of 3"),
        ("pushed", False, None, 0, 2.0, 3, True, "not chosen: place 3"),
        ("barred", False, None, 1, None, None, False, "not eligible: excluded"),
        ("never", False, None, 1, 0.1, 2, True, "not chosen"),
    )
    table = check(membership(before, now, pl.Series(["fresh"])), MEMBERSHIP, "membership")
    told = {row["instruction_id"]: row for row in table.iter_rows(named=True)}
    assert table["instruction_id"].to_list() == [
        "again", "fresh", "waits", "barred", "lost", "pushed", "stays",
    ]  # fmt: skip
    assert [(r["change"], r["new"], r["why"]) for r in told.values()] == [
        ("in", False, "back in the data set; chosen: rank 4 of 4"),
        ("in", True, "new; chosen: rank 1 of 4"),
        ("in", False, "known, place 3 in cluster 1 before; chosen: rank 3 of 3"),
        ("out", False, "rank 3 before; not eligible: excluded"),
        ("out", False, "rank 4 before; gone from the data set"),
        ("out", False, "rank 2 before; not chosen: place 3; 1 new rows of its cluster are chosen"),
        ("stayed", False, "rank 1 before; chosen: rank 2 of 3"),
    ]
    assert (told["stays"]["rank_before"], told["stays"]["rank"]) == (1, 2)
    assert (told["lost"]["cluster_before"], told["lost"]["cluster_id"]) == (1, None)


def test_without_clusters_new_rows_push_too() -> None:
    before = fates(("old", True, 1, None, 2.0, 1, True, "chosen"))
    now = fates(
        ("new", True, 1, None, 3.0, 1, True, "chosen"),
        ("old", False, None, None, 2.0, 2, True, "not chosen"),
    )
    table = membership(before, now, pl.Series(["new"]))
    assert table["why"].to_list() == [
        "new; chosen",
        "rank 1 before; not chosen; 1 new rows of its cluster are chosen",
    ]

"""Who came into a selection, who left it, who stayed, and why."""

import polars as pl

GONE = "gone from the data set"


def membership(before: pl.DataFrame, now: pl.DataFrame, new: pl.Series) -> pl.DataFrame:
    """Compare two selections of one series.

    `new` are the ids of the rows that were not known before.

    Input columns: what `explanations.told` gives of each: instruction_id, selected, rank,
        cluster_id, score, reason (a sentence).

    Output columns (tables.MEMBERSHIP; of every row that was or is chosen): instruction_id; change
    (in, out, stayed); new (the row was not known before); rank_before and rank (1 is the best);
    cluster_before, cluster_id (after a refit the numbers do not correspond); score_before, score;
    why. Those that are in come first, then those that are out, then the others, each by id.
    """
    then = before.select(
        "instruction_id",
        pl.col("selected").alias("was"),
        pl.col("rank").alias("rank_before"),
        pl.col("cluster_id").alias("cluster_before"),
        pl.col("score").alias("score_before"),
        pl.col("rank_in_cluster").alias("place_before"),
        pl.lit(True).alias("known"),
    )
    today = now.select(
        "instruction_id", "selected", "rank", "cluster_id", "score", "reason", "eligible",
        pl.lit(True).alias("there"),
        pl.col("instruction_id").is_in(new.implode()).alias("new"),
    )  # fmt: skip
    both = then.join(today, on="instruction_id", how="full", coalesce=True)
    flags = ["was", "known", "selected", "there", "eligible", "new"]
    both = both.with_columns(pl.col(c).fill_null(False) for c in flags)
    both = both.filter(pl.col("was") | pl.col("selected"))
    above = _new_chosen(today)
    order = {"in": 0, "out": 1, "stayed": 2}
    table = both.join(above, on="cluster_id", how="left", nulls_equal=True).select(
        "instruction_id",
        pl.when(pl.col("was") & pl.col("selected")).then(pl.lit("stayed"))
        .when(pl.col("was")).then(pl.lit("out")).otherwise(pl.lit("in")).alias("change"),
        "new",
        "rank_before", "rank", "cluster_before", "cluster_id", "score_before", "score",
        _why().alias("why"),
    )  # fmt: skip
    return table.sort(pl.col("change").replace_strict(order), "instruction_id")


def _new_chosen(today: pl.DataFrame) -> pl.DataFrame:
    """Count the chosen rows of every cluster that were not known before."""
    chosen = today.filter(pl.col("selected") & pl.col("new"))
    return chosen.group_by("cluster_id").agg(pl.len().alias("new_chosen"))


def _why() -> pl.Expr:
    """Say why a row came, went or stayed."""
    ranks = pl.format("rank {} before; ", pl.col("rank_before"))
    pushed = (
        pl.when(pl.col("eligible") & (pl.col("new_chosen").fill_null(0) > 0))
        .then(pl.format("; {} new rows of its cluster are chosen", pl.col("new_chosen")))
        .otherwise(pl.lit(""))
    )
    place = (
        pl.when(pl.col("place_before").is_null()).then(pl.lit("known, not eligible before; "))
        .otherwise(pl.format(
            "known, place {} in cluster {} before; ",
            pl.col("place_before"), pl.col("cluster_before").fill_null(0),
        ))
    )  # fmt: skip
    return (
        pl.when(~pl.col("there")).then(pl.format("{}" + GONE, ranks))
        .when(pl.col("was") & pl.col("selected")).then(pl.format("{}{}", ranks, "reason"))
        .when(pl.col("was")).then(pl.format("{}{}{}", ranks, "reason", pushed))
        .when(pl.col("new")).then(pl.format("new; {}", "reason"))
        .when(~pl.col("known")).then(pl.format("back in the data set; {}", "reason"))
        .otherwise(pl.format("{}{}", place, "reason"))
    )  # fmt: skip

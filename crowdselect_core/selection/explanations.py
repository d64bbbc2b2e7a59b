"""Why a row was chosen or not: its place, and one sentence where somebody may look for it.

Array names carry their shape: N rows, K of them, B chosen rows, G clusters.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.methods import is_function
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.methods.ranked_by import ranked_by
from crowdselect_core.selection.placement import Placement

Ints = NDArray[np.int64]

# Reason codes of rows that are not eligible, in words.
IN_WORDS = {
    "too_few_scores": "fewer scores than min_scores",
    "no_score": "no score",
    "no_difficulty": "no score, so no difficulty",
    "no_separability": "fewer than 2 scores, so no separability",
    "no_stability": "no family has 2 scored models that differ, so no stability",
    "no_headroom": "no score of the student or none of the crowd, so no headroom",
    "no_answer": "no complete answer",
    "no_value": "no number to rank by",
    "no_complexity": "no complexity",
    "no_quality": "no quality",
    "turns_differ": "complexity and quality have other numbers of turns",
    "too_similar": "too similar to a row that ranks before it",
    "no_tags": "no tag that is frequent enough",
    "unparsed": "the LLM's reply cannot be read",
    "template": "the model's chat template refuses it",
    "not_finite": "the model's hidden states are not finite",
    "ifd_too_long": "IFD: too long for max_length",
    "ifd_no_token": "IFD: no token of the answer",
    "ifd_one_token": "IFD: an answer of one token has no loss alone",
    "ifd_above_1": "IFD above 1",
    "ifd_not_below_1": "IFD not below 1",
    "ifd_undefined": "IFD undefined: no loss",
    "no_instruction": "no instruction text",
    "excluded": "in the exclude list",
    "not_included": "not in the include list",
    "language": "in another language",
    "length": "too short or too long",
    "refusal": "with a refusal as answer",
    "broken": "broken or unfinished",
    "repetition": "with an answer that repeats itself",
    "contaminated": "with a benchmark's prompt",
    "duplicate_of": "duplicates of rows that rank better",
}


def told(
    table: pl.DataFrame,
    rows_K: Ints,
    where: Placement,
    config: SelectConfig,
    chosen: int,
    *,
    every: bool = False,
) -> pl.DataFrame:
    """Return rows of a ranking with their places and reasons.

    margin = score - best score not chosen in its cluster, for a chosen row (>= 0 under the equal
    quota); score - lowest score chosen in its cluster, for one that is not (<= 0). Null where
    there is nothing to compare with.

    Output columns: RANKING with cluster_id, then selected, rank (null if not), rank_in_cluster
    (1 is the best), margin. `reason` is a sentence for rows that are chosen, not eligible or just
    missed (the JUST_MISSED best of their cluster that are not chosen); null for the others unless
    `every` is set: the columns that it would be made of are there.

    Args:
        table: the rows: RANKING with cluster_id.
        rows_K: their numbers.
        where: all rows stand.
        config: the method, and what it ranks by.
        chosen: how many rows are chosen.
        every: whether each row has a sentence.
    """
    frame, group_K = with_places(table, rows_K, where), where.group_N[rows_K]
    is_told_K = where.near_N[rows_K] | (where.place_N[rows_K] == 0) | every
    count = int(is_told_K.sum())
    index_K = np.full(len(rows_K), count)  # past the last reason there is none
    index_K[is_told_K] = np.arange(count)
    said = frame.filter(pl.Series(is_told_K)).select(
        *frame.columns,
        _eligible=pl.Series(where.eligible_G[group_K[is_told_K]]),
        _chosen_here=pl.Series(where.chosen_G[group_K[is_told_K]]),
    )
    reasons = said.select(sentence(config, chosen).alias("reason")).to_series()
    nothing = pl.Series("reason", [None], dtype=pl.String)
    return frame.with_columns(pl.concat([reasons, nothing])[index_K])


def with_places(table: pl.DataFrame, rows_K: Ints, where: Placement) -> pl.DataFrame:
    """Return rows of a ranking, whose numbers are given, with their places; see `told`."""
    rank_K = where.rank_N[rows_K]
    return table.with_columns(
        selected=pl.Series(rank_K > 0),
        rank=_positive(rank_K),
        rank_in_cluster=_positive(where.place_N[rows_K]),
        margin=pl.Series(where.margin_N[rows_K], nan_to_null=True),
    )


def _positive(numbers_K: NDArray[np.int32]) -> pl.Series:
    """Return whole numbers, null for 0."""
    numbers = pl.Series(numbers_K, dtype=pl.Int64)
    return numbers.set(numbers == 0, None)


def sentence(config: SelectConfig, chosen: int) -> pl.Expr:
    """Say why a row was chosen or not: rank, position in its cluster, quantiles, margin.

    Input columns: RANKING; selected; rank; rank_in_cluster; margin; _eligible and _chosen_here, the
    rows of its cluster that are.
    """
    group = pl.when(pl.col("cluster_id").is_null()).then(pl.lit("all rows")).otherwise(
        pl.format("cluster {}", pl.col("cluster_id"))
    )  # fmt: skip
    place = pl.format(
        "position {} of {} in {} ({} chosen)",
        pl.col("rank_in_cluster"), pl.col("_eligible"), group, pl.col("_chosen_here"),
    )  # fmt: skip
    margin = pl.col("margin").abs().round(4)
    won = _margin(margin, "the best row not chosen")
    lost = _margin(margin, "the last chosen row")
    words, total = pl.col("reason").replace(IN_WORDS), pl.lit(chosen)
    return (
        pl.when(~pl.col("eligible")).then(pl.format("not eligible: {}", words))
        .when(pl.col("selected")).then(
            pl.format("chosen: rank {} of {}; {}{}{}", "rank", total, place, _why(config), won)
        )
        .otherwise(pl.format("not chosen: {}{}{}", place, _why(config), lost))
    )  # fmt: skip


def _margin(margin: pl.Expr, other: str) -> pl.Expr:
    """Compare the score with the row on the other side of the cut in its cluster."""
    difference = pl.col("margin")
    return (
        pl.when(difference.is_null()).then(pl.lit(""))
        .when(difference == 0).then(pl.lit(f"; score equal to {other}, tie broken by id"))
        .when(difference > 0).then(pl.format(f"; score {{}} above {other}", margin))
        .otherwise(pl.format(f"; score {{}} below {other}", margin))
    )  # fmt: skip


def _why(config: SelectConfig) -> pl.Expr:
    """Say what the score consists of."""

    def percent(name: str) -> pl.Expr:
        return (pl.col(name) * 100).round(0).cast(pl.Int64)

    if config.method in ("random", "teacher"):
        return pl.lit("; random draw")
    if (column := ranked_by(config.method)) is not None:
        number = pl.col(column).cast(pl.Float64).round(4).cast(pl.String).fill_null("?")
        return pl.concat_str(pl.lit(f"; {column} "), number)
    if is_function(config.method):
        sign = 1 if config.direction == "top" else -1
        return pl.format("; your function scored {}", (sign * pl.col("score")).round(4))
    if config.method == "reward":
        sign = 1 if config.direction == "top" else -1  # bottom ranks by the negated score
        return pl.format("; best answer scored {}", (sign * pl.col("score")).round(4))
    text = "; difficulty higher than {}% of rows"
    text += ", separability higher than {}%, stability higher than {}%"
    quantiles = ["difficulty_q", "separability_q", "stability_q"]
    if config.student is not None:
        text += ", headroom higher than {}%"
        quantiles.append("headroom_q")
    return pl.format(
        text,
        *(
            pl.when(pl.col(q).is_null()).then(pl.lit("?")).otherwise(percent(q).cast(pl.String))
            for q in quantiles
        ),
    )

"""The ranking by a rival method: a number of each row, an order of the rows, or a user's function.

Array names carry their shape: N rows, E rows that may be chosen, in id order, D components.
"""

from collections.abc import Callable, Mapping
from functools import partial

import polars as pl

from crowdselect_core.annotate.factory import annotates
from crowdselect_core.config.methods import COLUMN, column_of, is_function
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.embedding import load_model
from crowdselect_core.errors import SelectionError
from crowdselect_core.reward.function.process import search_path
from crowdselect_core.selection.methods.by_value import (
    rank_by_value,
    reversed_scores,
)
from crowdselect_core.selection.methods.deita import SIMILAR, deita_scores, dissimilar
from crowdselect_core.selection.methods.instag import NO_TAGS, normalised, sampling_scores
from crowdselect_core.selection.methods.k_center import k_center_distances
from crowdselect_core.selection.methods.own_function import own_scores
from crowdselect_core.selection.methods.rank import rank_random
from crowdselect_core.selection.methods.ranked_by import ranked_by
from crowdselect_core.selection.methods.rds import round_robin
from crowdselect_core.selection.quantiles import References
from crowdselect_core.selection.row_budget import rows_of_budget
from crowdselect_core.stages.select.method_identity import filter_end
from crowdselect_core.stages.select.method_inputs import Given, eligible_vectors, similarities

Ranked = Callable[[SelectConfig, pl.DataFrame, Given, References | None], pl.DataFrame]


def is_rival(method: str) -> bool:
    """Tell a method that is ranked here."""
    return method in RIVALS or column_of(method) is not None or is_function(method)


def rival_ranking(
    config: SelectConfig, metrics: pl.DataFrame, given: Given, sorted_R_of: References | None = None
) -> pl.DataFrame:
    """Rank rows by a rival method.

    Input columns: as `rank`. Output columns: tables.RANKING, in input order, then what the method
    ranks by, under its name.

    Args:
        config: the method with its keys, the direction, the seed, the budget.
        metrics: one row per instruction, with answerable and barred.
        given: what the method needs beside them.
        sorted_R_of: as in `integrate`.
    """
    method = config.method
    by_name = RIVALS.get(method)
    if by_name is not None:
        ranking = by_name(config, metrics, given, sorted_R_of)
    elif is_function(method):
        ranking = _by_function(config, metrics, given, sorted_R_of)
    else:
        ranking = _by_value(config, metrics, given, sorted_R_of)
    return ranking if config.direction == "top" else reversed_scores(ranking)


def _by_value(
    config: SelectConfig, metrics: pl.DataFrame, given: Given, sorted_R_of: References | None
) -> pl.DataFrame:
    column, values = ranked_by(config.method), given.values
    if column is None or values is None:
        raise ValueError(f"method {config.method}: no values are given")
    if column_of(config.method) is not None:
        values = values.rename({config.method: column})
    return rank_by_value(metrics, values, column, sorted_R_of)


def _teacher(
    config: SelectConfig, metrics: pl.DataFrame, given: Given, sorted_R_of: References | None
) -> pl.DataFrame:
    return rank_random(metrics, config.seed, sorted_R_of)


def _by_function(
    config: SelectConfig, metrics: pl.DataFrame, given: Given, sorted_R_of: References | None
) -> pl.DataFrame:
    candidates = rank_random(metrics, config.seed, sorted_R_of)
    found = own_scores(config.method, candidates, search_path(), config.function.time_limit)
    values = candidates.select("instruction_id").with_columns(found.alias("function_score"))
    return rank_by_value(metrics, values, "function_score", sorted_R_of).drop("function_score")


def _k_center(
    config: SelectConfig, metrics: pl.DataFrame, given: Given, sorted_R_of: References | None
) -> pl.DataFrame:
    candidates = rank_random(metrics, config.seed, sorted_R_of)
    vectors_ED, ids = eligible_vectors(candidates, given)
    distances_E = k_center_distances(vectors_ED, max(_picks(config, len(ids)), 1))
    values = pl.DataFrame({"instruction_id": ids, "center_distance": distances_E})
    return rank_by_value(metrics, values, "center_distance", sorted_R_of)


def _deita(
    config: SelectConfig, metrics: pl.DataFrame, given: Given, sorted_R_of: References | None
) -> pl.DataFrame:
    """Rank by complexity x quality, then drop rows that resemble one that ranks before them.

    The filter may end with the budget (`filter_end`); the rows behind rank by their score.
    """
    if given.values is None:
        raise ValueError("method deita: no values are given")
    graded = annotates(config)
    names = ["complexity", "quality"] if graded else [COLUMN + n for n in config.deita.columns]
    found = deita_scores(given.values[names[0]], given.values[names[1]])
    if graded:  # why there is no grade says more than that there is none
        found = found.with_columns(lacks=pl.coalesce(given.values["lacks"], found["lacks"]))
    values = given.values.select("instruction_id").hstack(found)
    ranked = rank_by_value(metrics, values, "deita", sorted_R_of)
    vectors_ED, ids = eligible_vectors(ranked, given)
    scores = ids.to_frame().join(
        ranked.select("instruction_id", "score"), on="instruction_id", maintain_order="left"
    )
    order_E = (
        scores.select(
            pl.arg_sort_by("score", "instruction_id", descending=[config.direction == "top", False])
        )
        .to_series()
        .to_numpy()
    )
    kept_E = dissimilar(vectors_ED[order_E], config.deita.threshold, filter_end(config))
    dropped = ids[order_E[~kept_E]]
    lacks = pl.when(pl.col("instruction_id").is_in(dropped.implode())).then(pl.lit(SIMILAR))
    values = values.with_columns(lacks=pl.coalesce("lacks", lacks))
    return rank_by_value(metrics, values, "deita", sorted_R_of)


def _rds(
    config: SelectConfig, metrics: pl.DataFrame, given: Given, sorted_R_of: References | None
) -> pl.DataFrame:
    """Rank by turns of the targets; see `round_robin`."""
    if given.values is None or given.table is None:
        raise ValueError("method rds+: no values are given")
    ranked = rank_by_value(metrics, given.values, "target_similarity", sorted_R_of)
    fit = ranked.filter("eligible").select("instruction_id", "target_similarity")
    fit = fit.sort("instruction_id").with_row_index("place")
    blocks = partial(similarities, given.table, fit.select("instruction_id", "place"))
    highest_E = fit["target_similarity"].to_numpy()
    scores_E = round_robin(blocks, highest_E, _picks(config, fit.height))
    scores = fit.select("instruction_id", score=pl.Series(scores_E, dtype=pl.Float64))
    joined = ranked.select("instruction_id").join(
        scores, on="instruction_id", how="left", maintain_order="left"
    )
    return ranked.with_columns(joined["score"])


def _instag(
    config: SelectConfig, metrics: pl.DataFrame, given: Given, sorted_R_of: References | None
) -> pl.DataFrame:
    """Rank by complexity-first diverse sampling; a row without a normalised tag is out."""
    if given.values is None:
        raise ValueError("method instag: no values are given")
    said = given.values.with_columns(n=pl.col("tags").list.len().cast(pl.Int64)).drop("tags")
    ranked = rank_by_value(metrics, said, "n", sorted_R_of)
    fit = ranked.filter("eligible").select("instruction_id").sort("instruction_id")
    rows = fit.join(given.values, on="instruction_id", how="left", maintain_order="left")
    own = config.instag
    embed = load_model(own.embedder).transform if own.embedder is not None else None
    tags = normalised(rows["tags"].to_list(), own.min_frequency, embed, own.similarity)
    scores = pl.Series(sampling_scores(tags, _picks(config, fit.height)), dtype=pl.Float64)
    told = fit.with_columns(
        pl.Series("tags", [len(one) for one in tags], dtype=pl.Int64),
        pl.Series("tag_names", tags, dtype=pl.List(pl.String)),
        scores.alias("_order"),
    )
    values = given.values.drop("tags").join(told, on="instruction_id", how="left")
    nothing = pl.when(pl.col("tags") == 0).then(pl.lit(NO_TAGS))
    values = values.with_columns(lacks=pl.coalesce("lacks", nothing))
    return rank_by_value(metrics, values, "_order", sorted_R_of).drop("_order")


def _picks(config: SelectConfig, eligible: int) -> int:
    """Return the rows that the budget asks for; 0 where that is less than one."""
    try:
        return min(rows_of_budget(config.budget, eligible), eligible)
    except SelectionError:
        return 0  # the selection says so


RIVALS: Mapping[str, Ranked] = {
    "length": _by_value,
    "ifd": _by_value,
    "direct-score": _by_value,
    "deita": _deita,
    "rds+": _rds,
    "instag": _instag,
    "teacher": _teacher,
    "k-center": _k_center,
}

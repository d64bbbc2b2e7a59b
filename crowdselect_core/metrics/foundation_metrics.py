"""The three foundation metrics of the crowd, and how far a student is behind it.

Source: METHOD, "The three foundation metrics"; arXiv 2503.01836, section 3. Headroom is ours.

Array names carry their shape: N rows (instructions), M crowd models, B rows of one block,
F models of one family. Within a block models come first, so that every step is one pass over
contiguous rows.

Sums over models and families run one after the other in name order, and every other step is
elementwise or in whole numbers: neither the order of the columns, nor that of the crowd, nor the
size of a block changes a bit of the result.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.crowd import CrowdModel, check_crowd, families
from crowdselect_core.errors import CrowdError, DatasetError, nearest, shown
from crowdselect_core.tables import METRICS, check_frame

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLOCK_ROWS = 8192  # 19 models of it are 1.2 MB: the passes over a block stay in the cache


class _Family(NamedTuple):
    """One family of at least two models: their places in name order, and their sizes."""

    places: list[int]
    sizes: list[float]


def crowd_metrics(scores: pl.DataFrame, crowd: list[CrowdModel]) -> pl.DataFrame:
    """Compute the three foundation metrics of every instruction, and the headroom of a student.

    difficulty = -mean(c), separability = population variance of c (ddof 0), stability = mean over
    families of Spearman's rho between size and score inside the family (average ranks; a family
    whose scores or sizes are all equal has no rho and leaves the mean). METHOD, arXiv 2503.01836.
    headroom = max(c) - c_student; the model with the role student counts in nothing else.

    Input columns:
        instruction_id: String.
        one per model, named after it: any numeric type or Boolean (0 and 1), the reward
            model's unit, unbounded, higher is better; null, NaN and infinite are missing. Other
            columns are ignored.

    Output columns (tables.METRICS, in input order; an undefined metric is null, never NaN):
        instruction_id: as given.
        n_scores: crowd models with a score, 0..M.
        difficulty: the reward model's unit, unbounded, higher is harder; null without a score.
        separability: that unit squared, >= 0, higher: the models differ more; null below 2 scores.
        stability: -1..1, higher: the bigger model answers better, consistently; null where no
            family has two scored models that differ in score and in size.
        headroom: the reward model's unit, unbounded, higher: more to learn (below 0: the student
            does better than all); null without a student, its score or a score of the crowd.

    Args:
        scores: the wide table of scores.
        crowd: the models, in any order, and at most one student.

    Returns:
        One row per row of `scores`.

    Raises:
        CrowdError: an empty crowd, a model named twice, two students, a model without a column, a
            column that is not numeric.
        TypeError: `scores` is no polars DataFrame, or the crowd holds other than CrowdModel.
        DatasetError: `instruction_id` is missing or is no String, or the scores of a row are so
            large that their variance or headroom is no number.
    """
    check_frame(scores, "scores")
    models, student = _split(crowd)
    found = scores.schema.get("instruction_id")
    if found != pl.String:
        kind = "missing" if found is None else str(found)
        raise DatasetError(
            f"scores: column 'instruction_id' is {kind}, expected String: every row needs its id"
        )
    names = [m.name for m in [*models, *student]]
    _check_columns(scores, names)

    def blocks() -> Iterator[Floats]:
        for part in scores.select(names).iter_slices(BLOCK_ROWS):
            yield np.stack([_floats(part.get_column(name)) for name in names])

    ids = scores.get_column("instruction_id")
    columns = _finite(_metrics(blocks(), scores.height, models), ids)
    return columns.insert_column(0, ids).select(list(METRICS))


def crowd_metrics_NM(
    scores_NM: Floats, crowd: list[CrowdModel], ids: pl.Series | None = None
) -> pl.DataFrame:
    """Compute the metrics of `crowd_metrics` from an array, without the id column.

    Input columns: column m of `scores_NM` holds the scores of `crowd[m]`, NaN or infinite where
    missing.
    Output columns: n_scores, difficulty, separability, stability, headroom, as `crowd_metrics`.

    Args:
        scores_NM: float64 scores.
        crowd: the models, a student too, in the order of the array's columns, which changes no bit.
        ids: of the rows, for an error; without them it names the row, from 0.

    Returns:
        One row per row of the array.

    Raises:
        CrowdError: as `crowd_metrics`, or an array of another shape than (rows, models).
        DatasetError: scores so large that their variance or headroom is no number.
    """
    models, student = _split(crowd)
    scores_NM = np.asarray(scores_NM, dtype=np.float64)
    if scores_NM.ndim != 2 or scores_NM.shape[1] != len(crowd):
        raise CrowdError(
            f"scores: an array of shape {scores_NM.shape}, expected (rows, {len(crowd)}): "
            "one column per model"
        )
    column_of = {m.name: i for i, m in enumerate(crowd)}
    columns = [column_of[m.name] for m in [*models, *student]]
    starts = range(0, len(scores_NM), BLOCK_ROWS)
    blocks = (np.ascontiguousarray(scores_NM[s : s + BLOCK_ROWS, columns].T) for s in starts)
    return _finite(_metrics(blocks, len(scores_NM), models), ids)


def _split(crowd: list[CrowdModel]) -> tuple[list[CrowdModel], list[CrowdModel]]:
    """Return the crowd in name order, and its student where there is one."""
    everyone = check_crowd(crowd)
    return [m for m in everyone if m.role == "crowd"], [m for m in everyone if m.role == "student"]


def _check_columns(scores: pl.DataFrame, names: list[str]) -> None:
    """Raise a CrowdError unless every model has a numeric column."""
    missing = [n for n in names if n not in scores.schema]
    if missing:
        others = [c for c in scores.columns if c != "instruction_id"]
        raise CrowdError(
            f"scores: no column for crowd model {missing[0]!r}{nearest(missing[0], others)} "
            f"(crowd: {shown(names)}; columns: {shown(others)}; missing in all: {len(missing)}): "
            "name the crowd's models as the columns are named"
        )
    for name in names:
        dtype = scores.schema[name]
        if not (dtype.is_numeric() or dtype in (pl.Null, pl.Boolean)):
            raise CrowdError(
                f"scores: column {name!r} is {dtype}, expected numbers: cast it, or take "
                f"{name!r} out of the crowd"
            )


def _floats(column: pl.Series) -> Floats:
    """Return a numeric column as float64, NaN for null."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _metrics(blocks: Iterator[Floats], rows: int, crowd: list[CrowdModel]) -> pl.DataFrame:
    """Compute the metric columns block by block.

    Blocks are (M, B), models in name order, or (M + 1, B), the student's scores last.
    """
    place = {m.name: i for i, m in enumerate(crowd)}
    comparable = [
        _Family([place[m.name] for m in members], [m.size for m in members])
        for members in families(crowd).values()
        if len(members) >= 2
    ]
    n_N = np.zeros(rows, dtype=np.int64)
    difficulty_N, separability_N, stability_N, headroom_N = np.full((4, rows), np.nan)
    start = 0
    for scores_MB in blocks:
        here = slice(start, start + scores_MB.shape[1])
        present_MB = np.isfinite(scores_MB)
        scores_MB[~present_MB] = np.nan
        if len(scores_MB) > len(crowd):
            headroom_N[here] = _headroom(scores_MB[:-1], scores_MB[-1])
            scores_MB, present_MB = scores_MB[:-1], present_MB[:-1]
        n_N[here], mean_B, separability_N[here] = _moments(scores_MB, present_MB)
        difficulty_N[here] = 0.0 - mean_B  # not -mean: no -0.0
        stability_N[here] = _stability(scores_MB, present_MB, comparable)
        start = here.stop
    return pl.DataFrame(
        {
            "n_scores": n_N,
            "difficulty": pl.Series(difficulty_N, nan_to_null=True),
            "separability": pl.Series(separability_N, nan_to_null=True),
            "stability": pl.Series(stability_N, nan_to_null=True),
            "headroom": pl.Series(headroom_N, nan_to_null=True),
        }
    )


def _finite(metrics: pl.DataFrame, ids: pl.Series | None) -> pl.DataFrame:
    """Return metrics unless one is infinite, which would rank before all others."""
    infinite = metrics["separability"].is_infinite() | metrics["headroom"].is_infinite()
    row = infinite.fill_null(value=False).arg_max()
    if row is None or not infinite[row]:
        return metrics
    where = f"row {row} (from 0)" if ids is None else f"instruction {ids[row]!r}"
    raise DatasetError(
        f"{where}: its scores are too large for a mean and a deviation: correct the reward model's "
        "scores (null where there is none)"
    )


def _moments(scores_MB: Floats, present_MB: Bools) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return the number of scores, their mean and their population variance; NaN if undefined.

    The sums are loops over models and not `.sum(axis=0)`, whose order of addition depends on the
    shape of the block.
    """
    n_B = np.add.reduce(present_MB.view(np.int8), dtype=np.int32).astype(np.int64)
    total_B = np.zeros(scores_MB.shape[1])
    squares_B = np.zeros(scores_MB.shape[1])
    filled_MB = np.where(present_MB, scores_MB, 0.0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for filled_B in filled_MB:
            total_B += filled_B
        # rounding may carry the mean past the scores; kept among them, equal scores have their
        # own value as mean and exactly 0 as variance, so float noise breaks no tie
        low_B, high_B = np.fmin.reduce(scores_MB), np.fmax.reduce(scores_MB)
        mean_B = np.clip(total_B / n_B, low_B, high_B)
        for filled_B, present_B in zip(filled_MB, present_MB, strict=True):
            deviation_B = np.where(present_B, filled_B - mean_B, 0.0)
            squares_B += deviation_B * deviation_B
        variance_B = np.where(n_B >= 2, squares_B / n_B, np.nan)
    return n_B, mean_B, variance_B


def _headroom(scores_MB: Floats, student_B: Floats) -> Floats:
    """Return how far the student is behind the best of the crowd; NaN if undefined."""
    with np.errstate(invalid="ignore", over="ignore"):
        headroom_B: Floats = np.fmax.reduce(scores_MB) - student_B + 0.0  # no -0.0
    return headroom_B


def _stability(scores_MB: Floats, present_MB: Bools, comparable: list[_Family]) -> Floats:
    """Return the mean of Spearman's rho over the families that have one; NaN where none has."""
    total_B = np.zeros(scores_MB.shape[1])
    n_families_B = np.zeros(scores_MB.shape[1], dtype=np.int64)
    for family in comparable:
        rho_B, defined_B = _spearman(
            scores_MB[family.places], present_MB[family.places], family.sizes
        )
        total_B += np.where(defined_B, rho_B, 0.0)
        n_families_B += defined_B
    with np.errstate(invalid="ignore"):
        return np.where(n_families_B > 0, total_B / n_families_B, np.nan)


def _spearman(scores_FB: Floats, present_FB: Bools, sizes: list[float]) -> tuple[Floats, Bools]:
    """Return rho between size and score inside one family, and where it is defined.

    Twice a model's average rank, centred, is the number of scored models below it minus the
    number above it. So counting pairs gives both rank vectors in whole numbers, ties and gaps
    included, and rho = sum(u*v) / sqrt(sum(u*u) * sum(v*v)) of the two.
    """
    # a count reaches F - 1, and a sum of products F * (F - 1)^2
    count = np.int8 if len(sizes) <= 127 else np.int32
    total = np.int16 if len(sizes) <= 32 else np.int64
    scores_u_FB = np.zeros(scores_FB.shape, dtype=count)
    sizes_v_FB = np.zeros(scores_FB.shape, dtype=count)
    for a, b in combinations(range(len(sizes)), 2):
        # a comparison with a missing score (NaN) is False on both sides and counts nothing
        above_B = scores_FB[a] > scores_FB[b]
        below_B = scores_FB[a] < scores_FB[b]
        sign_B = above_B.view(np.int8) - below_B.view(np.int8)
        scores_u_FB[a] += sign_B
        scores_u_FB[b] -= sign_B
        both_B = (present_FB[a] & present_FB[b]).view(np.int8)
        if sizes[a] != sizes[b]:
            larger, smaller = (a, b) if sizes[a] > sizes[b] else (b, a)
            sizes_v_FB[larger] += both_B
            sizes_v_FB[smaller] -= both_B

    def dot(x_FB: NDArray[np.signedinteger], y_FB: NDArray[np.signedinteger]) -> Floats:
        products_FB = np.multiply(x_FB, y_FB, dtype=total)
        sums_B: Floats = np.add.reduce(products_FB, dtype=total).astype(np.float64)
        return sums_B

    norm_B = np.sqrt(dot(scores_u_FB, scores_u_FB) * dot(sizes_v_FB, sizes_v_FB))
    defined_B = norm_B > 0
    with np.errstate(invalid="ignore"):
        rho_B: Floats = dot(scores_u_FB, sizes_v_FB) / norm_B
    return rho_B, defined_B

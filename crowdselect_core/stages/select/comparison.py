"""Stage `comparison`: how far the choice overlaps the baselines that anyone could have had.

Array names carry their shape: N rows.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.candidates import Candidates, choose_rows
from crowdselect_core.selection.eligibility import reasons
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.row_columns import Members, RowReader, SparseRows
from crowdselect_core.stages.select.candidate_rows import cluster_numbers, ids_of
from crowdselect_core.stages.select.listed import barred_rows
from crowdselect_core.stages.select.metrics import BEST
from crowdselect_core.stages.select.ranked_rows import own_score
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult, single

STAGE, VERSION = "comparison", 2

Floats = NDArray[np.float64]


def spec(
    config: SelectConfig,
    metrics: Ref,
    answers: Ref,
    selection: Ref,
    clusters: Ref | None,
    lengths: Ref | None = None,
) -> Spec:
    """Name the artifact: the selection, the seed of the baselines, the answers' lengths."""
    inputs = {"selection": selection.key} | ({"clusters": clusters.key} if clusters else {})
    inputs |= {"lengths": lengths.key} if lengths else {}
    return Spec(STAGE, VERSION, {"seed": config.seed}, inputs)


def plan(
    config: SelectConfig,
    store: Store,
    metrics: Ref,
    answers: Ref,
    selection: Ref,
    clusters: Ref | None,
    lengths: Ref | None = None,
) -> Plan:
    """Choose as many rows by each baseline and count those that both chose.

    Output columns: baseline; rows (it chose); overlap (rows chosen by both); by_chance (the
    overlap to expect of a random choice of as many rows). The longest answers are those of the
    most estimated tokens, where the data set has answers.
    """

    def make() -> ShardResult:
        rows = _Baselines(config, metrics.open(store), answers.open(store))
        chosen = selection.open(store).frame(["instruction_id"])["instruction_id"]
        rows.read(chosen, lengths.open(store) if lengths else None)
        groups = cluster_numbers(metrics.open(store), clusters.open(store)) if clusters else None
        baselines: list[tuple[str, str, bool]] = [
            ("random", "random", False),
            ("top reward", "reward", False),
        ]
        if groups is not None:
            baselines.insert(1, ("random, clustered", "random", True))
        if lengths is not None:
            baselines.append(("longest answer", "longest", False))
        found = []
        for name, method, balanced in baselines:
            candidates = rows.candidates(method, groups if balanced else None)
            eligible = int(candidates.eligible_N.sum())
            if not eligible:
                continue
            other = choose_rows(candidates, min(len(chosen), eligible), "equal")
            both = int(rows.chosen_N[other].sum())
            found.append((name, len(other), both, len(chosen) * len(other) / eligible))
        schema = {
            "baseline": pl.String, "rows": pl.Int64, "overlap": pl.Int64, "by_chance": pl.Float64,
        }  # fmt: skip
        return ShardResult(pl.DataFrame(found, schema, orient="row"))

    return single(make)


COMPARISON = Stage(
    "comparison",
    "Count the overlap with random, clustered random, top reward and the longest answers.",
    spec,
    plan,
)


class _Baselines:
    """What each baseline ranks by, as columns.

    Args:
        config: the lists of ids, and the seed of the run.
        metrics: of all rows.
        answers: of all rows.
    """

    def __init__(self, config: SelectConfig, metrics: Artifact, answers: Artifact) -> None:
        self._config, self._metrics, self._answers = config, metrics, answers
        self.chosen_N = np.zeros(metrics.rows, dtype=bool)
        self._open_N = np.zeros(metrics.rows, dtype=bool)  # rows that may be chosen at all
        self._score_N_of: dict[str, Floats] = {}

    def read(self, chosen: pl.Series, lengths: Artifact | None) -> None:
        """Read all rows once.

        Args:
            chosen: the ids of the selection.
            lengths: the tokens of the answers, of rows that may be chosen.
        """
        # Draws of their own: the method random would else be held against itself.
        seed = (self._config.seed + 1) % 2**32
        names = ["random", "reward"] if lengths is None else ["random", "reward", "longest"]
        self._score_N_of = {name: np.empty(self._metrics.rows) for name in names}
        barred, selected = barred_rows(self._config), Members(chosen)
        answers = RowReader(self._answers, ["answerable", "barred"])
        tokens = None if lengths is None else SparseRows(lengths, "tokens")
        start = 0
        for frame in self._metrics.frames(["instruction_id", BEST]):
            here = slice(start, start + frame.height)
            beside = answers.span(here.start, here.stop)
            fit = frame.with_columns(beside["answerable"], beside["barred"])
            fit = fit.with_columns(barred=barred)
            self._open_N[here] = reasons(fit, {}).is_null().to_numpy()
            self.chosen_N[here] = selected.among(frame["instruction_id"])
            for method in ("random", "reward"):
                self._score_N_of[method][here] = own_score(method, frame, seed)
            if tokens is not None:
                self._score_N_of["longest"][here] = tokens.of(frame["instruction_id"])
            start = here.stop

    def candidates(self, method: str, cluster_N: NDArray[np.int32] | None) -> Candidates:
        """Return the rows to choose from by a baseline; one without a number is not eligible."""
        score_N = self._score_N_of[method]
        eligible_N = self._open_N & np.isfinite(score_N)
        return Candidates(score_N, eligible_N, cluster_N, ids_of(self._metrics), {})

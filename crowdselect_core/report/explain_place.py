"""Where one row stands: its row of the ranking, its place in its cluster, and the sentence of why.

What `selection.explanations.told` says of every row is found here for one row, shard by shard:
whatever the number of rows, one shard is held at a time, and the ids of one cluster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.explanations import sentence
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.store.artifacts import Artifact, Store


@dataclass(frozen=True)
class Placed:
    """A row of the ranking and its place.

    Args:
        row: the columns of OUT/ranking.parquet, `reason` as the sentence of why.
        code: the reason code of a row that is not eligible.
        eligible: rows of its cluster that are eligible.
        chosen: rows of its cluster that are chosen.
        budget: rows that are chosen in all.
    """

    row: dict[str, Any]
    code: str | None
    eligible: int
    chosen: int
    budget: int


def row_of(artifact: Artifact, row_id: str) -> pl.DataFrame | None:
    """Return the rows with an id, None without one; shards without it are read for ids alone."""
    for index in range(len(artifact.manifest.shards)):
        ids = artifact.shard(index, ["instruction_id"])["instruction_id"]
        if (ids == row_id).any():
            return artifact.shard(index).filter(pl.col("instruction_id") == row_id)
    return None


def rows_of(store: Store, ref: Ref | None, row_id: str) -> list[dict[str, Any]]:
    """Return all rows of an artifact with an id; none where there is no artifact."""
    if ref is None:
        return []
    found: list[dict[str, Any]] = []
    for frame in ref.open(store).frames():
        found += frame.filter(pl.col("instruction_id") == row_id).to_dicts()
    return found


def placed(
    config: SelectConfig, store: Store, inputs: SelectionArtifacts, row_id: str
) -> Placed | None:
    """Find a row's place; None where the ranking has no such row.

    Args:
        config: resolved.
        store: where the artifacts are.
        inputs: of the selection.
        row_id: the row's instruction_id.
    """
    ranking = inputs.ranking.open(store)
    own = row_of(ranking, row_id)
    if own is None:
        return None
    chosen = inputs.selection.open(store).frame(["instruction_id", "rank"])
    cluster, members = _cluster(store, inputs.clusters, row_id)
    row = own.row(0, named=True)
    near = _Near(row, chosen, members)
    for frame in ranking.frames(["instruction_id", "score", "eligible"]):
        near.add(frame)
    told = own.drop("cluster_id").with_columns(
        cluster_id=pl.lit(cluster, dtype=pl.Int64), **near.columns()
    )
    why = told.select(sentence(config, chosen.height).alias("why")).item()
    told = told.with_columns(reason=pl.lit(why)).drop("_eligible", "_chosen_here")
    return Placed(
        told.row(0, named=True), row["reason"], near.eligible, near.chosen_here, chosen.height
    )


def _cluster(
    store: Store, clusters: Ref | None, row_id: str
) -> tuple[int | None, pl.DataFrame | None]:
    """Return a row's cluster and the ids in it; (None, None) without clusters."""
    if clusters is None:
        return None, None
    artifact, columns = clusters.open(store), ["instruction_id", "cluster_id"]
    cluster = None
    for frame in artifact.frames(columns):
        own = frame.filter(pl.col("instruction_id") == row_id)
        if own.height:
            cluster = own["cluster_id"][0]
            break
    same = [
        f.filter(pl.col("cluster_id").eq_missing(cluster)).select("instruction_id")
        for f in artifact.frames(columns)
    ]
    return cluster, pl.concat(same)


class _Near:
    """Counts and compares the rows of a row's cluster, shard by shard of the ranking."""

    def __init__(
        self, row: dict[str, Any], chosen: pl.DataFrame, members: pl.DataFrame | None
    ) -> None:
        self._row, self._chosen, self._members = row, chosen, members
        self.eligible = self.chosen_here = self._before = 0
        self._lowest_in: float | None = None
        self._best_out: float | None = None

    def add(self, frame: pl.DataFrame) -> None:
        """Take a shard of the ranking in."""
        if self._members is not None:
            frame = frame.join(self._members, on="instruction_id", how="semi")
        inside = frame.join(self._chosen, on="instruction_id", how="semi")["score"]
        out = frame.filter("eligible").join(self._chosen, on="instruction_id", how="anti")["score"]
        self.eligible += int(frame["eligible"].sum())
        self.chosen_here += inside.len()
        self._lowest_in = _of(min, self._lowest_in, inside.min())
        self._best_out = _of(max, self._best_out, out.max())
        if self._row["eligible"]:
            score, own_id = self._row["score"], self._row["instruction_id"]
            first = (pl.col("score") > score) | (
                (pl.col("score") == score) & (pl.col("instruction_id") < own_id)
            )
            self._before += frame.filter(pl.col("eligible") & first).height

    def columns(self) -> dict[str, pl.Expr]:
        """Return what `explanations.told` adds to the row."""
        row = self._row
        own = self._chosen.filter(pl.col("instruction_id") == row["instruction_id"])
        rank = own["rank"][0] if own.height else None
        other = self._lowest_in if rank is None else self._best_out
        known = row["eligible"] and other is not None
        margin = row["score"] - other if known else None
        return {
            "selected": pl.lit(rank is not None),
            "rank": pl.lit(rank, dtype=pl.Int64),
            "rank_in_cluster": pl.lit(self._before + 1 if row["eligible"] else None, pl.Int64),
            "margin": pl.lit(margin, dtype=pl.Float64),
            "_eligible": pl.lit(self.eligible),
            "_chosen_here": pl.lit(self.chosen_here),
        }


def _of(which: Any, one: float | None, other: Any) -> float | None:
    """Return the smaller or larger of two numbers, of which either may be missing."""
    both: Sequence[float] = [x for x in (one, other) if x is not None]
    return which(both) if both else None

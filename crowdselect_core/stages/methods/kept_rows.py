"""The rows that a method looks at, with their prompt and the answer that would be kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.ingest.prompts import Prompt
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.row_columns import RowReader
from crowdselect_core.stages.select.answers import mode_of
from crowdselect_core.stages.select.kept_answers import AnswerReader, kept
from crowdselect_core.store.artifacts import Store
from crowdselect_core.util.once import Once


@dataclass(frozen=True)
class KeptRows:
    """Rows of the data set: their texts, None where there is none.

    Args:
        rows: instruction_id and source_row, in the order of the data set.
        instructions: the instruction texts.
        prompts: the same as turns.
        responses: the answers that would be kept; all None where they were not asked for.
        models: whose answers these are.
    """

    rows: pl.DataFrame
    instructions: Sequence[str | None]
    prompts: Sequence[Prompt | None]
    responses: Sequence[str | None]
    models: Sequence[str | None]


class KeptRowReader:
    """Reads the texts of the rows of a shard that may be chosen.

    Args:
        config: the data set, and which answer is kept.
        store: where the artifacts are.
        scores: of all rows.
        metrics: of all rows.
        answers: which rows have an answer to keep, and which are barred; in the order of the
            scores.
        ids: rows beside which none is looked at; without it, all.
    """

    def __init__(
        self,
        config: SelectConfig,
        store: Store,
        scores: Ref,
        metrics: Ref,
        answers: Ref,
        ids: pl.Expr | None = None,
    ) -> None:
        # A reader of its own: shards are read by several threads, and none is kept.
        self._config = config
        self._reader = Once(lambda: AnswerReader(config, scores.open(store), metrics.open(store)))
        condition = pl.col("answerable") & pl.col("barred").is_null()
        if ids is not None:
            condition &= ids
        self._fit = Once(lambda: _Fit(store, scores, answers, condition))

    def fit(self, shard: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a shard of the scores that may be chosen."""
        return shard.filter(self._fit().of(shard["instruction_id"]))

    def of(self, shard: pl.DataFrame, *, responses: bool) -> KeptRows:
        """Return the rows of a shard of the scores that may be chosen, with their texts."""
        return self.at(self.fit(shard), responses=responses)

    def at(self, rows: pl.DataFrame, *, responses: bool) -> KeptRows:
        """Return rows of a shard of the scores, those given, with their texts."""
        if rows.is_empty():
            return KeptRows(rows, [], [], [], [])
        answers = self._reader().at(rows)
        texts: list[str | None] = [None] * rows.height
        models: list[str | None] = [None] * rows.height
        if responses:
            kept_N, texts = kept(self._config, answers)
            models = [answers.models[m] if m >= 0 else None for m in kept_N.tolist()]
        return KeptRows(rows, answers.instructions(), answers.prompts(), texts, models)


class _Fit:
    """Which rows may be chosen, found shard by shard of the scores.

    Memory: a byte a row, and a hash of the ids of every shard.
    """

    def __init__(self, store: Store, scores: Ref, answers: Ref, condition: pl.Expr) -> None:
        reader = RowReader(answers.open(store))
        self._of: dict[bytes, pl.Series] = {}
        sizes = [shard.rows for shard in scores.open(store).manifest.shards if shard.rows]
        for end, rows in zip(accumulate(sizes), sizes, strict=True):
            part = reader.span(min(end - rows, reader.rows), min(end, reader.rows))
            fit = part.select(fit=condition.fill_null(False))["fit"]
            self._of[_hash(part["instruction_id"])] = fit

    def of(self, ids: pl.Series) -> pl.Series:
        """Return whether each row of a shard may be chosen.

        Raises:
            DamagedArtifact: the two tables hold other rows, or the same in another order.
        """
        if ids.is_empty():
            return pl.Series([], dtype=pl.Boolean)
        fit = self._of.get(_hash(ids))
        if fit is None:
            raise DamagedArtifact("answers: not the rows of the scores, in their order")
        return fit


def _hash(ids: pl.Series) -> bytes:
    """Name some ids in their order."""
    return sha256(ids.hash(seed=0).to_numpy().tobytes()).digest()


def kept_identity(config: SelectConfig) -> dict[str, object]:
    """Return what of the config changes which answer is kept."""
    mode = mode_of(config)
    identity: dict[str, object] = {"kind": mode.kind, "models": list(mode.models)}
    return identity | ({"seed": config.seed} if mode.kind.startswith("random") else {})

"""The lists of ids that rows are chosen among."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import shown
from crowdselect_core.selection.id_lists import read_ids
from crowdselect_core.store.identity import canonical

EXCLUDED, NOT_INCLUDED = "excluded", "not_included"


def list_identity(config: SelectConfig) -> dict[str, Any]:
    """Name the lists of ids that rows are chosen among; raises as `spec` does."""
    return {
        name: sha256(canonical(sorted(set(read_ids(path))))).hexdigest()
        for name, path in (("include", config.include), ("exclude", config.exclude))
        if path is not None
    }


def listed_rows(config: SelectConfig) -> pl.Expr:
    """Return whether the lists of ids let a row be chosen, by its instruction_id."""
    ids, allowed = pl.col("instruction_id"), pl.lit(True)
    if config.include is not None:
        allowed &= ids.is_in(_listed(config.include))
    if config.exclude is not None:
        allowed &= ~ids.is_in(_listed(config.exclude))
    return allowed


def barred_rows(config: SelectConfig) -> pl.Expr:
    """Return why a row is out in any case, by its instruction_id and the column `barred`."""
    barred = pl.col("barred")
    ids = pl.col("instruction_id")
    if config.include is not None:
        listed = _listed(config.include)
        barred = pl.when(~ids.is_in(listed)).then(pl.lit(NOT_INCLUDED)).otherwise(barred)
    if config.exclude is not None:
        listed = _listed(config.exclude)
        barred = pl.when(ids.is_in(listed)).then(pl.lit(EXCLUDED)).otherwise(barred)
    return barred


def _listed(path: str) -> pl.Expr:
    ids: Sequence[str] = read_ids(path)
    return pl.lit(pl.Series(ids, dtype=pl.String)).implode()


class UnknownIds:
    """Finds listed ids that the data set does not have: most often a slip."""

    def __init__(self, config: SelectConfig) -> None:
        paths = {"include": config.include, "exclude": config.exclude}
        self._listed = {
            name: pl.Series(read_ids(path), dtype=pl.String).unique(maintain_order=True)
            for name, path in paths.items()
            if path is not None
        }
        self._left = dict(self._listed)

    def add(self, ids: pl.Series) -> None:
        """Take ids of the data set in."""
        for name, left in self._left.items():
            self._left[name] = left.filter(~left.is_in(ids.implode()))

    def notes(self) -> list[str]:
        """Return a note on each list with ids that were not met."""
        return [
            f"{name}: {len(left)} of {len(self._listed[name])} ids are not in the data set "
            f"({shown([left[0]])})"
            for name, left in self._left.items()
            if len(left)
        ]

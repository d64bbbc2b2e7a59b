"""Reading the published tables, and which cells of an experiment a row of one is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml

FILE = "paper.yaml"
UNTUNED = "untuned"
METRICS = (("mt-bench", "average"), ("arena-hard", "win_rate"))  # of the two numbers, in order


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table.

    Args:
        label: as the paper calls it.
        match: values of columns of experiment.parquet that its cells have; None: no cell has them.
        values: by base model the MT-Bench average (points of 10) and the Arena-Hard win rate (%).
        disputed: by base model how the paper contradicts these numbers elsewhere.
    """

    label: str
    match: Mapping[str, Any] | None
    values: Mapping[str, tuple[float, float]]
    disputed: Mapping[str, str] = field(default_factory=dict)

    def is_of(self, facts: Mapping[str, Any], base_model: str) -> bool:
        """Tell whether a cell is what the row is about.

        Args:
            facts: of the cell, by columns of experiment.parquet.
            base_model: one of `values`; a hub id or folder that ends in it is the same.
        """
        if self.match is None or facts["base_model"] is None:
            return False
        if not same_model(facts["base_model"], base_model):
            return False
        return all(facts[name] == value for name, value in self.match.items())


@dataclass(frozen=True)
class PublishedTable:
    """A published table: its title with the number, what to know of it, its rows."""

    title: str
    note: str
    rows: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class Published:
    """The published tables by name, where they are from and how they were measured."""

    source: str
    setting: str
    tables: Mapping[str, PublishedTable]


def same_model(own: str, published: str) -> bool:
    """Tell whether a base model's hub id or folder ends in the name that the paper uses."""
    return own.rstrip("/").rsplit("/", 1)[-1].lower() == published.lower()


@cache
def published() -> Published:
    """Return the published tables of this package."""
    text = (resources.files("crowdselect_core.experiment.published") / FILE).read_text("utf-8")
    told = yaml.safe_load(text)
    tables = {name: _table(table) for name, table in told["tables"].items()}
    return Published(told["source"], told["setting"], tables)


def _table(told: dict[str, Any]) -> PublishedTable:
    rows = tuple(_row(told["match"], row) for row in told["rows"])
    return PublishedTable(told["title"], told.get("note", ""), rows)


def _row(common: dict[str, Any], told: dict[str, Any]) -> PublishedRow:
    own = told.get("match")
    match = None if own is None else {**common, **own}
    if own is not None and own.get("method") == UNTUNED:  # nothing is chosen or trained
        match = own
    values = {model: (mt, arena) for model, (mt, arena) in told["values"].items()}
    return PublishedRow(told["label"], match, values, told.get("disputed", {}))

"""What the data set itself has of some rows: a model's answers, or columns for a function."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Leaf
from crowdselect_core.ingest.values import some
from crowdselect_core.stages.crowd.prompts import near


def given_answers(
    dataset: Dataset, rows: pl.DataFrame, model: str
) -> Iterator[tuple[int, str | None, str | None]]:
    """Yield (place in `rows`, text, finish reason) of a model's answers in the data set.

    Args:
        dataset: an open data set that has the model's column.
        rows: with the column source_row, ascending; a row may stand there several times.
        model: the crowd model's name.
    """
    source_N = rows["source_row"].to_numpy()
    answer, end = dataset.layout.answers.get(model), dataset.layout.finish_reasons.get(model)
    if answer is None:
        return
    for part in near(dataset, source_N):
        start, stop = np.searchsorted(source_N, [part.first_row, part.first_row + part.rows])
        wanted = {leaf: np.unique(source_N[start:stop]) for leaf in some(answer, end)}
        found = dataset.texts(part, wanted)
        for place in range(int(start), int(stop)):
            row = int(source_N[place])
            text = dataset.answer(found.get((row, answer)))
            yield place, text, found.get((row, end)) if end else None


def given_columns(
    dataset: Dataset, rows: pl.DataFrame, columns: Sequence[str], asker: str = "a reward function"
) -> dict[str, list[Any]]:
    """Return columns of the data set for rows that are in its order, as Python values.

    Args:
        dataset: an open data set.
        rows: with the column source_row, ascending.
        columns: their names.
        asker: what needs them, for the message of an error.

    Raises:
        DatasetError: a column that is not there.
    """
    known = dataset.table.schema().names
    if absent := [c for c in columns if c not in known]:
        raise DatasetError(
            f"{dataset.config.path}: has no column {absent[0]!r}{nearest(absent[0], known)}, which "
            f"{asker} asks for (found: {shown(known)})"
        )
    source_N = rows["source_row"].to_numpy()
    found: dict[str, list[Any]] = {name: [None] * len(source_N) for name in columns}
    leaves = {name: Leaf(name) for name in columns}
    for part in near(dataset, source_N):
        for batch in dataset.table.read(part, list(leaves.values())):
            last = batch.first_row + batch.rows
            start, stop = np.searchsorted(source_N, [batch.first_row, last])
            for name, leaf in leaves.items():
                for place in range(int(start), int(stop)):
                    value = batch.arrays[leaf][int(source_N[place]) - batch.first_row]
                    found[name][place] = value.as_py()
    return found

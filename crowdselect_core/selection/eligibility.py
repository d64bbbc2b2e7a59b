"""Which rows may be chosen: the check of what a ranking is made from, and the reason of each row.

Source: METHOD, "The three foundation metrics" (who is eligible).
"""

from collections.abc import Collection, Mapping

import polars as pl
import polars.selectors as cs

from crowdselect_core.errors import DatasetError, nearest
from crowdselect_core.tables import METRICS, Columns, check_frame

REQUIRED = tuple(name for name in METRICS if name != "headroom")  # without a student: no headroom

# The quality gates in order, and what the reason of a row that one refuses begins with.
GATE_CODES = {
    "language": "language",
    "length": "length",
    "refusals": "refusal",
    "broken": "broken",
    "repetition": "repetition",
    "decontamination": "contaminated",
    "duplicates": "duplicate_of",
}


def reason_code(reason: pl.Expr) -> pl.Expr:
    """Return a reason without what the quality gates say of the single row."""
    code = reason.str.extract(f"^({'|'.join(GATE_CODES.values())}): ")
    return pl.coalesce(code, reason)


def metric_columns(metrics: pl.DataFrame, required: Collection[str] = REQUIRED) -> pl.DataFrame:
    """Return the columns of tables.METRICS, `answerable` and `barred`, checked and typed.

    A column that may be absent and is stands for: metrics undefined, every row answerable, no row
    barred. NaN becomes null.

    Raises:
        DatasetError: a column that is missing or of another type, an id that is null or repeats.
    """
    frame = typed_columns(metrics, required)
    check_ids(frame.get_column("instruction_id"), "metrics")
    return frame


def typed_columns(metrics: pl.DataFrame, required: Collection[str] = REQUIRED) -> pl.DataFrame:
    """Return what `metric_columns` does of a part of a table, whose ids it cannot compare."""
    check_frame(metrics, "metrics")
    known = {**METRICS, "answerable": pl.Boolean, "barred": pl.String}
    present = {n: dtype for n, dtype in known.items() if n in required or n in metrics.columns}
    check_columns(metrics, present, "metrics")
    columns = [pl.col(name).cast(dtype) for name, dtype in present.items()]
    absent = [
        pl.lit(True if name == "answerable" else None, dtype=dtype).alias(name)
        for name, dtype in known.items()
        if name not in present
    ]
    return metrics.select(columns + absent).with_columns(cs.float().fill_nan(None))


def check_columns(frame: pl.DataFrame, columns: Columns, table: str) -> None:
    """Raise a DatasetError unless a table that a caller brings has columns that can be read so.

    Any number passes for Float64, any whole number for Int64, and a column without a value (Null)
    for every type but that of the ids.
    """
    check_frame(frame, table)
    for name, dtype in columns.items():
        found = frame.schema.get(name)
        if found is None:
            close = nearest(name, frame.columns)
            raise DatasetError(f"{table}: column {name!r} is missing{close}: add it")
        number = dtype == pl.Float64 and found.is_numeric()
        whole = dtype == pl.Int64 and found.is_integer()
        nothing = found == pl.Null and name != "instruction_id"
        if not (found == dtype or number or whole or nothing):
            raise DatasetError(f"{table}: column {name!r} is {found}, expected {dtype}: cast it")


def check_ids(ids: pl.Series, table: str) -> None:
    """Raise a DatasetError unless the ids are unique and none is null; TypeError: no Series."""
    if not isinstance(ids, pl.Series):
        kind = type(ids).__name__
        raise TypeError(f"{table}: the ids are a {kind}, expected a polars Series: pl.Series(ids)")
    if ids.null_count():
        raise DatasetError(
            f"{table}: {ids.null_count()} rows have no instruction_id: give each one"
        )
    if ids.n_unique() != len(ids):
        twice = ids.filter(ids.is_duplicated())
        raise DatasetError(
            f"{table}: {twice.n_unique()} duplicate ids, e.g. {twice.min()!r}: keep one row of each"
        )


def reasons(frame: pl.DataFrame, lacks: Mapping[str, pl.Expr]) -> pl.Series:
    """Return why each row of `metric_columns` is not eligible, null where it is.

    The first that applies: the text in `barred`, the conditions of `lacks` in their order, and
    no_answer.
    """
    conditions = {**lacks, "no_answer": ~pl.col("answerable")}
    # a condition that is null is about a value that is not there
    failed = [pl.when(c.fill_null(True)).then(pl.lit(r)) for r, c in conditions.items()]
    return frame.select(reason=pl.coalesce("barred", *failed)).get_column("reason")

"""Finding columns by their names, and checking their types before anything is computed."""

from collections.abc import Iterable

import pyarrow as pa

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest.reader import Leaf


def named(schema: pa.Schema, config: DatasetConfig, ours: str, usual: Iterable[str]) -> Leaf | None:
    """Return the column that the config names for `ours`, else the first usual one there is.

    Raises:
        DatasetError: the config names a column that is not there.
    """
    if ours in config.columns:
        theirs = config.columns[ours]
        if theirs not in schema.names:
            raise DatasetError(
                f"{config.path}: dataset.columns.{ours} names {theirs!r}, which is not there"
                f"{nearest(theirs, schema.names)} (found: {shown(schema.names)})"
            )
        return Leaf(theirs)
    return next((Leaf(name) for name in usual if name in schema.names), None)


def expect(schema: pa.Schema, leaf: Leaf | None, where: str, what: str, *checks: object) -> None:
    """Check that a column, if there is one, has one of the types; one without values has all.

    Raises:
        DatasetError: it has another type.
    """
    if leaf is None:
        return
    field = schema.field(leaf.column)
    if leaf.field is not None:
        field = field.type.field(leaf.field)
    kind = field.type
    if pa.types.is_null(kind) or any(check(kind) for check in checks if callable(check)):
        return
    raise DatasetError(
        f"{where}: column {str(leaf)!r} {told(field)}, expected {what}; correct it, or name "
        "another column"
    )


def told(field: pa.Field) -> str:
    """Say what a column holds; a reader that saw mixed types has noted where."""
    seen = (field.metadata or {}).get(b"found")
    return f"holds {seen.decode()}" if seen else f"is {field.type}"


def is_text(kind: pa.DataType) -> bool:
    """Tell a type of texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()
    )


def is_number(kind: pa.DataType) -> bool:
    """Tell a type of numbers."""
    types = pa.types
    if types.is_boolean(kind):  # false is 0, true is 1
        return True
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind))

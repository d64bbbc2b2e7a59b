"""The columns of JSON rows: what kinds of values each holds, and Arrow arrays of them.

A column of several kinds keeps its values as their JSON, so that one odd row changes no other: who
needs the column reads the rows that fit and refuses the others, or names the lines of the kinds.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.reader import Leaf

# Values of several kinds, and what is neither text nor numbers, are kept as their JSON.
MIXED = pa.binary()


class BrokenText(str):
    """Stands for the kind of a text with a lone surrogate, which is no Unicode text."""


_ARROW: list[tuple[set[type], pa.DataType]] = [
    (set(), pa.null()),
    ({str}, pa.string()),
    ({bool}, pa.bool_()),
    ({int}, pa.int64()),
    ({bool, int, float}, pa.float64()),
    ({list}, pa.list_(pa.float64())),
]
WORDS: dict[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    tuple: "a list",
    dict: "an object",
    BrokenText: "text with half a character (a lone surrogate)",
}

MOST_SHAPES = 1024  # sets of names and types that are remembered of a file

Kinds = dict[type, int]  # the first line where a value of the kind stands
Columns = dict[str, dict[str | None, Kinds]]  # by column and field; None: of the column itself


class ColumnsSeen:
    """The columns of the rows so far.

    Most rows have the names and types of one before them, and change nothing. Of rows without lists
    and objects, whose kinds are more than their types, these are remembered.

    Attributes:
        columns: the kinds of their values.
    """

    def __init__(self) -> None:
        self.columns: Columns = {}
        self._shapes: set[tuple[str | type, ...]] = set()

    def has_all_of(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row, all texts of which are whole, is known to have nothing new."""
        return (*row, *map(type, row.values())) in self._shapes

    def note(self, row: Mapping[str, Any], number: int, *, checked: bool) -> None:
        """Add the kinds of a row's values, and of the fields of its objects, to those so far.

        Args:
            row: the next row.
            number: its line.
            checked: whether all texts are known to be whole.
        """
        for name, value in row.items():
            fields = self.columns.get(name)
            if fields is None:
                fields = self.columns[name] = {None: {}}
            fields[None].setdefault(_kind(value, checked), number)
            if isinstance(value, dict):
                for field, inner in value.items():
                    kinds = fields.get(field)
                    if kinds is None:
                        kinds = fields[field] = {}
                    kinds.setdefault(_kind(inner, checked), number)
        types = [*map(type, row.values())]
        if checked and len(self._shapes) < MOST_SHAPES and list not in types and dict not in types:
            self._shapes.add((*row, *types))


def merged(found: Sequence[Columns]) -> Columns:
    """Join the columns of several files; the first line of a kind is the first file's."""
    columns: Columns = {}
    for seen in found:
        for name, fields in seen.items():
            known = columns.setdefault(name, {})
            for field, kinds in fields.items():
                known[field] = known.get(field, {}) | kinds | known.get(field, {})
    return columns


def _kind(value: Any, checked: bool) -> type:
    """Return a value's type; `tuple` stands for a list that holds no numbers."""
    if isinstance(value, list) and value and type(value[0]) not in (int, float):
        return tuple
    if not checked and isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return BrokenText
    return type(value)


def word(value: Any) -> str:
    """Name the kind of a JSON value."""
    return WORDS.get(_kind(value, True), "null")


def column(name: str, fields: Mapping[str | None, Kinds]) -> pa.Field:
    """Return the Arrow field of a column: a struct where every value is an object."""
    inner = [_leaf(field, kinds) for field, kinds in fields.items() if field is not None]
    if inner and set(fields[None]) <= {dict, type(None)}:
        return pa.field(name, pa.struct(inner))
    return _leaf(name, fields[None])


def _leaf(name: str, kinds: Kinds) -> pa.Field:
    """Return the Arrow field of values that are no objects; mixed kinds name their lines."""
    found = {kind: line for kind, line in kinds.items() if kind is not type(None)}
    told = ", ".join(f"{_word(kind, found)} in line {line}" for kind, line in found.items())
    for fitting, arrow in _ARROW:
        if set(found) <= fitting:
            return pa.field(name, arrow, metadata={"found": told} if found else None)
    names = ",".join(kind.__name__ for kind in found)
    return pa.field(name, MIXED, metadata={"found": told, "kinds": names})


def _word(kind: type, found: Kinds) -> str:
    """Name a kind of a column's values; among numbers alone, those that are not whole."""
    numbers = set(found) <= {bool, int, float}
    return "a decimal number" if kind is float and numbers else WORDS[kind]


def kinds_of(field: pa.Field) -> set[str]:
    """Return the kinds of values of a column that is kept as JSON; empty for other columns."""
    noted: bytes = (field.metadata or {}).get(b"kinds", b"")
    return set(noted.decode().split(",")) - {""}


def build(
    shown: str, rows: Sequence[Mapping[str, Any]], leaf: Leaf, field: pa.Field, lines: Sequence[int]
) -> pa.Array:
    """Return the values of one leaf of some rows.

    Args:
        shown: the file's name.
        rows: parsed.
        leaf: the column, or a field of it.
        field: of the schema.
        lines: of the rows.

    Raises:
        DatasetError: a number is out of range, or a text is broken.
    """
    values = [row.get(leaf.column) for row in rows]
    if leaf.field is not None:
        values = [v.get(leaf.field) if isinstance(v, dict) else None for v in values]
    elif pa.types.is_struct(field.type):
        inner = [build(shown, rows, Leaf(leaf.column, f.name), f, lines) for f in field.type]
        return pa.StructArray.from_arrays(inner, fields=list(field.type))
    if field.type == MIXED:
        return pa.array([json.dumps(v, sort_keys=True).encode() for v in values], type=MIXED)
    try:
        return _array(values, field.type)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError):
        line = next((n for v, n in zip(values, lines, strict=True) if not _fits(v, field.type)), 0)
        where = f", line {line}" if line else ""
        raise DatasetError(
            f"{shown}{where}: column {str(leaf)!r} holds broken text or a number out of range; "
            "correct it"
        ) from None


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.float64():  # a whole number beyond 2**53 is rounded, as JSON's are
        values = [None if v is None else float(v) for v in values]
    return pa.array(values, type=kind)


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        _array([value], kind)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError):
        return False
    return True

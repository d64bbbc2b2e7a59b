"""One schema of several parquet files, and what their differences mean.

A column of models (a struct, or numbers) that one file lacks is null there; a text that one lacks
is refused. What pandas leaves of its index is no column.
"""

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from crowdselect_core.errors import DatasetError, shown

_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def joined(files: Sequence[str], schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return the columns of files that belong together.

    Args:
        files: their names.
        schemas: of each.

    Raises:
        DatasetError: two columns of a file have one name, or the columns of two files differ.
    """
    found: dict[str, pa.Field] = {}
    lacking: dict[str, str] = {}  # by column: the file that shows that one is without it
    for file, schema in zip(files, schemas, strict=True):
        if twice := sorted({n for n in schema.names if schema.names.count(n) > 1}):
            raise DatasetError(f"{file}: two columns have the name {twice[0]!r}")
        here = {f.name: _plain(f) for f in schema if not _PANDAS_INDEX.fullmatch(f.name)}
        for name in set(here) ^ set(found) if found else ():
            lacking.setdefault(name, file)
        different = [
            f"{n}: {here[n].type} and not {found[n].type}"
            for n in here
            if n in found and not _alike(found[n], here[n])
        ]
        if different:
            raise _differ(file, files[0], different)
        found |= {n: _merged(found.get(n, f), f) for n, f in here.items()}
    needed = [n for n in found if n in lacking and not _may_be_absent(found[n].type)]
    if needed:
        raise _differ(lacking[needed[0]], files[0], sorted(needed))
    return pa.schema(list(found.values()))


def absent(files: Sequence[str], schemas: Sequence[pa.Schema]) -> Mapping[str, list[str]]:
    """Return, per file, the columns that it lacks and others have."""
    every = {n for schema in schemas for n in schema.names if not _PANDAS_INDEX.fullmatch(n)}
    found = {f: sorted(every - set(s.names)) for f, s in zip(files, schemas, strict=True)}
    return {file: names for file, names in found.items() if names}


def _differ(file: str, other: str, columns: Sequence[str]) -> DatasetError:
    first = f"those of {other}" if file != other else "those of its neighbours"
    return DatasetError(
        f"{file}: its columns differ from {first} ({shown(columns, 5)}); all files of a data set "
        "need the same columns"
    )


def _may_be_absent(kind: pa.DataType) -> bool:
    """Tell what holds a model's answers or scores: it may be null for the rows of a whole file."""
    return bool(pa.types.is_struct(kind) or _kind(kind) in ("numbers", "null"))


def _plain(field: pa.Field) -> pa.Field:
    """Return a field of JSON as the text that it is."""
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        return field.with_type(kind.storage_type)
    if pa.types.is_struct(kind):
        return field.with_type(pa.struct([_plain(f) for f in kind]))
    if _is_list(kind):
        return field.with_type(pa.list_(_plain(kind.value_field)))
    return field


def _alike(one: pa.Field, other: pa.Field) -> bool:
    """Tell whether two files give a column the same meaning; one without any value fits all."""
    if _is_list(one.type) and _is_list(other.type):
        return _alike(one.type.value_field, other.type.value_field)
    if not (pa.types.is_struct(one.type) and pa.types.is_struct(other.type)):
        return len({_kind(one.type), _kind(other.type)} - {"null"}) <= 1
    fields, others = ({f.name: f for f in kind} for kind in (one.type, other.type))
    return all(_alike(f, others[n]) for n, f in fields.items() if n in others) and all(
        _may_be_absent({**fields, **others}[n].type) for n in fields.keys() ^ others.keys()
    )


def _merged(one: pa.Field, other: pa.Field) -> pa.Field:
    """Return the column with the type of the file that has values; the two are alike."""
    if pa.types.is_null(one.type):
        return other
    if _is_list(one.type) and _is_list(other.type):
        item = _merged(one.type.value_field, other.type.value_field)
        return one.with_type(pa.list_(item))
    if not pa.types.is_struct(one.type) or not pa.types.is_struct(other.type):
        return one
    others = {f.name: f for f in other.type}
    own = [_merged(field, others.pop(field.name, field)) for field in one.type]
    return one.with_type(pa.struct([*own, *others.values()]))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _kind(kind: pa.DataType) -> str:
    """Name a type as far as it matters: files may differ in the width of their numbers."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "numbers"
    if types.is_boolean(kind):
        return "numbers"
    if types.is_string(kind) or types.is_large_string(kind) or kind == pa.string_view():
        return "text"
    return "struct" if types.is_struct(kind) else str(kind)

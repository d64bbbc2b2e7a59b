"""Data for the page's script: columns of numbers and JSON, compressed and written in base64.

A block of columns is a JSON header of (name, type, length), NUL, and the columns one after the
other. The bytes of a column lie in planes (all first bytes, all second bytes, ...): small numbers
then compress to little more than the bits they have. `assets/unpacking.js` reads both.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = ("uint8", "uint16", "uint32", "float32", "float64")
LEVEL = 6  # of gzip: 9 takes three times as long for 1 %

Column = NDArray[Any]


def pack_columns(columns: Mapping[str, Column]) -> bytes:
    """Pack columns of numbers; each keeps its type, one of TYPES.

    Raises:
        TypeError: a column of another type.
    """
    header, planes = [], []
    for name, column in columns.items():
        if column.dtype.name not in TYPES:
            raise TypeError(f"column {name} is {column.dtype}, expected one of {', '.join(TYPES)}")
        header.append([name, column.dtype.name, len(column)])
        little = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<"))
        planes.append(little.view(np.uint8).reshape(len(column), -1).T.tobytes())
    return _packed(json.dumps(header).encode() + b"\0" + b"".join(planes))


def pack_json(value: Any) -> bytes:
    """Pack a JSON value; NaN and infinity are refused, and lone surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _packed(text.encode("utf-8", "backslashreplace"))


def smallest(values: Column) -> Column:
    """Return whole numbers, at least 0, in the smallest type that holds them."""
    most = int(values.max(initial=0))
    kind = next(k for k in (np.uint8, np.uint16, np.uint32) if most <= np.iinfo(k).max)
    return values.astype(kind)


def _packed(data: bytes) -> bytes:
    return base64.b64encode(gzip.compress(data, LEVEL, mtime=0))

"""From Arrow arrays to what the stages compute with: ids, numbers, vectors, complete answers."""

from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.reader import Leaf
from crowdselect_core.store.identity import canonical
from crowdselect_core.util.finish_reasons import Ending, FinishReason, normalise_finish_reason
from crowdselect_core.util.thinking import CLOSING, OPENING, split_thinking

# What str.strip takes away, so that an answer is empty here exactly when it is empty there.
SPACE = "".join(chr(i) for i in range(0x3001) if chr(i).isspace())


def some(*leaves: Leaf | None) -> list[Leaf]:
    """Return the leaves that there are."""
    return [leaf for leaf in leaves if leaf is not None]


def given_ids(array: pa.Array, first_row: int, place: Callable[[int], str]) -> pl.Series:
    """Return given ids as text.

    Raises:
        DatasetError: a row has none.
    """
    ids = pl.Series(array).cast(pl.String)
    if ids.null_count():
        row = first_row + int(ids.is_null().arg_max() or 0)
        raise DatasetError(
            f"{place(row)}: has no id; fill it in, or name another id column under "
            "dataset.columns.instruction_id"
        )
    return ids


def content_ids(texts: pa.Array) -> pl.Series:
    """Return 32 hex digits (16 bytes) of the sha256 of each row's messages."""
    return pl.Series(
        [
            sha256(canonical([{"content": text or "", "role": "user"}])).hexdigest()[:32]
            for text in texts.to_pylist()
        ],
        dtype=pl.String,
    )


def numbers(array: pa.Array) -> NDArray[np.float64]:
    """Return floats, NaN for what is null, NaN or infinite."""
    values = _array(array, pa.float64())
    return np.where(np.isfinite(values), values, np.nan)


def number_column(array: pa.Array) -> pl.Series:
    """Return what `numbers` does with null in the place of NaN, uncopied where all are finite."""
    column = pl.Series(pc.cast(array, pa.float64(), safe=False))
    values = column.to_numpy()
    is_finite = np.isfinite(values)
    if is_finite.all():
        return column
    return pl.Series(np.where(is_finite, values, np.nan), nan_to_null=True)


def _array(array: pa.Array, kind: pa.DataType) -> NDArray[Any]:
    """Return floats of a type, NaN for null; not by Arrow's `to_numpy`, which imports pandas."""
    return pl.Series(pc.cast(array, kind, safe=False)).to_numpy()


def complete(
    arrays: Mapping[Leaf, pa.Array],
    answer: Leaf,
    end: Leaf | None,
    unknown: Counter[str],
    *,
    own_thinking: bool = True,
) -> NDArray[np.bool_]:
    """Tell which answers are not empty and not known to be cut off, failed or withheld.

    Args:
        arrays: the texts, and why generation ended.
        answer: the leaf of the texts.
        end: of the finish reasons, where there are some.
        unknown: counts the finish reasons that nobody knows; such answers are complete.
        own_thinking: whether thinking may stand before the answers, which is no part of them.
    """
    return _complete(_own_texts(arrays[answer], own_thinking), arrays, end, unknown).to_numpy()


def complete_bytes(
    arrays: Mapping[Leaf, pa.Array], answer: Leaf, end: Leaf | None, *, own_thinking: bool = True
) -> NDArray[np.int64]:
    """Return the UTF-8 bytes of every complete answer, thinking left out; -1 of the others.

    Arguments as of `complete`.
    """
    texts = _own_texts(arrays[answer], own_thinking)
    whole = _complete(texts, arrays, end, Counter())
    bytes_N = texts.str.len_bytes().cast(pl.Int64).fill_null(-1).to_numpy()
    return np.where(whole.to_numpy(), bytes_N, -1)


def _own_texts(array: pa.Array, own_thinking: bool) -> pl.Series:
    """Return answers without the thinking that may stand before them."""
    texts = pl.Series(array).cast(pl.String)
    thinks = texts.str.contains_any([OPENING, CLOSING]).fill_null(value=False)
    if own_thinking and thinks.any():
        texts = pl.Series([without_thinking(text) for text in texts], dtype=pl.String)
    return texts


def _complete(
    texts: pl.Series, arrays: Mapping[Leaf, pa.Array], end: Leaf | None, unknown: Counter[str]
) -> pl.Series:
    whole = texts.str.strip_chars(SPACE).str.len_bytes().fill_null(0) > 0
    if end is not None:
        words = pl.Series("word", arrays[end]).cast(pl.String)
        counted = words.value_counts().drop_nulls()
        endings = {w: (normalise_finish_reason(w), n) for w, n in counted.iter_rows()}
        for reason, n in endings.values():
            if reason.name and is_unknown(reason):
                unknown[reason.name] += n
        bad = [w for w, (reason, _) in endings.items() if not is_complete(reason)]
        if bad:
            whole &= ~words.is_in(bad).fill_null(False)
    return whole


def without_thinking(text: str | None) -> str | None:
    """Return an answer without the thinking before it; '' where the thinking never ends."""
    if text is None or not (OPENING in text or CLOSING in text):
        return text
    return split_thinking(text)[0]


def is_unknown(reason: FinishReason) -> bool:
    """Tell a finish reason that nobody knows."""
    return reason.ending is Ending.UNKNOWN


def is_complete(reason: FinishReason) -> bool:
    """Tell whether an answer that ended so may be kept."""
    return reason.is_answer and not reason.is_cut


def vectors(array: pa.Array, where: str) -> NDArray[np.float32]:
    """Return vectors_ND of a column of lists.

    Raises:
        DatasetError: no lists of numbers, a null, another length, or a number that is not finite.
    """
    kind, types = array.type, pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not lists or not (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)):
        raise DatasetError(f"{where} is {kind}, expected lists of numbers")
    lengths = pc.unique(pc.list_value_length(array)).to_pylist()
    if len(lengths) != 1 or lengths[0] in (None, 0):
        told = ", ".join(str(n or "none") for n in lengths[:5])
        raise DatasetError(f"{where} has vectors of the lengths {told}; expected one length")
    flat: NDArray[np.float32] = _array(pc.list_flatten(array), pa.float32())
    if not np.isfinite(flat).all():
        raise DatasetError(f"{where} has vectors that hold null, NaN or infinite; expected numbers")
    return flat.reshape(len(array), -1)

"""A long table whose rows hold answers, read as a zoo: one row per instruction.

The scores and the place of every answer are held, the texts stay where they are: of a block of
instructions the rows that hold their answers are read, and no others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.columns import is_text
from crowdselect_core.ingest.long_scores import WideScores
from crowdselect_core.ingest.reader import Batch, Leaf, Partition, Reader

TEXT_NAMES = ("response", "text", "content", "answer", "output", "completion", "generation")
CONTENT, END = "content", "finish_reason"
BLOCK_ROWS = 1024
_ID, _PROMPT = "instruction_id", "\0first row"


def text_column(schema: pa.Schema, config: DatasetConfig) -> str | None:
    """Find the column of a long table that holds the answers."""
    asked = config.columns.get("content")
    names = (asked,) if asked else TEXT_NAMES
    return next((n for n in names if n in schema.names and is_text(schema.field(n).type)), None)


@dataclass(frozen=True)
class _Columns:
    """What the long table calls its columns."""

    text: str
    end: str | None
    prompt: tuple[str, ...]


class LongZoo:
    """One row per instruction: the id, its prompt's columns, a struct per crowd model."""

    def __init__(
        self, texts: Reader, wide: WideScores, text: str, prompt: Sequence[str], fingerprint: str
    ) -> None:
        schema = texts.schema()
        self._texts, self._fingerprint = texts, fingerprint
        self.text = text
        self._columns = _Columns(text, END if END in schema.names else None, tuple(prompt))
        places = _places(texts, wide.id_name)
        self._wide = wide.frame.join(
            places.select(_ID), on=_ID, how="full", coalesce=True, maintain_order="left_right"
        )
        self._places = self._wide.select(_ID).join(
            places, on=_ID, how="left", maintain_order="left"
        )
        self._models = [c for c in places.columns if c not in (_ID, _PROMPT)]

    def fingerprint(self) -> str:
        return self._fingerprint

    def digests(self) -> list[str]:
        return [self._fingerprint]

    def source(self, file: int) -> str:
        return self._texts.source(file)

    def place(self, row: int) -> str:
        return self._texts.place(int(self._places[_PROMPT][row] or 0))

    def schema(self) -> pa.Schema:
        scores = self._wide.head(0).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        own = self._texts.schema()
        texts = [pa.field(CONTENT, pa.string())]
        texts += [pa.field(END, pa.string())] if self._columns.end else []
        models = dict.fromkeys([*self._models, *scores.names[1:]])
        return pa.schema(
            [
                scores.field(_ID),
                *(own.field(n) for n in self._columns.prompt),
                *(pa.field(m, pa.struct([*texts, *_fields(scores, m)])) for m in models),
            ]
        )

    def partitions(self, rows: int) -> list[Partition]:
        total = self._wide.height
        return [Partition(0, at, min(rows, total - at), (0, 0)) for at in range(0, total, rows)]

    def read(self, partition: Partition, leaves: Sequence[Leaf]) -> Iterator[Batch]:
        end = partition.first_row + partition.rows
        for first in range(partition.first_row, end, BLOCK_ROWS):
            rows = min(BLOCK_ROWS, end - first)
            yield Batch(first, rows, self._block(first, rows, leaves))

    def _block(self, first: int, rows: int, leaves: Sequence[Leaf]) -> dict[Leaf, pa.Array]:
        schema, wide = self.schema(), self._wide[first : first + rows]
        wanted = list(dict.fromkeys(part for leaf in leaves for part in _parts(schema, leaf)))
        bases = {part: base for part in wanted if (base := self._base(part)) is not None}
        texts = self._read_texts({p: self._rows(b[1], first, rows) for p, b in bases.items()},
                                 {p: b[0] for p, b in bases.items()})  # fmt: skip
        arrays: dict[Leaf, pa.Array] = {}
        for part in wanted:
            if part in texts:
                arrays[part] = texts[part]
            elif part.field is None:
                arrays[part] = wide[part.column].to_arrow(compat_level=pl.CompatLevel.oldest())
            else:
                arrays[part] = wide[part.column].struct.field(part.field).to_arrow()
        return {leaf: _whole(schema, leaf, arrays) for leaf in leaves}

    def _base(self, leaf: Leaf) -> tuple[str, str] | None:
        """Return the long table's column that holds a leaf, and the column of its row numbers."""
        if leaf.column in self._columns.prompt:
            return leaf.column, _PROMPT
        if leaf.field == CONTENT:
            return self._columns.text, leaf.column
        if leaf.field == END and self._columns.end:
            return self._columns.end, leaf.column
        return None

    def _rows(self, column: str, first: int, rows: int) -> NDArray[np.int64]:
        """Return the long table's row of each row of a block, -1 where it has none."""
        if column not in self._places.columns:
            return np.full(rows, -1)
        return self._places[column][first : first + rows].fill_null(-1).to_numpy()

    def _read_texts(
        self, rows_of: Mapping[Leaf, NDArray[np.int64]], base_of: Mapping[Leaf, str]
    ) -> dict[Leaf, pa.Array]:
        """Read columns of the long table at some of its rows."""
        if not rows_of:
            return {}
        needed = np.unique(np.concatenate(list(rows_of.values())))
        needed = needed[needed >= 0]
        leaves = [Leaf(name) for name in dict.fromkeys(base_of.values())]
        found: dict[Leaf, list[pa.Array]] = {leaf: [] for leaf in leaves}
        for part in self._texts.partitions(BLOCK_ROWS):
            start, stop = np.searchsorted(needed, [part.first_row, part.first_row + part.rows])
            if start == stop:
                continue
            for batch in self._texts.read(part, leaves):
                last = batch.first_row + batch.rows
                start, stop = np.searchsorted(needed, [batch.first_row, last])
                here = pa.array(needed[start:stop] - batch.first_row)
                for leaf in leaves:
                    found[leaf].append(batch.arrays[leaf].take(here))
        arrays = {}
        for wanted, rows in rows_of.items():
            leaf = Leaf(base_of[wanted])
            kind = self._texts.schema().field(leaf.column).type
            chunks = [c.cast(kind) if c.type != kind else c for c in found[leaf]]
            column = pa.chunked_array(chunks, type=kind).combine_chunks()
            places = np.searchsorted(needed, rows)
            arrays[wanted] = column.take(pa.array(places, mask=rows < 0))
        return arrays


def _places(texts: Reader, id_name: str) -> pl.DataFrame:
    """Return the long table's row of every answer, one column per model, and of every prompt."""
    names = [n for n in (id_name, "model", "sample") if n in texts.schema().names]
    leaves = [Leaf(n) for n in names]
    frames = [
        pl.DataFrame({leaf.column: pl.Series(leaf.column, batch.arrays[leaf]) for leaf in leaves})
        for part in texts.partitions(1_000_000)
        for batch in texts.read(part, leaves)
    ]
    frame = pl.concat(frames, how="vertical_relaxed").rename({id_name: _ID}).with_row_index("row")
    frame = frame.with_columns(
        pl.col(_ID).cast(pl.String), pl.col("model").cast(pl.String), pl.col("row").cast(pl.Int64)
    )
    for name in (_ID, "model"):
        if frame[name].null_count():
            row = int(frame[name].is_null().arg_max() or 0)
            raise DatasetError(f"{texts.place(row)}: has no {name}; every answer needs it")
    order = ["sample", "row"] if "sample" in frame.columns else ["row"]
    frame = frame.sort(order, maintain_order=True)
    first = frame.unique([_ID, "model"], keep="first", maintain_order=True)
    wide = first.pivot(on="model", index=_ID, values="row")
    prompts = frame.group_by(_ID).agg(pl.col("row").min().alias(_PROMPT))
    return prompts.join(wide, on=_ID, how="left").sort(_PROMPT)


def _fields(schema: pa.Schema, column: str) -> list[pa.Field]:
    kind = schema.field(column).type if column in schema.names else None
    return [kind.field(i) for i in range(kind.num_fields)] if kind is not None else []


def _parts(schema: pa.Schema, leaf: Leaf) -> list[Leaf]:
    """Return the fields of a column of structs of ours, or the leaf itself."""
    kind = schema.field(leaf.column).type
    fields = [f.name for f in kind] if pa.types.is_struct(kind) else []
    is_model = leaf.field is None and CONTENT in fields
    return [Leaf(leaf.column, name) for name in fields] if is_model else [leaf]


def _whole(schema: pa.Schema, leaf: Leaf, arrays: Mapping[Leaf, pa.Array]) -> pa.Array:
    parts = _parts(schema, leaf)
    if parts == [leaf]:
        return arrays[leaf]
    return pa.StructArray.from_arrays([arrays[p] for p in parts], [str(p.field) for p in parts])

"""OUT/ranking.parquet: every row with its place, the best first, written block by block.

Rows come in the order of the data set and are written in that of their score. So they are dealt out
to temporary files by their place in the output, one a block, and each block is put in order alone.

Array names carry their shape: N rows, K of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crowdselect_core.stages.row_columns import numbered_frames
from crowdselect_core.stages.select.placed_rows import PlacedRows

Ints = NDArray[np.int64]
Blocks = NDArray[np.unsignedinteger]

BLOCK_ROWS = 262_144  # rows of a block, which is a row group of the file
ID = "instruction_id"


class ExplainedRows(PlacedRows):
    """Every row of a selection's data set with its place and why it was chosen or not.

    Memory: that of `PlacedRows`, and a block.
    """

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._ranking.rows

    @property
    def eligible(self) -> int:
        """How many rows may be chosen."""
        return int(self.candidates.eligible_N.sum())

    def chosen_of_clusters(self) -> list[int]:
        """Return how many rows are chosen of each cluster that gave any, in cluster order."""
        return [int(n) for n in self.where.chosen_G if n]

    def best_rows(self, count: int) -> Ints:
        """Return the numbers of the best chosen rows."""
        rank_N = self.where.rank_N
        rows_B = np.flatnonzero(rank_N)
        return rows_B[np.argsort(rank_N[rows_B])][:count]

    def spread_of_others(self) -> Ints:
        """Return of the rows that are not chosen the best, a middle one and the last one."""
        order_N = self.where.order_N
        left: Ints = order_N[self.where.rank_N[order_N] == 0]
        places = sorted({0, len(left) // 2, len(left) - 1}) if len(left) else []
        return np.take(left, places)

    def table(self) -> pl.DataFrame:
        """Return all rows at once, as the file has them."""
        return pl.concat(list(self.blocks(self.rows)))

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[pl.DataFrame]:
        """Yield all rows in the order of the file, some at a time."""
        order_N = self.where.order_N
        with _dealt(self._parts(), order_N, rows) as dealt:
            for number, frame in enumerate(dealt):
                rows_K = order_N[number * rows : number * rows + frame.height]
                yield self._told(frame, rows_K)

    def write(self, path: Path) -> None:
        """Write the file."""
        with ExitStack() as stack:
            writer = None
            for block in self.blocks():
                table = block.to_arrow(compat_level=pl.CompatLevel.oldest())
                if writer is None:
                    writer = stack.enter_context(_writer(path, table.schema))
                writer.write_table(table, row_group_size=BLOCK_ROWS)

    def _parts(self) -> Iterator[pl.DataFrame]:
        """Yield the shards of the ranking with the clusters of their rows."""
        for start, frame in numbered_frames(self._ranking):
            yield self._rows.with_clusters(frame, np.arange(start, start + frame.height))


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open the file.

    Its encodings are those that every common reader of parquet knows. Ids do not repeat, and their
    least and greatest tell nothing of a block of rows in the order of scores. Places mostly grow
    from row to row.
    """
    texts = [field.name for field in schema if pa.types.is_large_string(field.type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=["n_scores", *(name for name in texts if name != ID)],
        column_encoding={"rank_in_cluster": "DELTA_BINARY_PACKED"},
        write_statistics=[name for name in schema.names if name != ID],
    )


@contextmanager
def _dealt(
    parts: Iterable[pl.DataFrame], order_N: Ints, rows: int
) -> Iterator[Iterator[pl.DataFrame]]:
    """Yield the rows of all parts in another order, block by block.

    Args:
        parts: all rows in the order of their numbers.
        order_N: the numbers of the rows in the order that is wanted.
        rows: of a block.
    """
    blocks = [order_N[start : start + rows] for start in range(0, len(order_N), rows)]
    if len(blocks) <= 1:
        yield iter([pl.concat(list(parts), rechunk=True)[order_N]])
        return
    block_N = np.empty(len(order_N), dtype=np.min_scalar_type(len(blocks)))  # small: sorts by radix
    for number, rows_K in enumerate(blocks):
        block_N[rows_K] = number
    with TemporaryDirectory(prefix="crowdselect-") as folder:
        files = [Path(folder) / f"{i:06d}.arrow" for i in range(len(blocks))]
        _deal(parts, block_N, files)
        yield (_in_order(*block) for block in zip(files, blocks, strict=True))


def _deal(parts: Iterable[pl.DataFrame], block_N: Blocks, files: Sequence[Path]) -> None:
    """Write every row to the file of its block, in the order of their numbers."""
    start = 0
    with ExitStack() as stack:
        writers: dict[int, pa.RecordBatchStreamWriter] = {}
        for frame in parts:
            block_K = block_N[start : start + frame.height]
            start += frame.height
            sorted_frame = frame[np.argsort(block_K, kind="stable")]
            table = sorted_frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            first = 0
            for block, count in enumerate(np.bincount(block_K).tolist()):
                if count and block not in writers:
                    writer = pa.ipc.new_stream(files[block], table.schema)
                    writers[block] = stack.enter_context(writer)
                if count:
                    writers[block].write_table(table.slice(first, count))
                first += count


def _in_order(file: Path, rows_K: Ints) -> pl.DataFrame:
    """Read the rows of a block, which lie in the order of their numbers, as they are wanted."""
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
        # in one piece: rows of many small ones are gathered at several times the cost
        frame = pl.from_arrow(reader.read_all().combine_chunks())
        if not isinstance(frame, pl.DataFrame):
            raise TypeError(f"{file}: no table")
        row_K = np.empty(frame.height, dtype=np.int64)  # which row stands at each place
        row_K[np.argsort(rows_K)] = np.arange(frame.height)
        ordered = frame[row_K]
    file.unlink()
    return ordered

"""A folder that `datasets.save_to_disk` wrote: Arrow files, memory-mapped where they are local."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest.files import (
    DataFile,
    FileReader,
    opened,
    place_failed,
    read_failed,
)
from crowdselect_core.ingest.listing import SUFFIXES, is_glob, list_files
from crowdselect_core.ingest.parquet import leaf_of
from crowdselect_core.ingest.parquet_schema import joined
from crowdselect_core.ingest.reader import Batch, Leaf, Partition, row_of_file
from crowdselect_core.store.backend.errors import is_denied
from crowdselect_core.store.safe_parquet import names
from crowdselect_core.urls import is_url

BATCH_ROWS = 4096
MAGIC = b"ARROW1"  # of the file format; `datasets` writes the stream format


def is_saved_folder(path: str, options: Mapping[str, Any]) -> bool:
    """Tell a saved `datasets` folder by the files that only it has.

    Raises:
        StorageError: the place cannot be reached.
    """
    if is_glob(path) or (is_url(path) and path.split("?", 1)[0].lower().endswith(SUFFIXES)):
        return False
    fs, inner = opened(path, options)
    root = inner.rstrip("/")
    return any(_exists(fs, path, f"{root}/{n}") for n in ("state.json", "dataset_dict.json"))


def _exists(fs: Any, folder: str, file: str) -> bool:
    """Tell whether a file is there; what may not be looked at is left to the listing to tell."""
    try:
        return bool(fs.exists(file))
    except Exception as e:
        if is_denied(e):
            return False
        raise place_failed(fs, folder, e) from None


def open_saved(path: str, split: str | None, options: Mapping[str, Any]) -> "ArrowReader":
    """Open one split of a saved folder.

    Raises:
        DatasetError: the split is not there, or the folder is incomplete.
    """
    fs, inner = opened(path, options)
    folder = path.rstrip("/")
    if _exists(fs, folder, f"{inner.rstrip('/')}/dataset_dict.json"):
        splits = _told(fs, folder, f"{inner.rstrip('/')}/dataset_dict.json", "splits")
        split = split or "train"
        if split not in splits:
            raise DatasetError(
                f"{path}: has no split {split!r}{nearest(split, splits)} (found: {shown(splits)})"
            )
        folder = f"{folder}/{split}"
        _, inner = opened(folder, options)
    state = f"{inner.rstrip('/')}/state.json"
    if not _exists(fs, folder, state):
        raise DatasetError(f"{folder}: holds no state.json, so it was not saved whole; save again")
    wanted = {entry["filename"] for entry in _told(fs, folder, state, "_data_files")}
    files = [f for f in list_files(folder, options).files if f.path.rsplit("/", 1)[-1] in wanted]
    if len(files) != len(wanted):
        raise DatasetError(
            f"{folder}: {len(wanted) - len(files)} of its {len(wanted)} data files are gone"
        )
    return ArrowReader(files)


def _told(fs: Any, folder: str, path: str, key: str) -> Any:
    """Return a key of one of the JSON files that describe a saved folder."""
    try:
        told = fs.cat_file(path)
    except Exception as e:
        raise place_failed(fs, folder, e) from None
    try:
        return json.loads(told)[key]
    except (ValueError, KeyError, TypeError):
        name = path.rsplit("/", 1)[-1]
        raise DatasetError(
            f"{folder}: its {name} is damaged, expected JSON with the key {key!r}; save it again"
        ) from None


class ArrowReader(FileReader):
    """Arrow files of the stream or the file format; compressed ones are in memory as a whole."""

    def place(self, row: int) -> str:
        rows = [t.num_rows for t in self._tables]
        return row_of_file(row, [(f.shown, n) for f, n in zip(self._files, rows, strict=True)])

    def schema(self) -> pa.Schema:
        return self._schema

    def partitions(self, rows: int) -> list[Partition]:
        found: list[Partition] = []
        first_row = 0
        for index, table in enumerate(self._tables):
            for start in range(0, table.num_rows, rows):
                taken = min(rows, table.num_rows - start)
                found.append(Partition(index, first_row, taken, (start, start + taken)))
                first_row += taken
        return found

    def read(self, partition: Partition, leaves: Sequence[Leaf]) -> Iterator[Batch]:
        start = partition.where[0]
        for at in range(0, partition.rows, BATCH_ROWS):
            rows = min(BATCH_ROWS, partition.rows - at)
            part = self._tables[partition.file].slice(start + at, rows)
            try:
                batch = _batch(part, leaves)
                arrays = {leaf: leaf_of(batch, leaf) for leaf in leaves}
            except (pa.ArrowException, UnicodeDecodeError) as e:
                raise read_failed(self._files[partition.file], e) from None
            yield Batch(partition.first_row + at, rows, arrays)

    @cached_property
    def _schema(self) -> pa.Schema:
        return joined([f.shown for f in self._files], [t.schema for t in self._tables])

    @cached_property
    def _tables(self) -> list[pa.Table]:
        return [self._open(file) for file in self._files]

    def _open(self, file: DataFile) -> pa.Table:
        try:
            # Mapped where it is local: only what is touched comes into memory.
            data = (
                pa.memory_map(file.path) if file.is_local else pa.py_buffer(b"".join(file.blocks()))
            )
            first = (
                data.read_at(len(MAGIC), 0) if file.is_local else data[: len(MAGIC)].to_pybytes()
            )
            opened_as = pa.ipc.open_file if first == MAGIC else pa.ipc.open_stream
            table = opened_as(data).read_all()
            names(table.schema)
            return table
        except (pa.ArrowException, UnicodeDecodeError):
            raise DatasetError(
                f"{file.shown}: is not a complete Arrow file, it may be cut off or damaged; write "
                "or fetch it again"
            ) from None
        except OSError as e:
            raise read_failed(file, e) from None


def _batch(table: pa.Table, leaves: Sequence[Leaf]) -> pa.RecordBatch:
    """Return rows as one batch, with the columns of these leaves that the file has."""
    columns = sorted({leaf.column for leaf in leaves} & set(table.schema.names))
    arrays = [table.column(name).combine_chunks() for name in columns]
    if not columns:
        return pa.RecordBatch.from_arrays([pa.nulls(table.num_rows)], [""])
    return pa.RecordBatch.from_arrays(arrays, columns)

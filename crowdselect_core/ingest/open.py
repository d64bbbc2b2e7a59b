"""Which reader opens what a data set's path names."""

from collections.abc import Sequence
from pathlib import Path

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError, shown
from crowdselect_core.ingest.column_layout import ID_NAMES
from crowdselect_core.ingest.files import DataFile
from crowdselect_core.ingest.hub import hub_files, is_hub_id
from crowdselect_core.ingest.joined_tables import JoinedTables, are_ours
from crowdselect_core.ingest.jsonl import JsonLinesReader
from crowdselect_core.ingest.listing import kind_of, list_files
from crowdselect_core.ingest.memory import read_csv
from crowdselect_core.ingest.parquet import ParquetReader
from crowdselect_core.ingest.reader import Reader
from crowdselect_core.ingest.saved_dataset import ArrowReader, is_saved_folder, open_saved
from crowdselect_core.ingest.stored_zoo import artifact_files, is_artifact
from crowdselect_core.urls import is_url


def open_reader(config: DatasetConfig) -> Reader:
    """Open the container behind a data set's path.

    Raises:
        DatasetError: nothing is there, or its format is none that is read.
    """
    path, options = config.path, config.storage_options
    if is_artifact(path):
        return ParquetReader(artifact_files(path))
    if is_on_hub(path):
        files = hub_files(path, config.name, config.split, config.revision)
    elif is_saved_folder(path, options):
        return open_saved(path, config.split, options)
    else:
        files = list_files(path, options, config.split).files
    return _reader(config, files)


def notes_on_files(config: DatasetConfig) -> list[str]:
    """Say which files of a folder or glob are not read, a line each."""
    path, options = config.path, config.storage_options
    if is_artifact(path) or is_on_hub(path) or is_saved_folder(path, options):
        return []
    return list_files(path, options, config.split).notes


def is_on_hub(path: str) -> bool:
    """Tell a hub id; a path that exists goes before one."""
    return not is_url(path) and not Path(path).exists() and is_hub_id(path)


def _reader(config: DatasetConfig, files: Sequence[DataFile]) -> Reader:
    kinds = {kind_of(f.path) for f in files}
    if len(kinds) > 1:
        raise DatasetError(
            f"{config.path}: holds files of several formats ({shown(sorted(kinds))}); name one "
            "kind by a glob such as *.parquet"
        )
    kind = kinds.pop()
    if kind == "parquet":
        if are_ours([f.path for f in files]):
            return JoinedTables(*(ParquetReader([f]) for f in files))
        return ParquetReader(files)
    if kind in ("jsonl", "ndjson", "json"):
        return JsonLinesReader(files)
    if kind in ("csv", "tsv"):
        texts = {*ID_NAMES, "model", "reward_model", *config.columns.values()}
        return read_csv(files, texts, "\t" if kind == "tsv" else ",")
    if kind == "arrow":
        return ArrowReader(files)
    raise DatasetError(
        f"{config.path}: unknown format; expected .parquet, .jsonl (JSON Lines), .json (or an "
        "array of objects), these with .gz or .zst, .csv or .tsv (scores, an instruction, "
        "flat columns of answers), a folder saved by "
        "datasets, or a hub id"
    )

"""Which files of OUT are a run's own: only those are ever replaced.

A file is our own when a manifest of ours names it. While files are written there is no manifest;
then a list beside them names them (`pending_files`), so that a killed run can be repeated.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from crowdselect_core.errors import ConfigError, shown
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.names import TEMPORARY
from crowdselect_core.store.pending_files import Stated, listed, names_in, read_json

PENDING = f"{TEMPORARY}out"  # the names of the files that are being written
DATASET_INFO = "dataset_info.json"  # other tools have entries of their own in it
QUALITY = "quality.json"  # what the quality gates found
_TABLES = {"generation.json": "responses.parquet", "scoring.json": "scores.parquet"}


def check_replaceable(place: StorageBackend, names: Iterable[str], out: str) -> None:
    """Refuse to replace files of OUT that no manifest of ours names.

    Args:
        place: OUT.
        names: what is going to be written.
        out: OUT as the user wrote it.

    Raises:
        ConfigError: a file of such a name lies there and is not ours.
    """
    present = sorted(set(place.sizes("")) & set(names))
    if not present:
        return
    owned = owned_files(place)
    foreign = [n for n in present if n not in owned]
    if DATASET_INFO in foreign and entries_of(place) is not None:
        foreign.remove(DATASET_INFO)  # merged
    if foreign:
        raise ConfigError(
            f"{out}: holds {shown(foreign)}, which no manifest of an earlier run names, so it is "
            "not replaced; name another --out, or move the file away"
        )


def owned_files(place: StorageBackend) -> set[str]:
    """Return the names of the files in OUT that runs have written, by their manifests."""
    owned: set[str] = set()
    told = read_json(place, "manifest.json")
    if is_manifest(told):
        owned |= {"manifest.json", *told["files"]}
    for manifest, table in _TABLES.items():
        told = read_json(place, manifest)
        if isinstance(told, dict) and {"key", "rows", "bytes"} <= told.keys():
            owned |= {manifest, table}
    told = read_json(place, QUALITY)
    if isinstance(told, dict) and {"key", "candidates", "gates"} <= told.keys():
        owned.add(QUALITY)  # of a run that chose nothing
    return owned | {name for name in names_in(place, PENDING) if "/" not in name}


def is_manifest(told: Any) -> bool:
    """Tell the manifest of a selection; another program's has other sections."""
    sections = ("files", "summary", "artifacts")
    return isinstance(told, dict) and all(isinstance(told.get(s), dict) for s in sections)


def writing(
    place: StorageBackend, run: str, files: Stated, mark: str = "manifest.json"
) -> AbstractContextManager[None]:
    """Keep a list of what the block writes to OUT; see `pending_files.listed`."""
    return listed(place, PENDING, owned_files(place), run, mark, files)


def entries_of(place: StorageBackend) -> dict[str, Any] | None:
    """Return the entries of OUT/dataset_info.json, None where it holds something else."""
    told = read_json(place, DATASET_INFO)
    ours = isinstance(told, dict) and all(isinstance(entry, dict) for entry in told.values())
    return told if ours else None

"""Which files of OUT are a run's own: only those are ever replaced.

A file is our own when a manifest of ours names it. While files are written there is no manifest;
then a temporary list beside them names them, so that a killed run can be repeated.

Two runs may write to one OUT at the same time. Each writes its manifest last and looks at its files
after that (`check_alone`). A file that another run replaced later is followed by that run's
manifest, so whichever manifest stays, either its files are there or its run says that they are not.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from crowdselect_core.errors import ConfigError, StorageError, shown
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.names import TEMPORARY

PENDING = f"{TEMPORARY}out"  # the names of the files that are being written
DATASET_INFO = "dataset_info.json"  # other tools have entries of their own in it
QUALITY = "quality.json"  # what the quality gates found
_TABLES = {"generation.json": "responses.parquet", "scoring.json": "scores.parquet"}


class OtherRunError(StorageError):
    """Another run has written to OUT at the same time."""


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
    told = _json(place, "manifest.json")
    if is_manifest(told):
        owned |= {"manifest.json", *told["files"]}
    for manifest, table in _TABLES.items():
        told = _json(place, manifest)
        if isinstance(told, dict) and {"key", "rows", "bytes"} <= told.keys():
            owned |= {manifest, table}
    told = _json(place, QUALITY)
    if isinstance(told, dict) and {"key", "candidates", "gates"} <= told.keys():
        owned.add(QUALITY)  # of a run that chose nothing
    pending = _json(place, PENDING)
    return owned | {n for n in (pending if isinstance(pending, list) else ()) if _is_name(n)}


def is_manifest(told: Any) -> bool:
    """Tell the manifest of a selection; another program's has other sections."""
    sections = ("files", "summary", "artifacts")
    return isinstance(told, dict) and all(isinstance(told.get(s), dict) for s in sections)


@contextmanager
def writing(place: StorageBackend, names: Iterable[str]) -> Iterator[None]:
    """Name the files that are being written, for a run that follows one that was killed."""
    named = json.dumps(sorted(owned_files(place) | set(names))).encode()
    place.replace(PENDING, named)
    try:
        yield
    except OtherRunError:
        place.replace(PENDING, named)  # that run may have removed it
        raise
    place.remove(PENDING)


def check_alone(
    place: StorageBackend,
    mark: str,
    told: Mapping[str, Any],
    files: Mapping[str, Mapping[str, Any]],
) -> None:
    """Check, once the manifest is written, that OUT has the files of this run and its manifest.

    Args:
        place: OUT.
        mark: the manifest.
        told: keys of it that another run's has not, or with other values.
        files: what `size_and_sha256` says of each; without a sha256, the size is all that counts.

    Raises:
        OtherRunError: it has not; equal runs write equal files, and do not disturb each other.
    """
    sizes: dict[str, int] = {}
    for folder in {name.rpartition("/")[0] for name in files}:
        prefix = f"{folder}/" if folder else ""
        sizes |= {f"{prefix}{name}": size for name, size in place.sizes(folder).items()}
    found = _json(place, mark)
    if (
        isinstance(found, dict)
        and {key: found.get(key) for key in told} == dict(told)
        and all(sizes.get(name) == stated["bytes"] for name, stated in files.items())
        and all(
            sha256_of(place, name, stated["bytes"]) == stated["sha256"]
            for name, stated in files.items()
            if "sha256" in stated
        )
    ):
        return
    raise OtherRunError(
        f"{place.root}: another run wrote here at the same time, so the files are not those of "
        "one run; give each run an --out of its own, or run again when the other has ended"
    )


def entries_of(place: StorageBackend) -> dict[str, Any] | None:
    """Return the entries of OUT/dataset_info.json, None where it holds something else."""
    told = _json(place, DATASET_INFO)
    ours = isinstance(told, dict) and all(isinstance(entry, dict) for entry in told.values())
    return told if ours else None


def size_and_sha256(data: bytes | Path) -> dict[str, Any]:
    """Return what a manifest says of a file that is going to be written."""
    if isinstance(data, bytes):
        return {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    with data.open("rb") as file:
        return {"bytes": data.stat().st_size, "sha256": file_digest(file, "sha256").hexdigest()}


def sha256_of(place: StorageBackend, name: str, size: int) -> str:
    """Return the sha256 of a file of some size, empty where it is gone."""
    hashed = sha256()
    try:
        for block in place.read_blocks(name, size):
            hashed.update(block)
    except FileNotFoundError:  # another run writes there
        return ""
    return hashed.hexdigest()


def _json(place: StorageBackend, name: str) -> Any:
    try:
        return json.loads(place.read(name))
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and "/" not in name

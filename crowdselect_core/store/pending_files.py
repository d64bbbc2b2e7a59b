"""A list beside files that are being written: which they are, and by which run.

A run that is killed leaves its list, so the next one knows whose the files are. Two runs may write
to one place at the same time: each puts its list there first, and looks at it last. Where it finds
the list of another, the files may be of both, and it says so. Where it finds none, the other has
ended, and the files are compared with its own by their sha256. So of two runs that mix their files
one says so at least; equal runs write equal files, and do not disturb each other.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from crowdselect_core.errors import StorageError
from crowdselect_core.store.backend.base import StorageBackend

Stated = Mapping[str, Mapping[str, Any]]  # name of a file -> what `size_and_sha256` says of it


class OtherRunError(StorageError):
    """Another run has written to the same place at the same time."""


@contextmanager
def listed(
    place: StorageBackend, pending: str, owned: Iterable[str], run: str, mark: str, files: Stated
) -> Iterator[None]:
    """Keep a list while the block writes files, and see in the end that no other run wrote too.

    Args:
        place: where to.
        pending: the name of the list.
        owned: names of files that earlier runs have written.
        run: what names the run; equal runs have the same. It is `key` in the mark, too.
        mark: the file that the block writes last.
        files: the others.

    Raises:
        OtherRunError: another run wrote them too.
    """
    names = sorted({*owned, *files, mark})
    place.replace(pending, json.dumps({"run": run, "files": names}).encode())
    yield
    found = read_json(place, pending)
    if found is None:
        alone = _are_there(place, run, mark, files)
    else:
        alone = isinstance(found, dict) and found.get("run") == run
    if not alone:
        raise OtherRunError(
            f"{place.root}: another run wrote here at the same time, so the files are not those of "
            "one run; give each run an --out of its own, or run again when the other has ended"
        )
    place.remove(pending)


def names_in(place: StorageBackend, pending: str) -> list[str]:
    """Return the names in a list that is there, or none."""
    found = read_json(place, pending)
    names = found.get("files") if isinstance(found, dict) else None
    return [n for n in names if isinstance(n, str)] if isinstance(names, list) else []


def size_and_sha256(data: bytes | Path) -> dict[str, Any]:
    """Return what a manifest says of a file that is going to be written."""
    if isinstance(data, bytes):
        return {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    with data.open("rb") as file:
        return {"bytes": data.stat().st_size, "sha256": file_digest(file, "sha256").hexdigest()}


def read_json(place: StorageBackend, name: str) -> Any:
    """Return what a JSON file holds, None where there is none that can be read."""
    try:
        return json.loads(place.read(name))
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def _are_there(place: StorageBackend, run: str, mark: str, files: Stated) -> bool:
    found = read_json(place, mark)  # None while an equal run writes: that one looks for itself
    if isinstance(found, dict) and found.get("key") != run:
        return False
    return all(
        sha256_of(place, name, stated["bytes"]) == stated["sha256"]
        for name, stated in files.items()
    )


def sha256_of(place: StorageBackend, name: str, size: int) -> str:
    """Return the sha256 of a file of some size, empty where it is gone."""
    hashed = sha256()
    try:
        for block in place.read_blocks(name, size):
            hashed.update(block)
    except FileNotFoundError:
        return ""
    return hashed.hexdigest()

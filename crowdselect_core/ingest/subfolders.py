"""Data files in the subfolders of a folder: looked for, so that none is passed over in silence."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.files import place_failed

MOST_FOLDERS = 1000  # a larger tree is no folder of data files
_OUT = (  # the files that a run's own results are known by
    {"manifest.json", "selection.parquet"},
    {"generation.json", "responses.parquet"},
    {"scoring.json", "scores.parquet"},
)
_ARTIFACT = re.compile(r"[0-9a-f]{64}")  # the name of a folder in a store


def data_below(
    fs: Any, folders: Sequence[str], is_data: Callable[[str], bool], shown: str
) -> list[str]:
    """Return the data files in folders and below them, in name order.

    Hidden folders, a store, and folders that hold the results of a run, are no data. Web pages
    are not followed: their links may lead anywhere.

    Raises:
        DatasetError: there are more than MOST_FOLDERS subfolders.
        StorageError: one cannot be listed.
    """
    if "http" in _protocols(fs) or "https" in _protocols(fs):
        return []
    found: list[str] = []
    waiting = sorted(folders, reverse=True)
    seen = 0
    while waiting:
        folder = waiting.pop()
        if _base(folder).startswith(("_", ".")) or _ARTIFACT.fullmatch(_base(folder)):
            continue
        if seen == MOST_FOLDERS:
            raise DatasetError(
                f"{shown}: has more than {MOST_FOLDERS:,} subfolders, so not all were looked at "
                "for further data files; pass a glob of the files to read (DIR/*.parquet, or "
                "DIR/**/*.parquet with subfolders)"
            )
        seen += 1
        try:
            listed = fs.ls(folder, detail=True)
        except Exception as e:
            raise place_failed(fs, shown, e) from None
        names = {_base(i["name"]) for i in listed}
        if any(names >= out for out in _OUT):
            continue
        for info in sorted(listed, key=lambda i: str(i["name"])):
            name, base = info["name"], _base(info["name"])
            if info["type"] == "directory":
                waiting.append(name)
            elif is_data(base) and not base.startswith(("_", ".")):
                found.append(name)
    return sorted(found)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _base(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]

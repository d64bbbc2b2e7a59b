"""The data files behind a path: one file, a folder, a glob; local or any fsspec URL.

Links are followed. What begins with `_` or `.` is unfinished or hidden and no data, and so are the
files that describe a data set; every other file is read, or named as left out.
"""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crowdselect_core.errors import DatasetError, shown
from crowdselect_core.ingest.files import DataFile, is_local, opened, place_failed
from crowdselect_core.ingest.splits import files_of_split, splits_of
from crowdselect_core.ingest.subfolders import data_below
from crowdselect_core.urls import expanded, is_url

TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv")
SUFFIXES = (
    ".parquet", ".arrow", *TEXT_SUFFIXES,
    *(f"{text}{packed}" for text in TEXT_SUFFIXES for packed in (".gz", ".zst")),
)  # fmt: skip
# Files that describe a data set or a run, and lie beside the data.
NO_DATA = frozenset(
    ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json",
     "manifest.json", "generation.json", "scoring.json", "croissant.json", "metadata.json",
     "config.json", "gitattributes")
)  # fmt: skip
OURS = ("responses.parquet", "scores.parquet")  # what our own flows leave: read together
HUB_FOLDER = "data"  # where the hub's data sets keep their files
SHOWN = 5


@dataclass(frozen=True)
class Listing:
    """The files that are read, and those beside them that are not."""

    files: list[DataFile]
    left_out: list[str]
    splits: list[str]  # of the files that are read, where their names say so

    @property
    def notes(self) -> list[str]:
        """What a user should know of the choice of files, a line each."""
        notes = []
        if self.left_out:
            some = "file is" if len(self.left_out) == 1 else "files are"
            notes.append(f"{len(self.left_out)} {some} left out: {shown(self.left_out, SHOWN)}")
        if len(self.splits) > 1:
            notes.append(
                f"the files of {len(self.splits)} splits are read ({shown(self.splits)}); name one "
                "under dataset.split to read it alone"
            )
        return notes


def kind_of(path: str) -> str:
    """Return the suffix that says a file's format, in lower case and without compression."""
    name = path.rsplit("/", 1)[-1].lower()
    for packed in (".gz", ".zst"):
        name = name.removesuffix(packed)
    return name.rsplit(".", 1)[-1]


def is_data(name: str) -> bool:
    """Tell a data file by its name."""
    base = name.rsplit("/", 1)[-1].lower()
    return base.endswith(SUFFIXES) and base not in NO_DATA


def list_files(
    path: str, options: Mapping[str, Any], split: str | None = None, *, below: bool = True
) -> Listing:
    """Return the data files behind a path, in name order.

    Args:
        path: a file, a folder or a glob.
        options: of the file system.
        split: the files of it alone.
        below: whether to refuse a folder whose subfolders hold further data.

    Raises:
        DatasetError: nothing is there, nothing that is a data file, no such split, or subfolders
            hold further data.
        StorageError: the place cannot be reached.
    """
    fs, inner = opened(path, options)
    found = _found(fs, path, inner)
    single = inner in found and len(found) == 1
    files, left_out, folders = [], [], []
    for name, info in sorted(found.items()):
        base = name.rstrip("/").rsplit("/", 1)[-1]
        if _is_hidden(name, inner):
            if info.get("type") != "directory" and is_data(base):
                left_out.append(_below(name, inner))
            continue
        file = DataFile(fs, name, _as_given(path, name), _followed(fs, name, info))
        if file.info["type"] == "directory":
            folders.append(name)
        elif single or is_data(base):
            files.append(file)
        else:
            left_out.append(_below(name, inner))
    if below and folders and not is_glob(path):
        found_below = data_below(fs, folders, is_data, path)
        if not files and (only := _hub_folder(found_below, folders, inner)):
            listing = list_files(f"{path.rstrip('/')}/{only}", options, split)
            beside = sorted([*left_out, *(f"{only}/{name}" for name in listing.left_out)])
            return replace(listing, left_out=beside)
        _refuse_below(path, inner, found_below, files)
    if not files:
        raise DatasetError(
            f"{path}: holds no data file (expected {', '.join(SUFFIXES[:6])}, or .gz and .zst of "
            "the texts); name the files' folder"
        )
    by_name = {_below(f.path, inner): f for f in files}
    kept = _together(files_of_split(by_name, split, path, single=single))
    read = {f.path for f in kept}
    left_out += [name for name, f in by_name.items() if f.path not in read]
    return Listing(kept, sorted(left_out), splits_of(n for n, f in by_name.items() if f in kept))


def _found(fs: Any, path: str, inner: str) -> dict[str, Any]:
    try:
        if is_glob(path):
            return dict(fs.glob(inner, detail=True))
        if fs.isdir(inner):
            return {i["name"]: i for i in fs.ls(inner, detail=True)}
        return {inner: fs.info(inner)}
    except FileNotFoundError as e:
        if isinstance(e.__cause__, ConnectionError):  # what http makes of a server that is down
            raise place_failed(fs, path, e.__cause__) from None
        raise DatasetError(
            f"{path}: no such file, folder or glob; pass a path, a URL (s3://bucket/key) or a hub "
            "id such as Magpie-Align/Magpie-100K-Generator-Zoo"
        ) from None
    except Exception as e:
        raise place_failed(fs, path, e) from None


def _followed(fs: Any, name: str, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a link leads to: fsspec lists a local link as neither file nor folder."""
    if not is_local(fs) or info.get("type") in ("file", "directory"):
        return info
    try:
        told = Path(name).stat()
    except OSError as e:
        if not is_data(name):
            return info
        raise DatasetError(
            f"{name}: is a link that leads to no file ({e.strerror}); fetch the file again, or "
            "remove the link"
        ) from None
    kind = "directory" if stat.S_ISDIR(told.st_mode) else "file"
    return {**info, "type": kind if not stat.S_ISFIFO(told.st_mode) else "other",
            "size": told.st_size}  # fmt: skip


def _is_hidden(name: str, inner: str) -> bool:
    """Tell what lies below a `_` or `.` folder, or is such a file, unless the path names it."""
    named = set(inner.split("/"))
    own = [part for part in name.rstrip("/").split("/") if part not in named]
    return any(part.startswith(("_", ".")) for part in own)


def _below(name: str, inner: str) -> str:
    """Return a file's name as seen from the folder or the fixed part of the glob."""
    top = inner.rstrip("/")
    while top and (any(c in top for c in "*?[") or not name.startswith(f"{top}/")):
        top = top.rpartition("/")[0]
    return name.removeprefix(f"{top}/") if top else name


def _hub_folder(below: Sequence[str], folders: Sequence[str], inner: str) -> str | None:
    """Return `data` where it alone holds data files, as the hub lays its data sets out."""
    top = inner.rstrip("/")
    own = next((f.rstrip("/") for f in folders if f.rstrip("/") == f"{top}/{HUB_FOLDER}"), None)
    alone = below and own is not None and all(name.startswith(f"{own}/") for name in below)
    return HUB_FOLDER if alone else None


def _refuse_below(path: str, inner: str, below: Sequence[str], files: Sequence[DataFile]) -> None:
    """Refuse a folder whose subfolders hold data that a folder's name does not stand for."""
    if not below:
        return
    kind = kind_of(below[0]) if not files else kind_of(files[0].path)
    top = path.rstrip("/")
    also = f", or '{top}/*.{kind}' for the others alone" if files else ""
    raise DatasetError(
        f"{path}: its subfolders hold {len(below)} further data file(s) "
        f"({shown([_below(n, inner) for n in below], SHOWN)}); pass '{top}/**/*.{kind}' to "
        f"read them too{also}"
    )


def _together(files: Sequence[DataFile]) -> list[DataFile]:
    """Of a folder that our own flows wrote, return the answers with their scores alone."""
    ours = [f for f in files if f.path.rsplit("/", 1)[-1] in OURS]
    return ours if len(ours) == len(OURS) else list(files)


def _as_given(path: str, name: str) -> str:
    return f"{path.split('://', 1)[0]}://{name}" if is_url(path) else name


def is_glob(path: str) -> bool:
    """Tell a glob from a path; a local path that exists is none, whatever characters it has."""
    return any(c in path for c in "*?[") and (is_url(path) or not Path(expanded(path)).exists())

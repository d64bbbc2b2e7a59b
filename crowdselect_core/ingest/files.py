"""The files behind a path: one file, a folder, a glob; local or any fsspec URL."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from crowdselect_core.errors import DatasetError, StorageError, first_line
from crowdselect_core.store.place import checked_url, is_url
from crowdselect_core.store.remote import explain, file_system

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".arrow")
_BLOCK = 1 << 22


@dataclass(frozen=True)
class DataFile:
    """One file of a data set."""

    fs: Any
    path: str
    shown: str  # the path as the user would write it
    info: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.info["size"] or 0)

    @property
    def is_local(self) -> bool:
        """Whether the file is on a local disk."""
        return "file" in self.fs.protocol

    def open(self) -> Any:
        """Open the file for reading bytes.

        Raises:
            DatasetError: it cannot be opened.
        """
        try:
            return self.fs.open(self.path, "rb")
        except OSError as e:
            raise read_failed(self, e) from None

    @cached_property
    def digest(self) -> str:
        """sha256 of a local file's bytes; a remote one's ETag, where its server gives one."""
        if not self.is_local:
            tag = next((self.info[k] for k in ("ETag", "etag", "md5Hash") if k in self.info), None)
            return f"{tag or self.fs.ukey(self.path)}:{self.size}"
        hashed = sha256()
        with self.open() as file:
            while block := file.read(_BLOCK):
                hashed.update(block)
        return hashed.hexdigest()


def read_failed(file: DataFile, error: Exception) -> DatasetError | StorageError:
    """Turn a failed read into one line; only a local error's own words are repeated."""
    if not file.is_local:
        return explain(error, "read", file.shown)
    cause = getattr(error, "strerror", None) or first_line(error)
    return DatasetError(f"{file.shown}: cannot be read: {cause}")


def list_files(path: str, options: Mapping[str, Any]) -> list[DataFile]:
    """Return the data files behind a path, in name order.

    Raises:
        DatasetError: nothing is there, or nothing that is a data file.
        StorageError: the place cannot be reached.
    """
    fs, inner = file_system(checked_url(path) if is_url(path) else path, dict(options))
    try:
        if is_glob(path):
            found = fs.glob(inner, detail=True)
        elif fs.isdir(inner):
            found = {i["name"]: i for i in fs.ls(inner, detail=True)}
        else:
            found = {inner: fs.info(inner)}
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no such file, folder or glob; pass a path, a URL (s3://bucket/key) or a hub "
            "id such as Magpie-Align/Magpie-100K-Generator-Zoo"
        ) from None
    except Exception as e:
        if "file" in fs.protocol:
            raise DatasetError(f"{path}: cannot be read: {e}") from None
        raise explain(e, "read", path) from None
    files = [
        DataFile(fs, name, _as_given(path, name), info)
        for name, info in sorted(found.items())
        if info["type"] == "file" and not name.rsplit("/", 1)[-1].startswith((".", "_"))
    ]
    if inner not in found:  # a folder or glob: other files may lie beside the data
        files = [f for f in files if f.path.endswith(SUFFIXES)]
    if not files:
        raise DatasetError(
            f"{path}: holds no data file (expected {', '.join(SUFFIXES)}); name the files' folder"
        )
    return files


def _as_given(path: str, name: str) -> str:
    return f"{path.split('://', 1)[0]}://{name}" if is_url(path) else name


def is_glob(path: str) -> bool:
    """Tell a glob from a path; a local path that exists is none, whatever characters it has."""
    return any(c in path for c in "*?[") and (is_url(path) or not Path(path).exists())


def fingerprint(files: list[DataFile]) -> str:
    """Hash the files' contents in order; their names and places do not count."""
    return sha256("\n".join(f.digest for f in files).encode()).hexdigest()

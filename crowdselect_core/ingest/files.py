"""One file of a data set: its bytes, its hash, and what is said when it cannot be read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from crowdselect_core.errors import DatasetError, StorageError, first_line
from crowdselect_core.store.backend.errors import explain
from crowdselect_core.store.backend.file_system import file_system
from crowdselect_core.urls import checked_url, is_url, shown_path
from crowdselect_core.util.file_hash import file_sha256

_BLOCK = 1 << 22
# What file systems call a hash of a file's content: S3, http, Google, Azure, Hugging Face, GitHub.
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "blob_id", "sha")


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
        return is_local(self.fs)

    def open(self) -> Any:
        """Open the file for reading bytes.

        Raises:
            DatasetError: it cannot be opened.
            StorageError: its server cannot be reached or refuses.
        """
        try:
            return self.fs.open(self.path, "rb")
        except Exception as e:
            raise read_failed(self, e) from None

    def blocks(self) -> Iterator[bytes]:
        """Read the file block by block; raises as `open` does."""
        with self.open() as file:
            while True:
                try:
                    block = file.read(_BLOCK)
                except Exception as e:
                    raise read_failed(self, e) from None
                if not block:
                    return
                yield block

    @cached_property
    def digest(self) -> str:
        """sha256 of the file's bytes; a remote one's content tag, where its server gives one.

        A local file is read once a process for it, see `file_sha256`.
        """
        if self.is_local:
            try:
                return file_sha256(self.path)
            except OSError as e:
                raise read_failed(self, e) from None
        tag = next((self.info[k] for k in _TAGS if self.info.get(k)), None)
        if tag:
            return f"{tag}:{self.size}"
        hashed = sha256()
        for block in self.blocks():
            hashed.update(block)
        return hashed.hexdigest()


class FileReader:
    """What readers of one or more files have in common, see `reader.Reader`."""

    def __init__(self, files: Sequence[DataFile]) -> None:
        self._files = list(files)

    def fingerprint(self) -> str:
        return fingerprint(self._files)

    def digests(self) -> list[str]:
        return [file.digest for file in self._files]

    def source(self, file: int) -> str:
        return self._files[file].shown


def is_local(fs: Any) -> bool:
    """Tell the local file system from others; of filecache:: only the copies are local."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def opened(path: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system of a path or URL without credentials, and the path in it."""
    return file_system(checked_url(path) if is_url(path) else path, dict(options))


def read_failed(file: DataFile, error: Exception) -> DatasetError | StorageError:
    """Turn a failed read into one line; only a local error's own words are repeated."""
    return place_failed(file.fs, file.shown, error)


def place_failed(fs: Any, where: str, error: Exception) -> DatasetError | StorageError:
    """Turn a failed call of a file system into one line."""
    if not is_local(fs):
        return explain(error, "read", shown_path(where))
    cause = getattr(error, "strerror", None) or first_line(error)
    return DatasetError(f"{where}: cannot be read: {cause}")


def fingerprint(files: list[DataFile]) -> str:
    """Hash the files' contents in order; their names and places do not count."""
    return sha256("\n".join(f.digest for f in files).encode()).hexdigest()

"""A place for bytes: a local folder or any fsspec URL, with an exclusive write.

Names inside a place are made of our own stage names, keys and shard names, never of text that
came with the data, so no name can lead out of the root.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crowdselect_core.errors import ConfigError

_CHAIN = re.compile(r"::(?=[\w+.-]+::|[\w+.-]+://)")  # between the parts of a chained URL
# A query's parameter whose name says that it is secret; a glob's ? starts none.
_SECRET_QUERY = re.compile(
    r"([?&][^=&]*(?:sig|key|token|credential|secret|password)[^=&]*=)[^&]*", re.IGNORECASE
)
_SECRET_TEXT = re.compile(
    r"(account|access|secret|shared)_?-?(key|signature)\s*=|password\s*=|pwd\s*=|PRIVATE KEY"
    r"|^\s*(bearer|basic)\s|[^\s/:@]+:[^\s@]+@",
    re.IGNORECASE,
)
_AZURE = ("abfs", "abfss", "adl", "az", "wasb", "wasbs")  # scheme://container@account/path
_WITH_PORT = ("http", "https", "ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs")


TEMPORARY = ".tmp-"  # files of this prefix are unfinished writes and no part of the store
BUILDING = f"{TEMPORARY}building-"  # what a build leaves in its folder while it runs
PROBE = ".probe-"  # what is written to find out whether a bucket can be written


@dataclass(frozen=True)
class Found:
    """A file of a place: its name under the root, its bytes, and when it was written."""

    name: str
    size: int
    modified: float  # seconds since 1970, by the clock of the disk or the server


@dataclass(frozen=True)
class Upload:
    """An upload in pieces that was begun and neither finished nor given up."""

    name: str
    id: str
    begun: float  # seconds since 1970


class Place(Protocol):
    """Named bytes under one root. Every method raises StorageError for what a user can mend."""

    root: str

    def read(self, name: str) -> bytes:
        """Return the bytes of `name`; FileNotFoundError when it is not there."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write `name` whole, unless it is there; return whether this call wrote it."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write `name` whole, in the place of what may be there."""
        ...

    def upload(self, name: str, file: Path) -> None:
        """Write a local file as `name`, piece by piece, in the place of what may be there."""
        ...

    def replace_all(self, files: Mapping[str, bytes], gone: Iterable[str] = ()) -> None:
        """Write files in the place of what may be there; locally none where they do not fit.

        Args:
            files: the last one marks that the others are whole: it is taken away before the first
                one is written, and written last.
            gone: files that are removed while the old mark names them.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove `name`; nothing happens when it is not there."""
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of every file directly in `folder`; empty when it is absent."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly in `folder`, newest first if that is known."""
        ...

    def walk(self, folder: str = "") -> list[Found]:
        """Return every file below `folder`, passing ones too; a name is its path under the root."""
        ...

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield many small files with their names, in order; None for one that is not there."""
        ...

    def blocks(self, name: str, size: int) -> Iterator[bytes]:
        """Yield a file of `size` bytes piece by piece, and what it has beyond that."""
        ...

    def prune(self, folder: str) -> None:
        """Remove a folder if nothing is in it; a place without folders has nothing to do."""
        ...

    def uploads(self) -> list[Upload]:
        """Return the unfinished uploads of names that a run writes; a local folder has none."""
        ...

    def abort(self, upload: Upload) -> None:
        """Give an unfinished upload up; nothing happens when it is no longer there."""
        ...

    def check_writable(self) -> None:
        """Raise StorageError at once when nothing could be written here."""
        ...


def is_url(path: str) -> bool:
    """Tell an fsspec URL (s3://bucket/prefix) from a local path."""
    return "://" in path


def checked_url(url: str) -> str:
    """Return `url` unless it carries credentials, in any part of a chain (simplecache::s3://...).

    Raises:
        ConfigError: user:password@ in the URL, or a signature or token in its query; the message
            repeats neither.
    """
    for part in _CHAIN.split(url):
        scheme, _, rest = part.partition("://")
        if _userinfo(scheme, rest) or _SECRET_QUERY.search(rest):
            raise ConfigError(
                f"a {scheme}:// URL carries credentials: take them out of the URL and set them in "
                "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE)"
            )
    return url


def shown_path(path: str) -> str:
    """Return `path` as a message may repeat it: *** stands for the credentials of a URL."""
    return "::".join(_masked(part) for part in _CHAIN.split(path))


def is_secret(text: str) -> bool:
    """Tell a value that holds credentials: user:password@, a connection string, a header."""
    try:
        checked_url(text)
    except ConfigError:
        return True
    return _SECRET_TEXT.search(text) is not None


def _userinfo(scheme: str, rest: str) -> str:
    """Return what stands before the @ of a URL's host, '' where that is no credential."""
    first = rest.split("/", 1)[0]
    port = scheme.lower() in _WITH_PORT and re.fullmatch(r"[^@]*:\d*", first)
    # A password may hold a slash, so that its @ is found behind what looks like the host.
    user, found, _ = (rest if ":" in first and not port else first).rpartition("@")
    container = scheme.lower() in _AZURE and ":" not in user
    return user if found and not container else ""


def _masked(part: str) -> str:
    scheme, found, rest = part.partition("://")
    if user := _userinfo(scheme, rest) if found else "":
        rest = f"***{rest.removeprefix(user)}"
    return scheme + found + _SECRET_QUERY.sub(r"\1***", rest)


def open_place(path: str) -> Place:
    """Open a local folder or a URL as a place; nothing is read, written or connected yet."""
    if not is_url(path):
        from crowdselect_core.store.local import LocalPlace

        return LocalPlace(path)
    from crowdselect_core.store.remote import RemotePlace

    return RemotePlace(checked_url(path))

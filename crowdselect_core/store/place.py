"""A place for bytes: a local folder or any fsspec URL, with an exclusive write.

Names inside a place are made of our own stage names, keys and shard names, never of text that
came with the data, so no name can lead out of the root.
"""

import re
from collections.abc import Mapping
from typing import Protocol

from crowdselect_core.errors import ConfigError

_SECRET_QUERY = ("sig", "key", "token", "credential", "secret", "password")  # in a query's names


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

    def replace_all(self, files: Mapping[str, bytes]) -> None:
        """Write several files, in the place of what may be there; locally all of them or none."""
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

    def check_writable(self) -> None:
        """Raise StorageError at once when nothing could be written here."""
        ...


def is_url(path: str) -> bool:
    """Tell an fsspec URL (s3://bucket/prefix) from a local path."""
    return "://" in path


def checked_url(url: str) -> str:
    """Return `url` unless it carries credentials.

    Raises:
        ConfigError: user:password@ in the URL, or a signature or token in its query; the message
            repeats neither.
    """
    scheme, _, rest = url.partition("://")
    names = re.findall(r"[?&]([^=&]+)=", rest)  # of a query; a glob's ? is none
    signed = any(word in name.lower() for name in names for word in _SECRET_QUERY)
    if "@" in rest.split("/", 1)[0] or signed:
        raise ConfigError(
            f"a {scheme}:// URL carries credentials: take them out of the URL and set them in the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE)"
        )
    return url


def open_place(path: str) -> Place:
    """Open a local folder or a URL as a place; nothing is read, written or connected yet."""
    if not is_url(path):
        from crowdselect_core.store.local import LocalPlace

        return LocalPlace(path)
    from crowdselect_core.store.remote import RemotePlace

    return RemotePlace(checked_url(path))

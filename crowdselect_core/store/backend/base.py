"""A place for bytes: a local folder or any fsspec URL, with an exclusive write.

Names inside a place are made of our own stage names, keys and shard names, never of text that
came with the data, so no name can lead out of the root.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class FileInfo:
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


class StorageBackend(Protocol):
    """Named bytes under one root. Every method raises StorageError for what a user can mend."""

    root: str

    def read(self, name: str) -> bytes:
        """Return the bytes of `name`; FileNotFoundError when it is not there."""
        ...

    def create_exclusive(self, name: str, data: bytes) -> bool:
        """Write `name` whole, unless it is there; return whether this call wrote it."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write `name` whole, in the place of what may be there."""
        ...

    def upload(self, name: str, file: Path) -> None:
        """Write a local file as `name`, piece by piece, in the place of what may be there."""
        ...

    def replace_all(self, files: Mapping[str, bytes | Path], gone: Iterable[str] = ()) -> None:
        """Write files in the place of what may be there; locally none where they do not fit.

        Args:
            files: the content of each, or a local file that has it; the last one marks that the
                others are whole: it is taken away before the first
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

    def walk(self, folder: str = "") -> list[FileInfo]:
        """Return every file below `folder`, temporary ones too, by its path under the root."""
        ...

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield many small files with their names, in order; None for one that is not there."""
        ...

    def read_blocks(self, name: str, size: int) -> Iterator[bytes]:
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

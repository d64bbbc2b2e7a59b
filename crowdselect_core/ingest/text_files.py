"""Text files as lines of UTF-8: unpacked, and a JSON array unrolled to one element a line.

What cannot be read where it lies (gzip, Zstandard, a JSON array) is written once in a process to a
local temporary file, piece by piece, so that memory stays bounded and a part can be read by itself.
"""

import gzip
import os
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import pyarrow as pa

from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.encodings import refuse_other_encodings
from crowdselect_core.ingest.files import DataFile, read_failed
from crowdselect_core.ingest.json_array import unroll

_BLOCK = 1 << 20
_HEAD = 4096


@dataclass(frozen=True)
class TextFile:
    """A file of a data set that can be read from any byte on."""

    file: DataFile
    copy: Path | None = None  # where it lies readable; None: the file itself
    element_lines: "array[int] | None" = None  # of a JSON array: the line where each element begins

    @property
    def shown(self) -> str:
        """The file's name, to show."""
        return self.file.shown

    def open(self) -> Any:
        """Open the lines for reading bytes; raises as `DataFile.open` does."""
        return self.copy.open("rb") if self.copy else self.file.open()

    def line(self, place: int) -> int:
        """Return the line of the file as it was given, from 1, of a line of its readable form."""
        if self.element_lines is None:
            return place
        return self.element_lines[min(place, len(self.element_lines)) - 1]


_KNOWN: dict[tuple[str, str], TextFile] = {}
_LOCK = Lock()
_FOLDER: list[tempfile.TemporaryDirectory[str]] = []  # made when it is first needed


def text_file(file: DataFile, *, arrays: bool = True) -> TextFile:
    """Return a file in a form that can be read from any byte on.

    Args:
        file: of JSON or CSV, packed or not.
        arrays: whether a file that begins with `[` is one JSON array.

    Raises:
        DatasetError: the file is damaged, or in another encoding than UTF-8.
    """
    with _LOCK:
        key = (file.shown, file.digest)
        if key not in _KNOWN:
            _KNOWN[key] = _prepared(file, arrays=arrays)
        return _KNOWN[key]


def _prepared(file: DataFile, *, arrays: bool) -> TextFile:
    copy = None
    if is_packed(file.path):
        copy = _new_file()
        with copy.open("wb") as out, _unpacked(file) as handle:
            for block in _blocks(file, handle):
                out.write(block)
    text = TextFile(file, copy)
    with text.open() as handle:
        head = handle.read(_HEAD)
    refuse_other_encodings(file.shown, head)
    if not arrays or not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        return text
    unrolled = _new_file()
    with text.open() as handle, unrolled.open("wb") as out:
        lines = unroll(file.shown, _blocks(file, handle), out)
    if copy:
        copy.unlink()
    return TextFile(file, unrolled, lines)


def is_packed(path: str) -> bool:
    """Tell a packed file by its name."""
    return path.lower().endswith((".gz", ".zst"))


@contextmanager
def _unpacked(file: DataFile) -> Iterator[BinaryIO]:
    with file.open() as raw:
        if file.path.lower().endswith(".gz"):
            with gzip.open(raw, "rb") as handle:
                yield handle
        else:
            with pa.CompressedInputStream(raw, "zstd") as handle:
                yield handle


def _blocks(file: DataFile, handle: Any) -> Iterator[bytes]:
    while True:
        try:
            block = handle.read(_BLOCK)
        except (EOFError, gzip.BadGzipFile, pa.ArrowException, OSError, ValueError) as e:
            if is_packed(file.path) and not isinstance(e, FileNotFoundError | PermissionError):
                raise DatasetError(
                    f"{file.shown}: is no whole {_packing(file.path)} file, it ends too early or "
                    "is damaged; write or fetch it again"
                ) from None
            raise read_failed(file, e) from None
        if not block:
            return
        yield block


def _packing(path: str) -> str:
    return "gzip" if path.lower().endswith(".gz") else "Zstandard"


def _new_file() -> Path:
    if not _FOLDER:
        _FOLDER.append(tempfile.TemporaryDirectory(prefix="crowdselect-"))
    number, name = tempfile.mkstemp(dir=_FOLDER[0].name)
    os.close(number)
    return Path(name)

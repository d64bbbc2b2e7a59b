"""The sha256 of a file on a local disk, read once a process for as long as the file is the same."""

import hashlib
import time
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from crowdselect_core.util.once import Once

# Seconds that a file's clock may stand still (one tick of the kernel, with room): a file that was
# written so recently could be written again and look the same.
RECENT = 0.05


class _Stamp(NamedTuple):
    """What changes when a file is written, or another one takes its name."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    device: int


_known: dict[_Stamp, Once[str]] = {}
_lock = Lock()


def file_sha256(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, in hex; links are followed.

    A file is read again only when its size, its time of change or its inode is another. Of several
    threads that ask for one file, one reads it.

    Raises:
        OSError: it cannot be read.
    """
    path = Path(path)
    begun = time.time_ns()
    stamp = _stamp(path)
    with _lock:
        once = _known.setdefault(stamp, Once(lambda: _hashed(path)))
    digest = once()
    settled = abs(begun - stamp.mtime_ns) > RECENT * 1e9
    if not settled or _stamp(path) != stamp:  # it may hold something else by now
        with _lock:
            _known.pop(stamp, None)
    return digest


def _stamp(path: Path) -> _Stamp:
    seen = path.stat()
    where = str(path.resolve())
    return _Stamp(where, seen.st_size, seen.st_mtime_ns, seen.st_ino, seen.st_dev)


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""A local folder as a place: temporary file, fsync, link or rename, then fsync of the folder.

So a name that a call has returned for outlives a power loss, and what is removed afterwards never
goes before it.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from crowdselect_core.errors import StorageError
from crowdselect_core.store.backend.base import FileInfo, Upload
from crowdselect_core.store.names import TEMPORARY

BLOCK = 1 << 20  # bytes of a large file that are read at a time
READERS = 8  # small files that are read at the same time

_REMEDY = {
    errno.ENOENT: "cannot create the folder: name another place",
    errno.ENOSPC: "the disk is full: free some space or name another place, then run again; "
    "committed results stay",
    errno.EDQUOT: "the disk quota is used up: free some space or name another place, run again",
    errno.EFBIG: "the file is larger than this system allows: raise the limit or name another "
    "place, then run again",
    errno.EROFS: "the file system is read-only: name another place",
    errno.EACCES: "permission denied: name a place that you may write to",
    errno.EPERM: "not permitted: name a place that you may write to",
    errno.ENOTDIR: "a part of the path is a file, expected a folder: name another place",
    errno.EISDIR: "a folder exists where a file is expected: name another place",
    errno.EEXIST: "a file exists where a folder is expected: name another place",
    errno.ENAMETOOLONG: "the name is longer than this system allows: name another place",
    errno.EIO: "the disk reported an error: check it, then run again",
}


class LocalBackend:
    """Named bytes under one local folder."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._root = Path(root)

    def read(self, name: str) -> bytes:
        with self._explained("read", name):
            return (self._root / name).read_bytes()

    def create_exclusive(self, name: str, data: bytes) -> bool:
        target = self._root / name
        with self._explained("write", name), self._temporary(target, data) as temporary:
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            except OSError as e:
                # Some file systems have no hard links. A second writer then writes the same bytes.
                if e.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK):
                    raise
                if target.exists():
                    return False
                temporary.replace(target)
            finally:
                # Another's file too: its name may not be on the disk yet, and we build on it.
                _sync(target.parent)
            return True

    def replace(self, name: str, data: bytes) -> None:
        target = self._root / name
        with self._explained("write", name), self._temporary(target, data) as temporary:
            temporary.replace(target)
            _sync(target.parent)

    def upload(self, name: str, file: Path) -> None:
        target = self._root / name
        temporary = target.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
        with self._explained("write", name):
            _make(target.parent)
            try:
                shutil.copyfile(file, temporary)
                with temporary.open("rb") as copied:
                    os.fsync(copied.fileno())
                temporary.replace(target)
                _sync(target.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def replace_all(self, files: Mapping[str, bytes | Path], gone: Iterable[str] = ()) -> None:
        for name in files:
            with self._explained("write", name):
                if (self._root / name).is_dir():
                    raise IsADirectoryError(errno.EISDIR, "a folder", name)
        with self._explained("write", ""), ExitStack() as stack:
            # All of them are on the disk before the old mark goes and the first takes its name.
            written = [
                (stack.enter_context(self._temporary(self._root / name, data)), self._root / name)
                for name, data in files.items()
            ]
            mark = written[-1][1]
            for target in (*(self._root / name for name in gone), mark):
                target.unlink(missing_ok=True)
            _sync(mark.parent)
            for temporary, target in written:
                if target == mark:
                    _sync(mark.parent)  # the mark says that the others are there
                temporary.replace(target)
            _sync(mark.parent)

    def remove(self, name: str) -> None:
        with self._explained("remove", name), suppress(FileNotFoundError):
            (self._root / name).unlink()

    def sizes(self, folder: str) -> dict[str, int]:
        with self._explained("list", folder):
            return {
                entry.name: told.st_size
                for entry, told in self._entries(folder)
                if entry.is_file() and not entry.name.startswith(TEMPORARY)
            }

    def folders(self, folder: str) -> list[str]:
        with self._explained("list", folder):
            found = [
                (-told.st_mtime_ns, entry.name)
                for entry, told in self._entries(folder)
                if entry.is_dir()
            ]
            return [name for _, name in sorted(found)]

    def walk(self, folder: str = "") -> list[FileInfo]:
        found: list[FileInfo] = []
        seen: set[tuple[int, int]] = set()  # a link may lead back to a folder above it
        waiting = [folder]
        while waiting:
            below = waiting.pop()
            with self._explained("list", below):
                for entry, told in self._entries(below):
                    name = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_file():
                        found.append(FileInfo(name, told.st_size, told.st_mtime))
                    elif entry.is_dir() and (told.st_dev, told.st_ino) not in seen:
                        seen.add((told.st_dev, told.st_ino))
                        waiting.append(name)
        return sorted(found, key=lambda f: f.name)

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        def read(name: str) -> tuple[str, bytes | None]:
            try:
                return name, self.read(name)
            except FileNotFoundError:
                return name, None

        with ThreadPoolExecutor(READERS, thread_name_prefix="read") as pool:
            yield from pool.map(read, names)

    def read_blocks(self, name: str, size: int) -> Iterator[bytes]:
        with self._explained("read", name), (self._root / name).open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                yield block

    def prune(self, folder: str) -> None:
        with suppress(OSError):  # not empty, or not there: both are fine
            (self._root / folder).rmdir()

    def uploads(self) -> list[Upload]:
        return []

    def abort(self, upload: Upload) -> None:
        """Nothing: there are no uploads here."""

    def check_writable(self) -> None:
        probe = self._root / f"{TEMPORARY}{uuid.uuid4().hex}"
        with self._explained("write", ""), self._temporary(probe, b"probe"):
            pass

    def _entries(self, folder: str) -> list[tuple[os.DirEntry[str], os.stat_result]]:
        try:
            with os.scandir(self._root / folder) as entries:
                listed = list(entries)
        except FileNotFoundError:
            return []
        found = []
        for entry in listed:
            with suppress(FileNotFoundError):  # gone since it was listed, or a link to nothing
                found.append((entry, entry.stat()))
        return found

    @contextmanager
    def _temporary(self, target: Path, data: bytes | Path) -> Iterator[Path]:
        """Write data beside its target under a temporary name, gone again when the block ends."""
        _make(target.parent)
        temporary = target.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            with _created(temporary) as file:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, file, BLOCK)
                else:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()

    @contextmanager
    def _explained(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            if isinstance(e, FileNotFoundError) and verb != "write":
                raise
            remedy = _REMEDY.get(e.errno or 0)
            if remedy is None:
                raise
            where = str(self._root / name) if name else str(self._root)
            raise StorageError(f"cannot {verb} {where}: {remedy}") from e


def _created(path: Path) -> BinaryIO:
    """Open a new file; its folder is made again if somebody has pruned it while it was empty."""
    try:
        return path.open("xb")
    except FileNotFoundError:
        _make(path.parent)
        return path.open("xb")


def _make(folder: Path) -> None:
    """Make a folder and those above it, and put the names of the new ones on the disk."""
    new = []
    while not folder.is_dir() and folder != folder.parent:
        new.append(folder)
        folder = folder.parent
    for one in reversed(new):
        one.mkdir(parents=True, exist_ok=True)  # one above may have been pruned meanwhile
        _sync(one.parent)


def _sync(folder: Path) -> None:
    """Put the names in a folder on the disk, where its file system can."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, PermissionError):  # gone with all names; or it may only be written
        return
    try:
        os.fsync(number)
    except OSError as e:
        # Some network and user-space file systems refuse this for a folder; they keep names
        # their own way.
        if e.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(number)

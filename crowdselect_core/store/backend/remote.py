"""Any fsspec URL as a place: s3:// first, with a conditional PUT where the server has it.

A server that has answered this process before is given PATIENCE seconds to come back, so that a
restart or a busy minute ends no run. One that never answered is told at once: its address is wrong.
Every call may be made twice. Where the answer to a write got lost, the second try finds the file
there; whoever creates one compares what stands there with its own.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from crowdselect_core.errors import TransientStorageError
from crowdselect_core.store.backend import s3
from crowdselect_core.store.backend.base import FileInfo, Upload
from crowdselect_core.store.backend.errors import CONFLICTS, error_code, explain, is_not_implemented
from crowdselect_core.store.backend.file_system import file_system
from crowdselect_core.store.names import PROBE, is_written
from crowdselect_core.util.retry import backoff
from crowdselect_core.util.service_endpoints import s3_endpoint

log = logging.getLogger("crowdselect.store")

T = TypeVar("T")

PATIENCE = 60.0  # seconds that a server which answered before may fail
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 2.0  # seconds between two tries
_QUIET = 3  # tries before a line in the log
_met: set[str] = set()  # servers that answered this process: scheme, bucket or host, endpoint
_unconditional: set[str] = set()  # those that have no exclusive write

BLOCK = 16 << 20  # bytes of a large file that are read at a time
READERS = 16  # small files that are read at the same time
LISTERS = 8  # folders that are listed at the same time
_EXISTS = {"PreconditionFailed", "412"}


def modified(entry: Mapping[str, Any]) -> float:
    """Return when a listed file was written, in seconds since 1970; now, where nobody says.

    So a file of an unknown age is never an old one.
    """
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        told = entry.get(name)
        if isinstance(told, datetime):
            return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
        if isinstance(told, int | float) and not isinstance(told, bool):
            return float(told)
    return time.time()


class RemoteBackend:
    """Named bytes under one URL."""

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")
        self._fs, path = file_system(self.root)
        self._path = path.rstrip("/")
        # The same bucket may be on another server later: a process can change its environment.
        self._server = f"{'/'.join(self.root.split('/')[:3])} {s3_endpoint()}"

    def read(self, name: str) -> bytes:
        return self._patiently("read", name, lambda: bytes(self._fs.cat_file(self._at(name))))

    def create_exclusive(self, name: str, data: bytes) -> bool:
        try:
            return self._patiently("write", name, lambda: self._create(name, data))
        except TransientStorageError as e:
            # Another's write or removal does not end: what is there by now counts.
            if error_code(e) in CONFLICTS and self._found(name) is not None:
                return False
            raise

    def _create(self, name: str, data: bytes) -> bool:
        if self._server in _unconditional:
            return self._create_unless_there(name, data)
        try:
            self._fs.pipe_file(self._at(name), data, mode="create")
        except FileExistsError:
            return False
        except Exception as e:
            if error_code(e) in _EXISTS:
                return False
            if not is_not_implemented(e):
                raise
            _unconditional.add(self._server)
            return self._create_unless_there(name, data)
        return True

    def _create_unless_there(self, name: str, data: bytes) -> bool:
        """Look first, then write: of two at the same moment, the second writes the same bytes."""
        try:
            self._fs.info(self._at(name))
        except FileNotFoundError:
            self._fs.pipe_file(self._at(name), data)
            return True
        return False

    def replace(self, name: str, data: bytes) -> None:
        self._patiently("write", name, lambda: self._fs.pipe_file(self._at(name), data))

    def upload(self, name: str, file: Path) -> None:
        self._patiently("write", name, lambda: self._fs.put_file(str(file), self._at(name)))

    def replace_all(self, files: Mapping[str, bytes | Path], gone: Iterable[str] = ()) -> None:
        for name in (*gone, list(files)[-1]):
            self.remove(name)
        for name, data in files.items():
            if isinstance(data, Path):
                self.upload(name, data)
            else:
                self.replace(name, data)

    def remove(self, name: str) -> None:
        try:
            self._patiently("remove", name, lambda: self._fs.rm_file(self._at(name)))
        except FileNotFoundError:
            return

    def sizes(self, folder: str) -> dict[str, int]:
        return {
            entry["name"].rsplit("/", 1)[-1]: int(entry["size"] or 0)
            for entry in self._list(folder)
            if entry["type"] == "file"
        }

    def folders(self, folder: str) -> list[str]:
        found = [e["name"].rstrip("/") for e in self._list(folder) if e["type"] == "directory"]
        return sorted(name.rsplit("/", 1)[-1] for name in found)

    def walk(self, folder: str = "") -> list[FileInfo]:
        if folder:
            return self._find(self._at(folder))
        # Folder by folder and several at once: a server takes its time to list.
        here = self._list("")
        folders = [e["name"].rstrip("/") for e in here if e["type"] == "directory"]
        found = self._as_found({e["name"]: e for e in here})
        with ThreadPoolExecutor(LISTERS, thread_name_prefix="list") as pool:
            for below in pool.map(self._find, folders):
                found += below
        return sorted(found, key=lambda f: f.name)

    def _find(self, top: str) -> list[FileInfo]:
        """Return every file below a path of the file system."""
        name = top.removeprefix(f"{self._path}/")
        try:
            found = self._patiently(
                "list", name, lambda: self._fs.find(top, detail=True, refresh=True)
            )
        except FileNotFoundError:
            return []
        return self._as_found(found)

    def _as_found(self, entries: Mapping[str, Mapping[str, Any]]) -> list[FileInfo]:
        """Return the files among entries; what does not lie under the root is none of ours."""
        top = f"{self._path}/"
        return [
            FileInfo(name.removeprefix(top), int(entry["size"] or 0), modified(entry))
            for name, entry in sorted(entries.items())
            if entry["type"] == "file" and name.startswith(top)
        ]

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        wanted = list(names)
        quick = s3.fetch(self._fs, [self._at(name) for name in wanted])
        with ThreadPoolExecutor(READERS, thread_name_prefix="read") as pool:
            slow = {n: pool.submit(self._found, n) for n in wanted if self._at(n) not in quick}
            for name in wanted:
                yield name, slow[name].result() if name in slow else quick[self._at(name)]

    def read_blocks(self, name: str, size: int) -> Iterator[bytes]:
        if size <= BLOCK:
            yield self.read(name)
            return
        for start in range(0, size, BLOCK):
            # The last piece goes to the end of the file, should that be longer than was listed.
            end = start + BLOCK if start + BLOCK < size else None
            part = partial(self._fs.cat_file, self._at(name), start=start, end=end)
            yield bytes(self._patiently("read", name, part))

    def prune(self, folder: str) -> None:
        """Nothing: a bucket has no folders."""

    def uploads(self) -> list[Upload]:
        found = self._patiently(
            "list the uploads of", "", lambda: s3.uploads(self._fs, f"{self._path}/")
        )
        found = sorted(found, key=lambda u: (u.name, u.id))
        under = [Upload(u.name.removeprefix(f"{self._path}/"), u.id, u.begun) for u in found]
        return [u for u in under if is_written(u.name)]  # in a bucket others are at work, too

    def abort(self, upload: Upload) -> None:
        path = self._at(upload.name)
        with suppress(FileNotFoundError):
            self._patiently(
                "abort the upload of", upload.name, lambda: s3.abort(self._fs, path, upload.id)
            )

    def check_writable(self) -> None:
        probe = f"{PROBE}{uuid.uuid4().hex}"
        self.replace(probe, b"probe")
        self.remove(probe)

    def _found(self, name: str) -> bytes | None:
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _list(self, folder: str) -> list[dict[str, Any]]:
        def listed() -> list[dict[str, Any]]:
            return list(self._fs.ls(self._at(folder), detail=True, refresh=True))

        try:
            return self._patiently("list", folder, listed)
        except FileNotFoundError:
            return []

    def _patiently(self, verb: str, name: str, call: Callable[[], T]) -> T:
        """Make a call; a failure that may pass is tried again where the server answered before.

        Raises:
            FileNotFoundError: there is no such file, and nothing was to be written.
            StorageError: what the user can mend; TransientStorageError after PATIENCE seconds.
        """
        begun, tries, waits = time.monotonic(), 0, backoff(_FIRST_WAIT, _LONGEST_WAIT)
        while True:
            try:
                made = call()
            except Exception as e:
                failed = self._told(e, verb, name)
                if not isinstance(failed, TransientStorageError):
                    _met.add(self._server)
                    raise failed from None
                if error_code(e):  # it answers, if only that it cannot
                    _met.add(self._server)
                if self._server not in _met:
                    raise failed from None
                if time.monotonic() - begun > PATIENCE:
                    _met.discard(self._server)  # whoever asks next is told at once
                    raise failed from None
                tries += 1
                if tries > _QUIET:
                    log.warning("%s; trying again for up to %.0f s", failed, PATIENCE)
                time.sleep(next(waits))
            else:
                _met.add(self._server)
                return made

    def _told(self, error: Exception, verb: str, name: str) -> Exception:
        """Return what a failed call means."""
        # A file may be absent; that the bucket is, some servers mend by making one on a write.
        absent = isinstance(error, FileNotFoundError) and error_code(error) != "NoSuchBucket"
        if absent and verb != "write":
            return error
        return explain(error, verb, f"{self.root}/{name}")

"""The folder on this machine in which a training works; what a killed run left is removed.

A folder whose run lives is locked (flock): the kernel lets go of it when the process ends, however
it ends. Process numbers would not do, as containers that share TMPDIR do not see each other's.
"""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crowdselect_core.errors import StorageError
from crowdselect_core.urls import is_url

log = logging.getLogger("crowdselect")

PREFIX = "crowdselect-finetune-"
FULL = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed writing file")


@contextmanager
def work_folder(needed: int) -> Iterator[Path]:
    """Make a folder below the system's temporary folder (TMPDIR), and remove it at the end.

    Args:
        needed: bytes that will be written there.

    Raises:
        StorageError: there is not enough room.
    """
    place = Path(tempfile.gettempdir())
    _remove_leftovers(place)
    check_room(place, needed, "set TMPDIR to a larger disk")
    folder, lock = _made()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def check_room(place: Path, needed: int, remedy: str) -> None:
    """Check that a disk has room.

    Raises:
        StorageError: it has not.
    """
    place = _existing(place)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StorageError(
            f"{needed / 1e9:.1f} GB are needed on the disk of {place}, {free / 1e9:.1f} GB are "
            f"free: {remedy}"
        )


def check_store(root: str, needed: int) -> None:
    """Check before a training that its store has room, beside the work folder on the same disk.

    The room of a bucket cannot be known: a line says what will be written there.

    Args:
        root: of the store.
        needed: bytes that the training writes there, and in the work folder too.

    Raises:
        StorageError: a disk has not enough room.
    """
    if is_url(root):
        log.info(
            "%-13s about %.1f GB will be written; the free room of a bucket cannot be known, and "
            "a full one ends the run", "checkpoint", needed / 1e9,
        )  # fmt: skip
        return
    place = _existing(Path(root))
    shared = place.stat().st_dev == _existing(Path(tempfile.gettempdir())).stat().st_dev
    both = " or TMPDIR" if shared else ""
    check_room(place, needed * (2 if shared else 1), f"put the store{both} on a larger disk")


@contextmanager
def full_disk_explained(folder: Path) -> Iterator[None]:
    """Turn what libraries raise when the disk of a work folder is full into one line.

    Raises:
        StorageError: the disk is full.
    """
    try:
        yield
    except Exception as e:
        full = isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT)
        # safetensors and torch raise errors of their own, torch without the system's words.
        full = full or any(words in str(e) for words in FULL)
        if not full:
            raise
        raise StorageError(
            f"training: the disk of {folder.parent} is full; set TMPDIR to a larger one and run "
            "again: it goes on from the last checkpoint"
        ) from None


def _existing(place: Path) -> Path:
    place = place.absolute()
    while not place.exists():
        place = place.parent
    return place


def _made() -> tuple[Path, int]:
    """Make a folder and lock it; another run may take one that is not locked yet for a leftover."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        if _locked(lock) is not False and folder.is_dir():
            return folder, lock
        os.close(lock)


def _remove_leftovers(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # another user's, gone meanwhile, or no folder
            continue
        try:
            if os.fstat(lock).st_uid == os.getuid() and _locked(lock):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _locked(folder: int) -> bool | None:
    """Lock an open folder; False: another holds it, None: this file system locks no folders."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # nothing is a leftover there
        return None
    return True

"""The folder on this machine in which a training works; what a killed run left is removed."""

import errno
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
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def _remove_leftovers(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        own = folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
        if own and number.isdigit() and not _is_alive(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another's
        return True
    return True

"""The folder on this machine in which a training works; what a killed run left is removed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crowdselect_core.errors import StorageError

PREFIX = "crowdselect-finetune-"


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
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StorageError(
            f"training: {needed / 1e9:.1f} GB are needed on the disk of {place}, {free / 1e9:.1f} "
            f"GB are free: {remedy}"
        )


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

"""Looking at processes that may end at any moment."""

import os
from collections.abc import Iterable, Iterator

import psutil


def with_words(processes: Iterable[psutil.Process]) -> Iterator[tuple[psutil.Process, list[str]]]:
    """Yield those of some processes that are still there, each with its command line."""
    for process in processes:
        try:
            words = process.cmdline()
        except psutil.NoSuchProcess:  # or a zombie, which is one of them
            continue
        yield process, words


def environment(process: psutil.Process) -> dict[str, str]:
    """Return the variables that a process was started with; none where it is gone."""
    try:
        return process.environ()
    except psutil.NoSuchProcess:
        return {}


def members(group: int) -> list[psutil.Process]:
    """Return the processes of a group, zombies left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != "zombie" and os.getpgid(process.pid) == group:
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found

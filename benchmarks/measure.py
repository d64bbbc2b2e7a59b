"""What the benchmarks share: the machine in a line, peak memory, medians."""

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version


def machine(*packages: str) -> str:
    """Say what the figures were measured on, without naming the machine."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {python}, {versions}"


def peak_gib() -> float:
    """Peak resident memory of this process so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median wall-clock seconds of some runs."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def spread(values: Sequence[float]) -> str:
    """Median, least and most of some values."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"

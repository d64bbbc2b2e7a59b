"""A process that ends when the one that started it does, even by kill -9 (Linux)."""

import ctypes
import os
import signal
import sys

from crowdselect_core.processes.guard import PR_SET_PDEATHSIG


def die_with_parent() -> None:
    """Have the kernel kill this process as soon as its parent is gone; without Linux, nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it went before that
            os._exit(128 + signal.SIGKILL)

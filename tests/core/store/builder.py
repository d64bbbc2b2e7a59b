"""A build in a process of its own: builder.py ROOT [DEATH], at a barrier or up to its death.

DEATH is CALL:N:WHEN, where CALL is fsync or link, and the process ends as kill -9 does before or
after the N-th such call. Prints the calls that were made and the artifact's manifest.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from numbers_stage import SPEC, Work

from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.executors.threads import Threads

calls = {"fsync": 0, "link": 0}


def deadly(call: str, death: list[str]) -> None:
    """Count the calls of os.CALL and die at the one that is named."""
    real = getattr(os, call)

    def counted(*args: Any, **options: Any) -> Any:
        calls[call] += 1
        here = death[:2] == [call, str(calls[call])]
        if here and death[2] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **options)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, call, counted)


def main() -> None:
    """Build, as told."""
    root, *rest = sys.argv[1:]
    gate = os.environ.get("GATE")
    if gate:  # of builders that race, all wait until the gate is there
        Path(gate, str(os.getpid())).touch()
        while not Path(gate, "open").exists():
            time.sleep(0.001)
    for call in calls:
        deadly(call, rest[0].split(":") if rest else [])
    # One that dies goes shard by shard, so that its n-th call is always the same one.
    artifact = build(Store(root), SPEC, Work().plan, executor=Threads(2 if gate else 1))
    print(*(f"{name}={n}" for name, n in calls.items()))
    print(artifact.manifest.encode().decode())


if __name__ == "__main__":
    main()

"""Stands for a rank: it writes its process id and sleeps. What is tested is how it ends."""

import os
import sys
import time
from pathlib import Path

from crowdselect_core.processes.death import die_with_parent


def main(work: Path) -> None:
    """Be one of the processes of a training."""
    die_with_parent()
    rank = os.environ["RANK"]
    part = work / f"part-{rank}"
    part.write_text(f"{os.getpid()} {os.getppid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    part.rename(work / f"rank-{rank}")
    time.sleep(600)


if __name__ == "__main__":
    main(Path(sys.argv[1]).parent)

"""One of the processes that train: `python -m crowdselect_core.finetune.launch.rank JOB_FILE`.

It dies with the process that started it. Rank 0 tells the run every step; at a checkpoint all
ranks wait until the run has stored it.
"""

import os
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from crowdselect_core.errors import UserError, first_line
from crowdselect_core.finetune.curve import Step
from crowdselect_core.finetune.launch import job as jobs
from crowdselect_core.processes.death import die_with_parent

POLL = 0.05  # seconds between two looks for a stored checkpoint


def main(file: Path) -> int:
    """Train as the job says; return the exit code."""
    die_with_parent()
    work, rank = file.parent, int(os.environ.get("RANK", "0"))
    try:
        _train(work, rank)
    except UserError as e:
        jobs.Failure(rank, type(e).__name__, str(e), time.time()).write(work)
        return 2
    except Exception as e:
        traceback.print_exc()
        why = f"{type(e).__name__}: {first_line(e)}"
        jobs.Failure(rank, "", why, time.time()).write(work)
        return 1
    return 0


def _train(work: Path, rank: int) -> None:
    from crowdselect_core.finetune.in_process import run, source

    job, rows = jobs.Job.read(work)
    tokenizer = source(job.config, job.base, job.gpu).tokenizer()

    def told(step: Step) -> None:
        if rank == 0:
            jobs.tell(work, {"step": asdict(step)})

    def save(folder: Path, step: int) -> None:
        _all_here()  # every rank has written its part of the checkpoint
        if rank == 0:
            jobs.tell(work, {"checkpoint": step})
        while not jobs.is_stored(work, step):
            time.sleep(POLL)

    inputs = (job.config, job.base, job.gpu, rows, tokenizer)
    history = run(*inputs, work, Path(job.start) if job.start else None, save, told)
    if rank == 0:
        jobs.write_history(work, history)
    _all_here()  # none ends, and has the others ended, before all is written
    _leave()


def _all_here() -> None:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""Starts the processes of a training, hands their steps on, and ends them, whatever happens.

Under the guard (see `processes.guard`), in a session of its own: torchrun, or accelerate's
launcher where the user gives a file of its options (FSDP, DeepSpeed); each starts the ranks in
sessions of their own. A kill -9 of the run ends the guard, the guard ends the launcher by SIGTERM,
and a rank dies with the launcher. A rank that is gone has the launcher end the others.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import Any

from crowdselect_core.errors import ConfigError
from crowdselect_core.finetune.curve import Progress, log_step
from crowdselect_core.finetune.launch import job as jobs
from crowdselect_core.finetune.rows import TrainingRows
from crowdselect_core.processes.log_lines import log_lines, quoted
from crowdselect_core.processes.supervised import SupervisedProcess

POLL = 0.1  # seconds between two looks at the events
RANK = "crowdselect_core.finetune.launch.rank"
LOOPBACK = "127.0.0.1"


class LaunchFailed(RuntimeError):
    """The processes of a training ended; the message says which first and quotes their log."""


def launched(
    job: jobs.Job,
    rows: TrainingRows[Any],
    work: Path,
    gpus: Sequence[str],
    save: Callable[[Path, int], None],
    progress: Progress | None = None,
    checked: Callable[[], None] = lambda: None,
) -> list[Mapping[str, Any]]:
    """Train in processes of their own; return the logged steps, earlier runs' too.

    Args:
        job: the recipe.
        rows: what is trained.
        work: the folder that they work in; the model is written there.
        gpus: those that they may use, one a process; none: the processor.
        save: stores a checkpoint; the ranks wait for it.
        progress: called after every step.
        checked: called several times a second; what it raises ends the training.

    Raises:
        UserError: whatever a rank raised of these.
        LaunchFailed: a process ended otherwise.
    """
    handle, name = tempfile.mkstemp(".log", "crowdselect-training-")
    os.close(handle)
    log, events = Path(name), jobs.Events(work)
    words = command(job, job.write(work, rows))
    process = SupervisedProcess(
        "training", words, environment(job, gpus, os.environ), log, lambda: True
    )
    try:
        process.start()
        while process.runs():
            checked()
            _hand_on(job, work, events, save, progress)
            sleep(POLL)
    finally:
        process.end()
    _hand_on(job, work, events, save, progress)
    if process.exit_code != 0:
        raise _failure(work, log, process.exit_code)
    log.unlink()
    return jobs.read_history(work)


def command(job: jobs.Job, file: Path) -> list[str]:
    """Return the words that start all processes of a job."""
    config, python = job.config, sys.executable
    if config.launch_config is not None:
        accelerate = [python, "-m", "accelerate.commands.launch", "--config_file"]
        number = ["--num_processes", str(config.num_processes), "--num_machines", "1"]
        return [*accelerate, config.launch_config, *number, "--module", RANK, str(file)]
    if config.num_processes == 1:
        return [python, "-m", RANK, str(file)]
    torchrun = [python, "-m", "torch.distributed.run", "--standalone", "--local-addr", LOOPBACK]
    number = ["--nproc_per_node", str(config.num_processes)]
    return [*torchrun, *number, "--module", RANK, str(file)]


def environment(job: jobs.Job, gpus: Sequence[str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the processes: their GPUs, or their share of the cores."""
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join([root, *filter(None, [inherited.get("PYTHONPATH")])])
    own = {**inherited, "PYTHONPATH": path}
    if job.gpu and not gpus:  # nothing here lists them, and torch sees them all
        own.setdefault("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(job.config.num_processes))))
    if gpus:
        own["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if not job.gpu:
        cores = max(1, len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1)
        own.setdefault("OMP_NUM_THREADS", str(max(1, cores // job.config.num_processes)))
        if sys.platform == "linux":  # a host name that resolves to nowhere would end gloo
            own.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return own


def _hand_on(
    job: jobs.Job,
    work: Path,
    events: jobs.Events,
    save: Callable[[Path, int], None],
    progress: Progress | None,
) -> None:
    """Log and tell the new steps, store the new checkpoints."""
    for event in events:
        if isinstance(event, int):
            save(work / f"checkpoint-{event}", event)
            jobs.mark_stored(work, event)
            continue
        step = event.of(job.config.num_processes)
        log_step(step)
        if progress:
            progress(step)


def _failure(work: Path, log: Path, code: int | None) -> Exception:
    """Return the error of processes that have ended with one."""
    found = jobs.failures(work)
    for failure in found:
        if failure.kind:
            log.unlink()
            return ConfigError(failure.message)
    first = f"rank {found[0].rank} first: {found[0].message}" if found else f"exit code {code}"
    return LaunchFailed(
        f"training: its processes ended, {first}; run again to go on from the last checkpoint\n"
        f"{quoted(log, log_lines(log))}"
    )
